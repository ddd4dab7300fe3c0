"""A sweep's folder: its plan comes back as it was, and only one process drives it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError, StorageError, UnknownNameError
from core.files import write_json
from hpo.records.sweep_folder import SweepFolder, all_sweeps, find_sweep
from hpo.records.sweep_plan import SweepPlan
from hpo.space.search_space import built_in_search_space
from hpo.sweep_config import SweepConfig

ROOT = Path(__file__).parents[3]
PLAN = SweepPlan(
    config=SweepConfig("night", "stcd", "synthetic", trials=7, gpus_per_trial=0.5),
    space=built_in_search_space("stcd").with_fixed({"learning_rate": "8e-3"}),
    data_folder="/somewhere/data",
    dataset_fingerprint="9fc769ff1b79d3c4",
    teacher_fingerprint="0123456789abcdef",
    baselines={"repeat_last": {"val_mae": 3.5}},
    command="hpo sweep stcd",
)
HOLD_THE_LOCK = """
import sys, time
from pathlib import Path
from hpo.records.sweep_folder import SweepFolder
with SweepFolder(Path(sys.argv[1])).driver_lock():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "night")


@pytest.mark.parametrize("method", ["none", "ord", "stcd"])
def test_a_plan_comes_back_as_it_was(folder: SweepFolder, method: str) -> None:
    config = replace(PLAN.config, method=method)
    plan = replace(PLAN, config=config, space=built_in_search_space(method))
    folder.write_plan(plan)
    again = folder.read_plan()
    assert again == plan
    assert again.space.fingerprint == plan.space.fingerprint


def test_its_paths_lie_below_its_name(folder: SweepFolder) -> None:
    assert folder.name == "night"
    assert folder.storage == folder.path.parent
    paths = [folder.plan_file, folder.ledger_file, folder.results, folder.student(7)]
    paths.append(folder.checkpoints(7))
    assert len({str(path) for path in paths}) == 5
    assert all(path.is_relative_to(folder.path) for path in paths)
    assert folder.student(7) != folder.student(70)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"plan"',
        "7",
        "{}",
        '{"version": 1}',
        '{"version": 1, "config": []}',
        "\udcff",
    ],
)
def test_a_damaged_plan_is_refused(folder: SweepFolder, content: str) -> None:
    folder.path.mkdir()
    folder.plan_file.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StorageError, match=r"sweep\.json must be a sweep's plan: .*start"):
        folder.read_plan()


@pytest.mark.parametrize("key", ["config", "space", "baselines", "dataset_fingerprint"])
def test_a_plan_without_one_of_its_keys_is_refused(folder: SweepFolder, key: str) -> None:
    folder.write_plan(PLAN)
    fields = json.loads(folder.plan_file.read_text())
    del fields[key]
    write_json(folder.plan_file, fields)
    with pytest.raises(StorageError, match=key):
        folder.read_plan()


def test_a_plan_of_another_version_is_refused(folder: SweepFolder) -> None:
    folder.write_plan(PLAN)
    fields = json.loads(folder.plan_file.read_text())
    write_json(folder.plan_file, {**fields, "version": 99})
    with pytest.raises(StorageError, match="another version"):
        folder.read_plan()


def test_sweeps_are_found_by_name_or_the_nearest_is_suggested(folder: SweepFolder) -> None:
    storage = folder.storage
    with pytest.raises(UnknownNameError, match="there is none yet"):
        find_sweep(storage, "night")
    folder.write_plan(PLAN)
    (storage / "teachers").mkdir()
    (storage / "begun").mkdir()
    SweepFolder(storage / "day").write_plan(PLAN)
    assert [sweep.name for sweep in all_sweeps(storage)] == ["day", "night"]
    assert find_sweep(storage, "night") == folder
    with pytest.raises(UnknownNameError, match=r"sweep 'nigth'; did you mean 'night'\? .*day"):
        find_sweep(storage, "nigth")
    with pytest.raises(ConfigError, match=r"got '\.\./night'"):
        find_sweep(storage / "teachers", "../night")
    assert all_sweeps(storage / "missing") == []


def test_only_one_drives(folder: SweepFolder) -> None:
    assert not folder.is_driven()
    with folder.driver_lock():
        assert folder.is_driven()
        with (
            pytest.raises(StorageError, match="another process drives 'night'; wait for it"),
            folder.driver_lock(),
        ):
            pytest.fail("two drivers")
        assert folder.is_driven()
    assert not folder.is_driven()
    with folder.driver_lock():
        pass


def test_the_lock_ends_with_its_process_however_it_ends(folder: SweepFolder) -> None:
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(folder.path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert folder.is_driven()
        with pytest.raises(StorageError), folder.driver_lock():
            pytest.fail("two drivers")
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
    assert not folder.is_driven()
    with folder.driver_lock():
        pass


def test_asking_who_drives_writes_nothing(folder: SweepFolder) -> None:
    assert not folder.is_driven()
    assert not folder.path.exists()
