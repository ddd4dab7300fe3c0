"""Train a network with any objective: the one loop for teachers, students and pruning.

Keeps the weights of the best validation epoch. After every epoch it reports errors and, if asked,
writes a checkpoint from which an interrupted run resumes with the same numbers. Does not know what
the objective compares, and does not save finished models.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.compiler_import import leave_compiler_out, step_optimizer
from core.errors import ConfigError, TrainingDivergedError
from core.evaluation.forecasting import evaluate
from core.families.networks import SingleNetwork
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import PreparedData
from core.preprocessing.windows import segment_rows
from core.seeding import derived_seed, generator
from core.shapes import Rows
from core.stgcn import Features
from core.training.config import OPTIMIZERS, SCHEDULES, TrainingConfig
from core.training.interface import EpochReport, Objective, ObjectiveValue, Surgeon
from core.training.step_replay import Recorder, ReplayedStep, Step

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "EpochReport",
    "Objective",
    "ObjectiveValue",
    "Surgeon",
    "Trainer",
    "TrainingConfig",
    "check_batches",
    "count_steps",
    "fewest_steps",
    "last_epochs",
]


@dataclass
class _Run:
    """The part of a run's state that is not a tensor on the network or the optimiser."""

    epoch: int = 0
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the last epoch."""
    seconds: float = 0.0
    surgeon: dict[str, Any] = field(default_factory=dict)
    """Metadata of the surgeon, if there is one."""


class Trainer:
    """Trains one model with one objective: construct, then ``run``."""

    def __init__(
        self,
        model: SingleNetwork,
        data: PreparedData,
        objective: Objective,
        config: TrainingConfig,
        checkpoints: CheckpointFolder | None = None,
        surgeon: Surgeon | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Restore the newest undamaged checkpoint, if there is one.

        Args:
            model: on the same device as ``data``. After ``run`` the attribute ``model`` has the
                best weights; without a surgeon it is this network.
            data: prepared for the model's history.
            objective: see ``Objective``.
            config: how to train.
            checkpoints: of this run, to resume from; None: keep none.
            surgeon: shrinks the network during training, or None. The best epoch is then the
                best since the last change.
            recorder: of the model's device, to replay steps, or None. Cannot be combined with a
                surgeon: a recorded step is bound to one network.
        """
        self.data, self.objective, self.config = data, objective, config
        self.checkpoints, self.surgeon, self.recorder = checkpoints, surgeon, recorder
        self.state = _Run()
        check_batches(data, config)
        self._check_horizon(model)
        self._attach_model(model)
        self._resume()
        self._take_step: Step = self._step
        if recorder is not None:
            self._take_step = ReplayedStep(self._step, _segments_per_step(config), recorder)

    def run(
        self,
        on_epoch: Callable[[EpochReport], None],
        on_step: Callable[[int, int, int], None] | None = None,
    ) -> dict[str, float]:
        """Train the remaining epochs and return the metrics of the best one.

        Args:
            on_epoch: called after every epoch, once its checkpoint is written.
            on_step: called with epoch (from 1), finished steps and all steps of this epoch.

        Raises:
            TrainingDivergedError: the loss or the validation error is no longer finite.
        """
        while self.state.epoch < self.config.epochs and not self._out_of_patience():
            started = time.perf_counter()
            train = self._train_epoch(on_step)
            validation = evaluate(self.model, self.data, "validation")
            metrics = {f"val_{name}": value for name, value in validation.items()} | train
            self._close_epoch(metrics, time.perf_counter() - started)
            on_epoch(self._report())
        self.model.load_state_dict(self.best)
        return self.state.best_metrics

    def _report(self) -> EpochReport:
        state = self.state
        return EpochReport(
            state.epoch, self.config.epochs, state.metrics, state.best_epoch, state.seconds
        )

    def _attach_model(self, model: SingleNetwork) -> None:
        self.model, self.parameters = model, list(model.parameters())
        settings: dict[str, Any] = {"lr": self.config.learning_rate}
        if self.recorder is not None:
            settings = self.recorder.optimizer_settings(self.config.learning_rate)
        leave_compiler_out()
        self.optimizer = OPTIMIZERS[self.config.optimizer](self.parameters, **settings)
        self.best = _copied(model.state_dict())

    def _train_epoch(self, on_step: Callable[[int, int, int], None] | None) -> dict[str, float]:
        batches = list(self._batches(self.state.epoch))
        sums: dict[str, Tensor] = {}
        for step, rows in enumerate(batches, start=1):
            # In the middle of the step: neither the first nor the last has a rate of zero.
            trained = self.state.epoch + (step - 0.5) / len(batches)
            factor = SCHEDULES[self.config.schedule](trained, self.config.epochs)
            self._set_learning_rate(self.config.learning_rate * factor)
            for name, value in self._take_step(rows).items():
                # Sums stay on the device: reading them at every step would stall a GPU.
                sums[name] = sums.get(name, torch.zeros_like(value)) + value
            if on_step is not None:
                on_step(self.state.epoch + 1, step, len(batches))
        means = {f"train_{name}": float(value) / len(batches) for name, value in sums.items()}
        self._refuse_divergence("training loss", means["train_loss"])
        return means

    def _set_learning_rate(self, rate: float) -> None:
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)  # in place, since a recorded step reads this tensor
            else:
                group["lr"] = rate

    def _step(self, first_rows: Rows) -> dict[str, Tensor]:
        history, target, rows = cut_batch(
            self.data.readings,
            self.data.targets,
            first_rows,
            self.data.history_steps,
            self.config.windows_per_segment,
            self.model.config.steps_ahead,
            self.data.truth if self.model.config.missing_mask else None,
        )
        prediction, features = self.model(history)
        value = self.objective(
            prediction.flatten(0, 1),
            self._of_segments(features),
            target,
            rows,
        )
        self.optimizer.zero_grad(set_to_none=True)
        value.backward(self.parameters)
        if self.surgeon is None:
            step_optimizer(self.optimizer)
        else:
            self._step_with(self.surgeon)
        return {"loss": value.total.detach(), **value.parts}

    def _of_segments(self, features: Features) -> Features:
        """Say how many windows the layers of one run share; networks that share none have one."""
        if not self.model.config.equivariant:
            return features
        return replace(features, windows_per_segment=self.config.windows_per_segment)

    def _step_with(self, surgeon: Surgeon) -> None:
        surgeon.after_backward(self.model)
        step_optimizer(self.optimizer)
        changed = surgeon.after_step(self.model, self.optimizer)
        if changed is not None:
            self.model, self.parameters = changed, list(changed.parameters())
            # The best weights so far are of another shape: choose among later epochs.
            self.state.best_epoch, self.state.best_metrics = self.state.epoch, {}

    def _batches(self, epoch: int) -> Iterator[Rows]:
        """Yield the first rows of segments in the random order of ``epoch``, batch by batch."""
        rows = _segments_of(epoch, self.data, self.config)
        order = torch.randperm(len(rows), generator=generator(self.config.seed, "order", epoch))
        shuffled = rows[order].to(self.data.readings.device)
        yield from torch.split(shuffled, _segments_per_step(self.config))

    def _close_epoch(self, metrics: dict[str, float], seconds: float) -> None:
        self._refuse_divergence("validation error", metrics["val_mae"])
        state = self.state
        state.epoch += 1
        state.seconds += seconds
        state.metrics = metrics
        if not state.best_metrics or metrics["val_mae"] < state.best_metrics["val_mae"]:
            state.best_epoch, state.best_metrics = state.epoch, metrics
            self.best = _copied(self.model.state_dict())
        if self.surgeon is not None:
            self.surgeon.after_epoch(self.model, metrics)
            state.surgeon = self.surgeon.metadata(self.model)
        if self.checkpoints is not None:
            self.checkpoints.save(state.epoch, self._tensors(), asdict(state))

    def _out_of_patience(self) -> bool:
        patience = self.config.patience
        return patience is not None and self.state.epoch - self.state.best_epoch >= patience

    def _refuse_divergence(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            raise TrainingDivergedError(
                f"the {what} must stay finite, got {value} in epoch {self.state.epoch + 1}; "
                f"lower the learning rate of {self.config.learning_rate:g}"
            )

    def _check_horizon(self, model: SingleNetwork) -> None:
        ahead, wanted = model.config.steps_ahead, self.data.horizon_steps
        if ahead not in {None, wanted}:
            raise ConfigError(
                f"a horizon head must predict the {wanted} steps of the horizon of "
                f"{self.data.card.name}, got horizon_steps {ahead}; give the network {wanted}"
            )

    def _tensors(self) -> dict[str, Tensor]:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"best.{name}": value for name, value in self.best.items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{slot}": value for slot, value in slots.items()}
        own = self.surgeon.tensors() if self.surgeon is not None else {}
        return tensors | {f"surgeon.{name}": value for name, value in own.items()}

    def _resume(self) -> None:
        newest = self.checkpoints.newest() if self.checkpoints is not None else None
        if newest is None:
            return
        tensors, metadata = newest
        self.state = _Run(**metadata)
        if self.surgeon is not None:
            own = _below("surgeon.", tensors)
            self._attach_model(self.surgeon.resume(self.model, own, self.state.surgeon))
        self.model.load_state_dict(_below("model.", tensors))
        self.best = _copied(_below("best.", tensors), like=self.best)
        slots: dict[int, dict[str, Any]] = {}
        for name, value in _below("optimizer.", tensors).items():
            index, slot = name.split(".", 1)
            slots.setdefault(int(index), {})[slot] = value
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})


def last_epochs(checkpoints: CheckpointFolder) -> list[tuple[int, dict[str, float]]]:
    """Return the checkpointed epochs of an interrupted run, in order, with their metrics.

    A checkpoint is written before its epoch is reported, so these may not have been reported.
    """
    states = [_Run(**metadata) for _, metadata in checkpoints.newest_first()]
    return [(state.epoch, state.metrics) for state in reversed(states)]


def check_batches(data: PreparedData, config: TrainingConfig) -> None:
    """Raise ``ConfigError`` unless ``data`` fills a batch, in segments at any offset."""
    segments = _fewest_segments(data, config.windows_per_segment)
    windows = segments * config.windows_per_segment
    if config.batch_size > windows:
        raise ConfigError(
            f"batch_size must not exceed the {windows} training windows of {data.card.name}, got "
            f"{config.batch_size}; choose a smaller one"
        )


def count_steps(data: PreparedData, config: TrainingConfig) -> int:
    """Return the training steps of all epochs of ``config`` on ``data``."""
    size = _segments_per_step(config)
    segments = [len(_segments_of(epoch, data, config)) for epoch in range(config.epochs)]
    return sum(math.ceil(count / size) for count in segments)


def fewest_steps(data: PreparedData, config: TrainingConfig) -> int:
    """Return the minimum of ``count_steps`` over all seeds, which shift the segments."""
    segments = _fewest_segments(data, config.windows_per_segment)
    return config.epochs * math.ceil(segments / _segments_per_step(config))


def _fewest_segments(data: PreparedData, size: int) -> int:
    """Return the number of segments at the offset that leaves out the most windows."""
    rows, _ = segment_rows(data.stretches("train"), data.window_steps, size, size - 1)
    return len(rows)


def _segments_per_step(config: TrainingConfig) -> int:
    return max(1, config.batch_size // config.windows_per_segment)


def _segments_of(epoch: int, data: PreparedData, config: TrainingConfig) -> Rows:
    """Return the first rows of the segments of one epoch, in order."""
    size = config.windows_per_segment
    offset = derived_seed(config.seed, "offset", epoch) % size
    rows, _ = segment_rows(data.stretches("train"), data.window_steps, size, offset)
    return rows


def _copied(tensors: dict[str, Tensor], like: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    device = {name: (like or tensors)[name].device for name in tensors}
    return {name: value.detach().to(device[name], copy=True) for name, value in tensors.items()}


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }
