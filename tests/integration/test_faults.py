"""Sweeps that are killed, interrupted or driven twice: they lose nothing and repeat nothing."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from hpo.cli.main import run
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import read_records
from tests.integration.sweeps import (
    check_nothing_is_lost_or_repeated,
    descendants,
    events,
    hpo,
    start,
    sweep_arguments,
    title,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
KILLS = 12
EPOCHS = 40
"""Enough for a fast machine too: the sweep must outlast its kills."""
WHILE_STARTING = 0.6
"""The share of the kills that does not wait for the sweep to get on: those cost little time."""
WORKERS = ("ray::ImplicitFunc", "raylet", "gcs_server")


def kill_at_a_random_moment(
    driver: subprocess.Popen[bytes], sweep: Path, chance: random.Random
) -> dict[int, str]:
    """SIGKILL the driver while it starts or after some more events; return what it had started."""
    if (sweep / "sweep.json").exists() and chance.random() < WHILE_STARTING:
        time.sleep(chance.uniform(0.1, 4))
        return kill(driver)
    wanted = len(events(sweep)) + chance.randint(0, 3)
    begun = wait_until(
        lambda: (
            driver.poll() is not None
            or ((sweep / "sweep.json").exists() and len(events(sweep)) >= wanted)
        )
    )
    assert begun, "the sweep did not get on"
    time.sleep(chance.uniform(0, 0.3))
    return kill(driver)


def kill(driver: subprocess.Popen[bytes]) -> dict[int, str]:
    started = descendants(driver.pid)
    driver.kill()
    driver.wait()
    return started


def finished_files(sweep: Path) -> dict[Path, bytes]:
    """Records, and the students they name, that nothing may change any more."""
    folder = SweepFolder(sweep)
    files = sorted(folder.results.glob("[0-9]*.parquet"))
    named = [record.student for record in read_records(folder.results)]
    files += [folder.storage / student for student in named if student]
    return {file: file.read_bytes() for file in files}


def outcome(state: SweepState) -> dict[int, tuple[Any, ...]]:
    return {
        number: (trial.status, trial.settings, trial.seed, trial.metrics)
        for number, trial in state.trials.items()
    }


@pytest.mark.timeout(900)
def test_a_driver_killed_again_and_again_still_runs_every_trial_once(
    traffic: Path, space_file: Path, tmp_path: Path
) -> None:
    chance = random.Random(11)
    sweep, log = tmp_path / "runs" / "night", tmp_path / "log"
    arguments = sweep_arguments(traffic, tmp_path / "runs", space_file, EPOCHS)
    orphans: dict[int, str] = {}
    kept: dict[Path, bytes] = {}
    kills = 0
    for life in range(KILLS):
        again = ["resume", "night", "--storage", tmp_path / "runs"]
        driver = start(log, *(again if life else arguments))
        orphans |= kill_at_a_random_moment(driver, sweep, chance)
        kills += driver.returncode == -signal.SIGKILL
        for file, content in kept.items():
            assert file.read_bytes() == content, f"{file} changed"
        kept = finished_files(sweep)
    assert kills == KILLS, log.read_text()

    done = hpo("resume", "night", "--storage", tmp_path / "runs")
    assert done.returncode == 0, done.stderr
    assert all(file.read_bytes() == content for file, content in kept.items())
    check_nothing_is_lost_or_repeated(sweep)

    # The same sweep without a fault: every number is the same.
    calm = sweep_arguments(traffic, tmp_path / "calm", space_file, EPOCHS)
    assert hpo(*calm).returncode == 0
    state = read_ledger(sweep / "ledger.jsonl")
    expected = read_ledger(tmp_path / "calm" / "night" / "ledger.jsonl")
    assert outcome(state) == outcome(expected)
    best, calm_best = state.best("val_mae"), expected.best("val_mae")
    assert best is not None
    assert calm_best is not None
    assert (best.number, best.metrics) == (calm_best.number, calm_best.metrics)

    def training() -> list[int]:
        return [pid for pid, name in orphans.items() if name == title(pid) and is_training(name)]

    assert wait_until(lambda: not training()), [title(pid) for pid in training()]


def is_training(name: str) -> bool:
    return any(worker in name for worker in WORKERS)


@pytest.mark.parametrize("notice", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_or_a_spot_notice_stops_a_sweep_that_another_driver_could_not_take(
    traffic: Path,
    space_file: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    notice: signal.Signals,
) -> None:
    storage, log = tmp_path / "runs", tmp_path / "log"
    sweep = storage / "night"
    driver = start(log, *sweep_arguments(traffic, storage, space_file, epochs=15))
    try:
        begun = wait_until(lambda: any(one["event"] == "epoch" for one in events(sweep)))
        assert begun, log.read_text()
        assert state_of(storage, capsys) == "running"
        assert run(["resume", "night", "--storage", str(storage)]) == 2
        complaint = capsys.readouterr().err
        assert complaint.startswith("hpo: a sweep has one driver, but another process drives 'nig")
        assert complaint.count("\n") == 1
        if notice is signal.SIGINT:  # a terminal tells the whole group
            os.killpg(driver.pid, notice)
        else:
            driver.send_signal(notice)
        assert driver.wait(60) == 130
    finally:
        driver.kill()
        driver.wait()
    text = log.read_text()
    assert "night is stopped; next: hpo resume night" in text
    assert "Traceback" not in text

    assert state_of(storage, capsys) == "stopped"
    before = read_ledger(sweep / "ledger.jsonl")
    assert before.num_ended < 4
    done = hpo("resume", "night", "--storage", storage, "--format", "json")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["sweep"], answer["trials"], answer["failed"]) == ("night", 4, 1)
    check_nothing_is_lost_or_repeated(sweep)
    after = read_ledger(sweep / "ledger.jsonl")
    for number, trial in before.trials.items():
        history = after.trials[number].history
        assert {epoch: history[epoch] for epoch in trial.history} == trial.history
    assert state_of(storage, capsys) == "complete"


def state_of(storage: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What ``hpo status`` says of the sweep."""
    capsys.readouterr()
    assert run(["status", "night", "--storage", str(storage), "--format", "json"]) == 0
    return str(json.loads(capsys.readouterr().out)["state"])


def test_two_sweeps_at_once_on_one_storage_do_not_meet(
    traffic: Path, space_file: Path, tmp_path: Path
) -> None:
    arguments = sweep_arguments(traffic, tmp_path / "runs", space_file, epochs=4)
    names = ["night", "other"]
    drivers = [start(tmp_path / name, *arguments, "--name", name) for name in names]
    try:
        assert [driver.wait(200) for driver in drivers] == [0, 0]
    finally:
        for driver in drivers:
            driver.kill()
            driver.wait()
    for name in names:
        check_nothing_is_lost_or_repeated(tmp_path / "runs" / name)
    states = [read_ledger(tmp_path / "runs" / name / "ledger.jsonl") for name in names]
    assert outcome(states[0]) == outcome(states[1])
