"""Recorded steps: the same training, on a CPU with a stand-in for CUDA's graphs."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from core.checkpoint import CheckpointFolder
from core.distillation.correlation import terms as correlation
from core.distillation.losses import LOSSES, make_loss
from core.distillation.teacher_targets import TeacherTargets
from core.errors import ConfigError
from core.experiments import (
    DistillationObjective,
    StudentConfig,
    TargetStorage,
    distill_student,
    open_targets,
    train_teacher,
)
from core.preprocessing.prepare import PreparedData, prepare
from core.training.step_replay import WARM_UP_STEPS, ReplayedStep, Values
from core.training.teachers import Teacher, TeacherConfig
from core.training.trainer import Trainer, TrainingConfig
from tests.core.training_runs import PlainObjective, network
from tests.loss_settings import settings_of

CONFIG = TrainingConfig(
    epochs=3, batch_size=48, learning_rate=1e-2, schedule="cosine", windows_per_segment=4
)
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


@dataclass
class OnTheCpu:
    """Records as CUDA does: nothing is done meanwhile, and results lie in the same tensors."""

    warmed_up: int = 0
    recorded: int = 0
    replayed: int = 0

    def optimizer_settings(self, learning_rate: float) -> dict[str, Any]:
        return {"lr": torch.tensor(learning_rate)}

    def warm_up(self, work: Callable[[], Values]) -> Values:
        self.warmed_up += 1
        return work()

    def record(self, work: Callable[[], Values]) -> Callable[[], Values]:
        self.recorded += 1
        results: Values = {}

        def replay() -> Values:
            self.replayed += 1
            for name, value in work().items():
                results.setdefault(name, torch.empty_like(value)).copy_(value)
            return results

        return replay


def seen_by(step_rows: list[list[int]], size: int, recorder: OnTheCpu) -> list[list[int]]:
    """What a step was called with, taken through a recorder."""
    seen: list[list[int]] = []

    def step(rows: Tensor) -> Values:
        seen.append(rows.tolist())
        return {"sum": rows.sum()}

    replayed = ReplayedStep(step, size, recorder)
    for rows in step_rows:
        assert int(replayed(torch.tensor(rows))["sum"]) == sum(rows)
    return seen


def test_every_step_sees_its_own_rows():
    recorder = OnTheCpu()
    rows = [[at, at + 100] for at in range(7)]
    rows.insert(5, [7])
    rows.append([8])
    assert seen_by(rows, 2, recorder) == rows
    assert (recorder.warmed_up, recorder.recorded) == (WARM_UP_STEPS, 1)
    assert recorder.replayed == 7 - WARM_UP_STEPS


def test_batches_of_another_size_alone_are_never_recorded():
    recorder = OnTheCpu()
    seen_by([[1]] * 9, 2, recorder)
    assert recorder == OnTheCpu()


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_a_network_learns_the_same(data, optimizer):
    config, recorder = replace(CONFIG, optimizer=optimizer), OnTheCpu()
    plain = Trainer(network(data), data, PlainObjective(), config)
    recorded = Trainer(network(data), data, PlainObjective(), config, recorder=recorder)
    wanted = plain.run(lambda report: None)
    found = recorded.run(lambda report: None)
    assert recorder.recorded == 1
    assert recorder.replayed > 10
    # A rate that is a tensor is rounded to float32, which is all that differs.
    assert found == pytest.approx(wanted, rel=1e-4)
    rates = [float(trainer.optimizer.param_groups[0]["lr"]) for trainer in (plain, recorded)]
    assert rates[0] == pytest.approx(rates[1]) != CONFIG.learning_rate


def test_a_killed_run_goes_on(data, tmp_path):
    class Killed(BaseException):
        pass

    def kill(report: object) -> None:
        raise Killed

    def trainer(folder: str) -> Trainer:
        checkpoints = CheckpointFolder(tmp_path / folder)
        return Trainer(
            network(data), data, PlainObjective(), CONFIG, checkpoints, recorder=OnTheCpu()
        )

    with pytest.raises(Killed):
        trainer("killed").run(kill)
    again = trainer("killed").run(lambda report: None)
    assert again == trainer("whole").run(lambda report: None)


# What makes a step one that can be recorded: nothing is read back, nothing comes from the host

NOWHERE = torch.device("meta")
"""Tensors there have no values: to read one, choose by one, or mix it with the host's, raises."""


@pytest.mark.parametrize(
    "read",
    [
        lambda x: x.sum().item(),
        lambda x: bool((x > 0).any()),
        lambda x: x[x > 0],
        torch.nonzero,
        lambda x: x + torch.ones(3),
        lambda x: x[torch.ones(2, 3).long()] + torch.ones(3),
    ],
)
def test_what_a_step_must_not_do_raises(read):
    with pytest.raises((RuntimeError, NotImplementedError)):
        read(torch.ones(3, device=NOWHERE))


@pytest.fixture(scope="module")
def teacher(data, tmp_path_factory) -> Teacher:
    training = TrainingConfig(epochs=1, batch_size=120, windows_per_segment=4)
    config = TeacherConfig(((1, 4, 6), (6, 4, 6)), training)
    return train_teacher(data, config, tmp_path_factory.mktemp("runs"), lambda report: None)


def targets_nowhere(found: TeacherTargets, data: PreparedData) -> TeacherTargets:
    layers = {
        need: replace(layers, tables=[table.to(NOWHERE) for table in layers.tables])
        for need, layers in found.layers.items()
    }
    forecasts = None if found.forecasts is None else found.forecasts.to(NOWHERE)
    return TeacherTargets(
        forecasts, layers, deepcopy(found.teacher).to(NOWHERE), data, found.blocks
    )


@pytest.mark.parametrize("pairs", [None, 5])
@pytest.mark.parametrize("windows", [1, 4])
@pytest.mark.parametrize("method", LOSSES)
@pytest.mark.parametrize("memory_budget", [0, 10**9])
def test_no_step_waits_for_a_gpu(
    data, teacher, method, windows, pairs, memory_budget, tmp_path, monkeypatch
):
    # Compiled terms go past torch; on a GPU they launch one kernel.
    monkeypatch.setattr(correlation, "compiled_terms", lambda student, backend: None)
    loss = make_loss(method, settings_of(method))
    there, targets = data.to(NOWHERE), None
    if loss.needs:
        storage = TargetStorage(tmp_path, memory_budget)
        targets = targets_nowhere(open_targets(data, teacher, loss.needs, storage), there)
    objective = DistillationObjective(loss, targets, pairs)
    config = replace(CONFIG, windows_per_segment=windows)
    trainer = Trainer(network(data).to(NOWHERE), there, objective, config)
    values = trainer._step(next(trainer._batches(0)))
    assert {value.device for value in values.values()} == {NOWHERE}


def test_a_cpu_is_refused(data):
    config = StudentConfig("none", {}, CONFIG)
    with pytest.raises(ConfigError, match=r"CUDA graphs need a GPU, got data on the cpu; train"):
        distill_student(data, None, config, None, lambda report: None, cuda_graphs=True)


@GPU
@pytest.mark.parametrize("method", LOSSES)
def test_on_a_gpu_a_student_learns_the_same(data, teacher, method, tmp_path):
    there = data.to(torch.device("cuda"))
    weights = settings_of(method)
    config = StudentConfig(method, weights, replace(CONFIG, optimizer="adam"))
    storage = TargetStorage(tmp_path)
    plain, recorded = (
        distill_student(there, teacher, config, None, lambda report: None, storage, graphs)
        for graphs in (False, True)
    )
    assert recorded.metrics == pytest.approx(plain.metrics, rel=1e-2)
