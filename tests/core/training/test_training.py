from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from core.checkpoint import CheckpointFolder
from core.distillation.interface import LossValue
from core.errors import ConfigError, TrainingDivergedError
from core.evaluation.forecasting import evaluate
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import window_rows
from core.training.trainer import SCHEDULES, EpochReport, Trainer, TrainingConfig
from tests.core.training_runs import (
    CONFIG,
    ONE_STEP,
    PlainObjective,
    SpoilingObjective,
    network,
    train,
)


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


# What is kept and when it stops


def test_the_weights_of_the_best_epoch_are_kept(data):
    found = train(data, objective=SpoilingObjective(good_steps=10))
    errors = [report.metrics["val_mae"] for report in found.reports]
    best = errors.index(min(errors)) + 1
    assert best < len(errors) == 3
    assert [report.is_best for report in found.reports][best - 1 :] == [True] + [False] * (3 - best)
    assert found.metrics == found.reports[best - 1].metrics
    kept = evaluate(found.trainer.model, data, "validation")
    assert {f"val_{name}": value for name, value in kept.items()}.items() <= found.metrics.items()


def test_patience_stops_a_run_also_after_it_was_killed(data, tmp_path):
    config = replace(CONFIG, epochs=9, patience=2)
    checkpoints = CheckpointFolder(tmp_path)
    found = train(data, config, checkpoints, SpoilingObjective(good_steps=10))
    assert found.reports[-1].best_epoch == found.reports[-1].epoch - 2
    assert len(found.reports) < 9
    assert train(data, config, checkpoints).reports == []


def test_without_patience_all_epochs_are_trained(data):
    assert len(train(data, objective=SpoilingObjective(good_steps=1)).reports) == CONFIG.epochs


@pytest.mark.parametrize(
    ("schedule", "epochs", "wanted"),
    [
        ("step", 11, [1.0] * 5 + [0.7] * 5 + [0.49]),
        ("cosine", 4, [1.0, 0.5 + math.sqrt(0.125), 0.5, 0.5 - math.sqrt(0.125)]),
    ],
)
def test_learning_rates(data, schedule, epochs, wanted):
    found: list[float] = []
    config = replace(ONE_STEP, schedule=schedule, epochs=epochs, learning_rate=2e-3)
    trainer = Trainer(network(data), data, PlainObjective(), config)
    trainer.run(lambda report: found.append(trainer.optimizer.param_groups[0]["lr"]))
    assert found == pytest.approx([2e-3 * factor for factor in wanted])
    assert [SCHEDULES[schedule](epoch, epochs) for epoch in range(epochs)] == pytest.approx(wanted)


def test_a_warm_up_changes_the_learning_rate_at_every_step(data):
    """In the middle of each: from zero over the first epoch, then along a cosine to zero."""
    epochs, found = 3, []
    config = replace(CONFIG, schedule="warmup", epochs=epochs, learning_rate=2e-3)
    trainer = Trainer(network(data), data, PlainObjective(), config)
    rates = lambda *_: found.append(trainer.optimizer.param_groups[0]["lr"])  # noqa: E731
    trainer.run(lambda report: None, rates)
    steps = len(found) // epochs
    assert steps > 2
    middles = [(step + 0.5) / steps for step in range(len(found))]
    cosines = [0.5 * (1 + math.cos(math.pi * at / epochs)) for at in middles]
    wanted = [2e-3 * min(1, at) * cosine for at, cosine in zip(middles, cosines, strict=True)]
    assert found == pytest.approx(wanted)


# Which windows are seen


def test_every_window_is_seen_once_an_epoch(data):
    objective = PlainObjective()
    train(data, replace(CONFIG, epochs=2, windows_per_segment=1), objective=objective)
    everything = window_rows(data.stretches("train"), data.window_steps)
    half = len(objective.rows) // 2
    first, second = torch.cat(objective.rows[:half]), torch.cat(objective.rows[half:])
    assert torch.equal(first.sort().values, everything)
    assert torch.equal(second.sort().values, everything)
    assert not torch.equal(first, second)
    assert not torch.equal(first, everything)
    targets = torch.cat(objective.targets[:half])
    measured = data.targets[first + data.history_steps]
    assert measured.isnan().any()
    torch.testing.assert_close(targets, measured, rtol=0, atol=0, equal_nan=True)


def test_segments_see_no_window_twice_and_start_elsewhere_in_every_epoch(data):
    size, epochs, windows = 5, 4, 268
    objective = PlainObjective()
    train(data, replace(CONFIG, epochs=epochs, windows_per_segment=size), objective=objective)
    per_epoch = len(objective.rows) // epochs
    offsets = []
    for epoch in range(epochs):
        rows = torch.cat(objective.rows[epoch * per_epoch : (epoch + 1) * per_epoch])
        offsets.append(int(rows.min()))
        run = torch.arange(offsets[-1], offsets[-1] + (windows - offsets[-1]) // size * size)
        assert torch.equal(rows.sort().values, torch.cat([run + day * 288 for day in range(3)]))
    assert max(offsets) < size
    assert len(set(offsets)) > 1


def test_batches_are_as_large_as_asked_for(data):
    objective = PlainObjective()
    train(data, replace(CONFIG, epochs=1, batch_size=50), objective=objective)
    sizes = [len(rows) for rows in objective.rows]
    assert set(sizes[:-1]) == {48}  # twelve segments of four windows
    assert 0 < sizes[-1] <= 48


# Reports


def test_reports(data, tmp_path):
    checkpoints, objective = CheckpointFolder(tmp_path), PlainObjective()
    steps: list[tuple[int, int, int]] = []

    def on_epoch(report: EpochReport) -> None:
        newest = checkpoints.newest()
        assert newest is not None
        assert newest[1]["epoch"] == report.epoch

    found = train(data, CONFIG, checkpoints, objective, on_epoch, lambda *at: steps.append(at))
    per_epoch = steps[0][2]
    wanted = [(e, s, per_epoch) for e in range(1, 4) for s in range(1, per_epoch + 1)]
    assert steps == wanted
    assert [report.epoch for report in found.reports] == [1, 2, 3]
    metrics = found.reports[1].metrics
    names = [f"{name}{at}" for name in ("mae", "mape", "rmse") for at in ("", "_15", "_30", "_45")]
    assert set(metrics) == {*(f"val_{name}" for name in names), "train_loss", "train_row"}
    shown = objective.rows[per_epoch : 2 * per_epoch]
    means = [rows.double().mean().item() for rows in shown]
    assert metrics["train_row"] == pytest.approx(sum(means) / per_epoch)
    assert found.reports[2].metrics["train_loss"] < found.reports[0].metrics["train_loss"]


# Refusals


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_a_learning_rate_far_too_high_is_said_to_be_so(data, tmp_path, optimizer):
    config = replace(CONFIG, learning_rate=1e30, optimizer=optimizer)
    text = r"training loss must stay finite, got (nan|inf) in epoch 1; lower the .* of 1e\+30"
    with pytest.raises(TrainingDivergedError, match=text):
        train(data, config, CheckpointFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_of_nan_is_refused(data):
    class NaNObjective(PlainObjective):
        def __call__(self, *arguments: object) -> LossValue:
            return LossValue(super().__call__(*arguments).total * math.nan)

    with pytest.raises(TrainingDivergedError, match="the training loss must stay finite, got nan"):
        train(data, objective=NaNObjective())


def test_weights_of_nan_are_refused_though_the_loss_was_finite(data, tmp_path):
    class RuinedValue(LossValue):
        def backward(self, parameters: Sequence[nn.Parameter]) -> None:
            for parameter in parameters:
                parameter.grad = torch.full_like(parameter, math.nan)

    class RuiningObjective(PlainObjective):
        def __call__(self, *arguments: object) -> LossValue:
            value = super().__call__(*arguments)
            return RuinedValue(value.total) if len(self.rows) == 4 else value

    with pytest.raises(TrainingDivergedError, match=r"validation error .* got nan in epoch 2"):
        train(data, ONE_STEP, CheckpointFolder(tmp_path), RuiningObjective())
    assert [path.name[:11] for path in tmp_path.iterdir()] == ["epoch-00001"]


@pytest.mark.parametrize(("size", "windows"), [(1, 804), (4, 792)])
def test_a_batch_larger_than_the_data_is_refused(data, size, windows):
    """With segments of four up to three windows at each end of a day sit out."""
    config = replace(CONFIG, batch_size=windows, windows_per_segment=size)
    Trainer(network(data), data, PlainObjective(), config)
    text = f"must not exceed the {windows} training windows of tiny, got {windows + 1}; choose a"
    with pytest.raises(ConfigError, match=text):
        Trainer(network(data), data, PlainObjective(), replace(config, batch_size=windows + 1))


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"windows_per_segment": -1}, "windows_per_segment must be at least 1, got -1"),
        ({"patience": 0}, "patience must be at least 1, got 0"),
        ({"learning_rate": 0.0}, r"learning_rate must be positive, got 0\.0"),
        ({"learning_rate": math.inf}, "learning_rate must be positive, got inf"),
        ({"learning_rate": math.nan}, "learning_rate must be positive, got nan"),
        ({"batch_size": 4, "windows_per_segment": 5}, "must not exceed batch_size = 4, got 5"),
    ],
)
def test_settings_that_cannot_train_are_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        TrainingConfig(**fields)
