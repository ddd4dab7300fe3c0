from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.checkpoint import CheckpointFolder
from core.datasets.synthetic import build_synthetic
from core.preprocessing.prepare import PreparedData, prepare
from core.training.trainer import EpochReport
from tests.core.training_runs import (
    CONFIG,
    Outcome,
    SpoilingObjective,
    network,
    train,
)


class Killed(BaseException):
    """Stands for a signal: nothing between training and the test may catch it."""


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def killed_after(epoch: int) -> Callable[[EpochReport], None]:
    def on_epoch(report: EpochReport) -> None:
        if report.epoch == epoch:
            raise Killed

    return on_epoch


def assert_same_bits(found: Outcome, wanted: Outcome) -> None:
    assert found.metrics == wanted.metrics
    assert found.weights.keys() == wanted.weights.keys()
    for name, value in wanted.weights.items():
        assert torch.equal(found.weights[name], value), name
    later = wanted.reports[len(wanted.reports) - len(found.reports) :]
    for report, expected in zip(found.reports, later, strict=True):
        assert report == expected


@pytest.fixture(scope="module")
def uninterrupted(data) -> Outcome:
    return train(data)


# The same numbers


@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_the_same_seed_gives_the_same_numbers(data, optimizer):
    config = replace(CONFIG, epochs=2, optimizer=optimizer)
    first = train(data, config)
    torch.manual_seed(99)
    assert_same_bits(train(data, config), first)
    other = train(data, replace(config, seed=1))
    assert other.metrics["val_mae"] != first.metrics["val_mae"]
    start = network(data).state_dict()
    assert all(not torch.equal(first.weights[name], value) for name, value in start.items())


@pytest.mark.parametrize("schedule", ["step", "cosine"])
@pytest.mark.parametrize("optimizer", ["rmsprop", "adam"])
def test_a_killed_run_goes_on_with_the_same_numbers(data, tmp_path, optimizer, schedule):
    config = replace(CONFIG, optimizer=optimizer, schedule=schedule)
    wanted = train(data, config)
    for epoch in (1, 2):
        checkpoints = CheckpointFolder(tmp_path / str(epoch))
        with pytest.raises(Killed):
            train(data, config, checkpoints, on_epoch=killed_after(epoch))
        found = train(data, config, checkpoints)
        assert [report.epoch for report in found.reports] == list(range(epoch + 1, 4))
        assert_same_bits(found, wanted)


def test_a_run_killed_within_an_epoch_does_that_epoch_again(data, tmp_path, uninterrupted):
    def on_step(epoch: int, step: int, steps: int) -> None:
        if (epoch, step) == (2, steps // 2):
            raise Killed

    checkpoints = CheckpointFolder(tmp_path)
    with pytest.raises(Killed):
        train(data, checkpoints=checkpoints, on_step=on_step)
    found = train(data, checkpoints=checkpoints)
    assert [report.epoch for report in found.reports] == [2, 3]
    assert_same_bits(found, uninterrupted)


def test_a_damaged_newest_state_costs_one_epoch_and_no_bit(data, tmp_path, uninterrupted):
    checkpoints = CheckpointFolder(tmp_path)
    with pytest.raises(Killed):
        train(data, checkpoints=checkpoints, on_epoch=killed_after(2))
    newest = max(tmp_path.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    found = train(data, checkpoints=checkpoints)
    assert [report.epoch for report in found.reports] == [2, 3]
    assert_same_bits(found, uninterrupted)


def test_a_run_that_is_over_trains_no_more(data, tmp_path):
    checkpoints = CheckpointFolder(tmp_path)
    objective = SpoilingObjective(good_steps=10)
    wanted = train(data, checkpoints=checkpoints, objective=objective)
    assert wanted.reports[-1].best_epoch < 3
    again = train(data, checkpoints=checkpoints, objective=objective)
    assert again.reports == []
    assert_same_bits(again, wanted)
    assert again.trainer.state == wanted.trainer.state


SIGKILL_SCRIPT = """
import os, signal, sys
from pathlib import Path
from core.checkpoint import CheckpointFolder
from core.datasets.dataset import open_dataset
from core.datasets.synthetic import build_synthetic
from core.preprocessing.prepare import prepare
from tests.core import training_runs

def on_step(epoch, step, steps):
    if (epoch, step) == (2, 3):
        os.kill(os.getpid(), signal.SIGKILL)

data = prepare(open_dataset(Path(sys.argv[1])))
training_runs.train(data, checkpoints=CheckpointFolder(Path(sys.argv[2])), on_step=on_step)
"""


@pytest.mark.slow
def test_a_process_killed_by_the_system_goes_on_with_the_same_numbers(tmp_path):
    data = prepare(build_synthetic(tmp_path / "tiny", num_sensors=6, split=(2, 1, 1)))
    command = [sys.executable, "-c", SIGKILL_SCRIPT, str(tmp_path / "tiny"), str(tmp_path / "run")]
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    found = subprocess.run(command, env=environment, cwd=root, check=False)
    assert found.returncode == -signal.SIGKILL
    resumed = train(data, checkpoints=CheckpointFolder(tmp_path / "run"))
    assert [report.epoch for report in resumed.reports] == [2, 3]
    assert_same_bits(resumed, train(data))
