from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import core.pruning.algorithm
from core.checkpoint import CheckpointFolder
from core.datasets.synthetic import build_synthetic
from core.distillation.interface import LossValue
from core.evaluation.forecasting import evaluate
from core.evaluation.profiling import count_flops, count_parameters
from core.preprocessing.prepare import PreparedData, prepare
from core.pruning.importance import filter_scores
from core.pruning.plan import plan_pruning
from core.shapes import Rows, WindowValues
from core.stgcn import STGCN, Features
from core.training.trainer import EpochReport
from tests.core.pruning_runs import CONFIG, TRAINING, PruningOutcome, base_network, run_pruning
from tests.core.training_runs import PlainObjective


class Killed(BaseException):
    """Stands for a signal: nothing between training and the test may catch it."""


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


@pytest.fixture(scope="module")
def uninterrupted(data) -> PruningOutcome:
    return run_pruning(data)


def assert_same_numbers(found: PruningOutcome, wanted: PruningOutcome) -> None:
    assert found.numbers == wanted.numbers
    assert found.weights.keys() == wanted.weights.keys()
    for name, value in wanted.weights.items():
        assert torch.equal(found.weights[name], value), name
    later = wanted.reports[len(wanted.reports) - len(found.reports) :]
    assert found.reports == later


# What comes out


def test_the_student_meets_the_target_and_tells_its_masks(data, uninterrupted):
    model, base = uninterrupted.found.model, base_network(data)
    assert model.config.kept is not None
    assert count_parameters(model) == model.config.parameters
    assert model.config.parameters == pytest.approx(base.config.parameters / 2, rel=0.02)
    errors = evaluate(model, data, "validation")
    metrics = uninterrupted.found.metrics
    assert {f"val_{name}": value for name, value in errors.items()}.items() <= metrics.items()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_share_per_step_prunes_every_layer_to_the_end(data):
    config = replace(CONFIG, pruning_ratio=None, share_per_step=0.3)
    plan = plan_pruning(base_network(data).config, data, config)
    found = run_pruning(data, config).found
    assert tuple(map(len, found.model.config.kept_channels)) == plan.widths[-1]


def test_the_trajectory_tells_every_removal_and_every_epoch(data, uninterrupted):
    found, plan = uninterrupted.found, plan_pruning(base_network(data).config, data, CONFIG)
    assert [step.step for step in uninterrupted.removals] == [
        4 * removal for removal in range(1, len(plan.widths) + 1)
    ]
    assert [step.parameters for step in uninterrupted.removals] == [
        base_network(data).config.with_widths(widths).parameters for widths in plan.widths
    ]
    ends = [step for step in found.trajectory if step.metrics is not None]
    assert [step.epoch for step in ends] == [1, 2, 3, 4]
    assert [step.metrics for step in ends] == [report.metrics for report in uninterrupted.reports]
    assert ends[1].step == plan.loop_steps
    flops = [step.flops for step in found.trajectory]
    assert flops == sorted(flops, reverse=True)
    assert flops[0] > flops[-1] == count_flops(found.model)
    assert [step.step for step in found.trajectory] == sorted(
        step.step for step in found.trajectory
    )


def test_the_best_epoch_is_one_with_the_final_shape(data):
    class Spoiling(PlainObjective):
        """Makes the network worse with every step, so that the first epoch is the best."""

        def __call__(
            self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
        ) -> LossValue:
            return LossValue(-super().__call__(prediction, features, target, rows).total)

    config = replace(CONFIG, training=replace(TRAINING, learning_rate=1e-3))
    found = run_pruning(data, config, objective=Spoiling(), fine_tuning=Spoiling())
    errors = [report.metrics["val_mae"] for report in found.reports]
    assert errors == sorted(errors)
    assert [report.best_epoch for report in found.reports] == [1, 2, 2, 2]
    assert found.found.best_epoch == 2
    assert found.found.metrics == found.reports[1].metrics
    assert found.found.model.config.parameters == found.removals[-1].parameters


def test_the_base_is_left_as_it_is(data, monkeypatch):
    base = base_network(data).requires_grad_(False)
    before = {name: value.clone() for name, value in base.state_dict().items()}
    objective = PlainObjective()
    found = core.pruning.prune(base, data, objective, objective, CONFIG, None, lambda report: None)
    assert all(torch.equal(value, before[name]) for name, value in base.state_dict().items())
    assert found.model is not base


def test_epochs_and_the_schedule_run_on_through_the_fine_tuning(data):
    rates: list[float] = []

    class Watching(core.pruning.algorithm._Pruner):
        def after_step(self, model: STGCN, optimizer: torch.optim.Optimizer) -> STGCN | None:
            rates.append(optimizer.param_groups[0]["lr"])
            return super().after_step(model, optimizer)

    config = replace(CONFIG, training=replace(TRAINING, schedule="cosine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core.pruning.algorithm, "_Pruner", Watching)
        found = run_pruning(data, config)
    assert [(one.epoch, one.epochs) for one in found.reports] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    factors = sorted({rate / 1e-2 for rate in rates}, reverse=True)
    assert factors == pytest.approx([0.5 * (1 + np.cos(np.pi * at / 4)) for at in range(4)])


# What happens on the way


def test_the_lowest_mean_scores_leave_every_interval(data, monkeypatch):
    """Replays the whole run from the scores that its steps gave."""
    seen: list[list[np.ndarray]] = []

    def spy(model: STGCN) -> list[torch.Tensor]:
        scores = filter_scores(model)
        seen.append([layer.numpy().copy() for layer in scores])
        return scores

    monkeypatch.setattr(core.pruning.algorithm, "filter_scores", spy)
    found = run_pruning(data).found
    plan = plan_pruning(base_network(data).config, data, CONFIG)
    assert len(seen) == plan.last_removal == 4 * len(plan.widths)
    kept = [list(layer) for layer in base_network(data).config.kept_channels]
    for removal, widths in enumerate(plan.widths):
        steps = seen[4 * removal : 4 * removal + 4]
        for layer, width in enumerate(widths):
            means = np.mean([step[layer].astype(np.float64) for step in steps], axis=0)
            while len(kept[layer]) > width:
                lowest = min(range(len(means)), key=means.__getitem__)
                means = np.delete(means, lowest)
                del kept[layer][lowest]
    assert [list(layer) for layer in found.model.config.kept_channels] == kept


def test_one_backward_pass_a_step(data):
    calls: list[int] = []

    @dataclass(frozen=True)
    class Counted(LossValue):
        def backward(self, parameters: object) -> None:
            calls.append(len(parameters))
            self.total.backward()

    class Counting(PlainObjective):
        def __call__(
            self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
        ) -> LossValue:
            return Counted(super().__call__(prediction, features, target, rows).total)

    loop, fine_tuning = Counting(), Counting()
    found = run_pruning(data, objective=loop, fine_tuning=fine_tuning).found
    plan = plan_pruning(base_network(data).config, data, CONFIG)
    assert len(loop.rows) == plan.loop_steps
    assert len(loop.rows) + len(fine_tuning.rows) == len(calls) == found.trajectory[-1].step
    # Every weight there is then, and no other, is trained.
    assert set(calls) == {len(list(found.model.parameters()))}


def test_the_loss_of_the_loop_is_not_that_of_the_fine_tuning(data):
    class Doubled(PlainObjective):
        def __call__(
            self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
        ) -> LossValue:
            value = super().__call__(prediction, features, target, rows)
            return LossValue(value.total, {"in_loop": torch.ones(())})

    found = run_pruning(data, objective=Doubled())
    assert ["train_in_loop" in report.metrics for report in found.reports] == [
        True,
        True,
        False,
        False,
    ]


def test_without_fine_tuning_the_loop_is_all(data):
    found = run_pruning(data, replace(CONFIG, fine_tuning_epochs=0))
    assert [report.epoch for report in found.reports] == [1, 2]
    assert found.found.best_epoch == 2


# The same numbers


def killed_after(epoch: int) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        if report.epoch == epoch:
            raise Killed

    return on_epoch


def test_the_same_seed_gives_the_same_numbers(data, uninterrupted):
    torch.manual_seed(99)
    assert_same_numbers(run_pruning(data), uninterrupted)
    other = run_pruning(data, replace(CONFIG, training=replace(TRAINING, seed=1)))
    assert other.numbers["metrics"] != uninterrupted.numbers["metrics"]


def test_a_killed_run_goes_on_with_the_same_numbers(data, tmp_path):
    """Whatever the width then, with scores half summed up, in the loop and in the fine-tuning."""
    training = replace(TRAINING, optimizer="adam", schedule="cosine")
    config = replace(CONFIG, training=training, pruning_interval=3)
    wanted = run_pruning(data, config)
    for epoch in (1, 2, 3):
        checkpoints = CheckpointFolder(tmp_path / str(epoch))
        with pytest.raises(Killed):
            run_pruning(data, config, checkpoints, killed_after(epoch))
        found = run_pruning(data, config, checkpoints)
        assert [report.epoch for report in found.reports] == list(range(epoch + 1, 5))
        assert_same_numbers(found, wanted)


def test_a_run_killed_after_every_epoch_ends_all_the_same(data, tmp_path, uninterrupted):
    checkpoints = CheckpointFolder(tmp_path)
    for epoch in (1, 2, 3, 4):
        with pytest.raises(Killed):
            run_pruning(data, CONFIG, checkpoints, killed_after(epoch))
    found = run_pruning(data, CONFIG, checkpoints)
    assert found.reports == []
    assert_same_numbers(found, uninterrupted)


def test_scores_half_summed_up_are_in_the_checkpoint(data, tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    with pytest.raises(Killed):
        run_pruning(data, CONFIG, checkpoints, killed_after(1))
    tensors, metadata = checkpoints.newest()
    own = metadata["surgeon"]
    assert own["scored_steps"] == own["steps"] % 4 > 0
    widths = [len(layer) for layer in own["kept"]]
    assert [len(tensors[f"surgeon.{layer}"]) for layer in range(8)] == widths
    assert widths != [5, 5, 6, 4, 4, 7, 7, 7]


SIGKILL_SCRIPT = """
import os, signal, sys
from pathlib import Path
import core.pruning.algorithm as algorithm
from core.checkpoint import CheckpointFolder
from core.datasets.dataset import open_dataset
from core.preprocessing.prepare import prepare
from tests.core import pruning_runs

calls = []
original = algorithm.filter_scores

def spy(model):
    calls.append(1)
    if len(calls) == int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(model)

algorithm.filter_scores = spy
data = prepare(open_dataset(Path(sys.argv[1])))
pruning_runs.run_pruning(data, checkpoints=CheckpointFolder(Path(sys.argv[2])))
"""


@pytest.mark.slow
def test_a_process_killed_within_an_epoch_goes_on_with_the_same_numbers(tmp_path):
    data = prepare(build_synthetic(tmp_path / "tiny", num_sensors=6, split=(3, 1, 1)))
    plan = plan_pruning(base_network(data).config, data, CONFIG)
    deadly = plan.last_removal - 1
    script = [sys.executable, "-c", SIGKILL_SCRIPT]
    command = [*script, str(tmp_path / "tiny"), str(tmp_path / "run"), str(deadly)]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    found = subprocess.run(command, env=environment, cwd=root, check=False)
    assert found.returncode == -signal.SIGKILL
    resumed = run_pruning(data, checkpoints=CheckpointFolder(tmp_path / "run"))
    assert [report.epoch for report in resumed.reports] == [2, 3, 4]
    assert_same_numbers(resumed, run_pruning(data))
