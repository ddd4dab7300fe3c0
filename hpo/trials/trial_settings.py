"""Convert a trial's flat settings into the configs of ``core``, and compute its student's size.

``core`` takes settings grouped by loss, training, pruning and the student's widths. A student's
shape, parameters and FLOPs follow from its settings before anything is trained. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES, make_loss
from core.evaluation.profiling import count_flops
from core.experiments import StudentConfig, network_shape
from core.families import NetworkConfig, find_family
from core.families.networks import build
from core.forms import Form, find_form
from core.preprocessing.prepare import PreparedData
from core.pruning.config import PruningConfig
from core.pruning.plan import plan_pruning
from core.stgcn import BlockChannels
from core.stgcn_config import NetworkForm
from core.training.config import TrainingConfig
from core.training.trainer import check_batches
from hpo.space.parameters import BLOCKS, PRUNE, STUDENT_WIDTHS, training_parameters
from hpo.sweep_config import SweepConfig

Settings = Mapping[str, Any]

WINDOWS_PER_SEGMENT = 5
"""Default for students where the space does not set it. Measured over five seeds each with
``none``, ``ord`` and ``stcd`` (docs/RESULTS.md): errors no worse than window by window, in half the
time."""


def student_config(config: SweepConfig, settings: Settings, seed: int) -> StudentConfig:
    """Return the config for ``core.experiments.distill_student``."""
    return StudentConfig(
        config.method,
        _weights(config.method, settings),
        _training(config, settings, seed),
        student_channels(config, settings),
        config.pairs,
        network_form(config, settings),
        config.family,
    )


def pruning_config(config: SweepConfig, settings: Settings, seed: int) -> PruningConfig:
    """Return the config for ``core.experiments.prune_student``.

    Where the space has no ``pruning_ratio``, students are pruned to the sweep's ``max_parameters``.

    Raises:
        ConfigError: the settings are not valid for pruning.
    """
    return PruningConfig(
        method=config.loss_name,
        weights=_weights(config.loss_name, settings),
        training=_training(config, settings, seed),
        pruning_interval=settings.get("pruning_interval", 0),
        fine_tuning_epochs=settings.get("fine_tuning_epochs", 0),
        pruning_ratio=settings.get("pruning_ratio"),
        target_parameters=None if "pruning_ratio" in settings else config.max_parameters,
    )


def trained_as(config: SweepConfig, settings: Settings) -> StudentConfig | PruningConfig:
    """Return all that decides how a student of these settings is trained, but for its seed.

    Raises:
        ConfigError: the settings are not valid.
    """
    make = pruning_config if config.method == PRUNE else student_config
    return make(config, settings, seed=0)


def check_trial(sizes: StudentSizes, settings: Settings) -> None:
    """Check what ``core`` would refuse when it trains the student of these settings.

    Raises:
        ConfigError: it would.
    """
    config = trained_as(sizes.config, settings)
    make_loss(config.method, config.weights, config.training.error)
    check_batches(sizes.data, config.training)
    sizes.shape(settings)


def network_form(config: SweepConfig, settings: Settings) -> NetworkForm:
    """Return what the network of a trial predicts and knows of single sensors."""
    form = _form(config, settings).with_rank(settings.get("sensor_rank"))
    return replace(form, missing_mask=bool(settings.get("missing_mask", 0)))


def student_channels(config: SweepConfig, settings: Settings) -> tuple[BlockChannels, ...]:
    """Return the widths of a student's blocks; what is not searched is as usual."""
    usual = find_family(config.family).student or _form(config, settings).student
    (_, hidden_1, out_1), (_, hidden_2, out_2) = usual
    widths = [
        int(settings.get(name, width))
        for name, width in zip(STUDENT_WIDTHS, (hidden_1, out_1, hidden_2, out_2), strict=True)
    ]
    blocks = ((1, widths[0], widths[1]), (widths[1], widths[2], widths[3]))
    return blocks[: int(settings.get(BLOCKS, len(blocks)))]


@dataclass(frozen=True)
class StudentSizes:
    """Computes the sizes of a sweep's students from their settings, before they are trained."""

    config: SweepConfig
    data: PreparedData
    base: NetworkConfig | None
    """Shape of the network that pruning starts from; None where nothing is pruned."""

    def shape(self, settings: Settings) -> NetworkConfig:
        """Return the student's shape; of a pruned one its widths, not which filters remain.

        Raises:
            ConfigError: these settings give no valid student.
        """
        if self.base is not None:
            pruning = pruning_config(self.config, settings, seed=0)
            return self.base.with_widths(plan_pruning(self.base, self.data, pruning).widths[-1])
        channels = student_channels(self.config, settings)
        form = network_form(self.config, settings)
        return network_shape(self.data, channels, form, self.config.family)

    def of(self, settings: Settings) -> dict[str, int]:
        """Return the ``parameters`` and ``flops`` of the student."""
        shape = self.shape(settings)
        return {"parameters": shape.parameters, "flops": shape_flops(shape)}


@lru_cache(maxsize=1024)
def shape_flops(shape: NetworkConfig) -> int:
    """Return the operations of one forward pass over one window of such a network."""
    sensors = torch.eye(shape.num_sensors)
    return count_flops(build(shape, sensors.repeat(shape.chebyshev_order, 1, 1)))


def _weights(loss: str, settings: Settings) -> dict[str, float]:
    names = hyperparameter_bounds(LOSSES[loss])
    return {name: float(settings[name]) for name in names if name in settings}


def _form(config: SweepConfig, settings: Settings) -> Form:
    return find_form(settings.get("form", config.form))


def _training(config: SweepConfig, settings: Settings, seed: int) -> TrainingConfig:
    chosen = {name: settings[name] for name in training_parameters() if name in settings}
    shared = WINDOWS_PER_SEGMENT if find_family(config.family).config.equivariant else 1
    chosen.setdefault("windows_per_segment", min(shared, chosen.get("batch_size", shared)))
    chosen.setdefault("error", _form(config, settings).error)
    return TrainingConfig(epochs=config.epochs, seed=seed, **chosen)
