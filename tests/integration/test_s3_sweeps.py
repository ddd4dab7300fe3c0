"""A sweep on an object store whose driver is killed and whose store fails: nothing is lost.

A machine is an empty cache folder; no other file is shared but the datasets.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow import fs, parquet
from ray.cluster_utils import Cluster

from hpo.cli.main import run
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.sweep_state import SweepState
from hpo.records.trial_records import TrialRecord, read_records
from hpo.storage.storage import open_storage
from tests.integration.sweeps import (
    check_nothing_is_lost_or_repeated,
    start,
    sweep_arguments,
    wait_until,
)
from tests.object_stores import BUCKET, Broken, Environ, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
EPOCHS = 8
ENDINGS = (".safetensors", ".parquet")
FILES = 3
"""Checkpoints, students and records put before the store goes away."""


class Machine:
    """The machine that commands run on from now on."""

    def __init__(self, address: str, cache: Path, patch: pytest.MonkeyPatch) -> None:
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("OMP_NUM_THREADS", "1")
        self.storage = open_storage(address)

    def sweep(self, name: str = "night") -> SweepFolder:
        return find_sweep(self.storage, name)

    def state(self, name: str = "night") -> SweepState:
        return read_ledger(self.sweep(name).ledger_file)


def test_a_sweep_goes_on_elsewhere_after_its_driver_and_its_store_died(
    traffic: Path,
    space_file: Path,
    tmp_path: Path,
    s3: S3Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = s3.address(f"sweeps/{tmp_path.name}")

    def machine(number: int) -> Machine:
        capsys.readouterr()
        return Machine(address, tmp_path / f"machine-{number}", monkeypatch)

    arguments = sweep_arguments(traffic, Path(), space_file, EPOCHS)
    arguments[arguments.index("--storage") + 1] = address
    machine(1)
    # Nothing is there yet; the same command while the sweep runs then has all that it imports.
    assert run(["resume", "night", "--storage", address]) == 2
    with s3.failing_at_random(0.02):
        drivers = [
            start(tmp_path / name, *arguments, "--name", name) for name in ("night", "other")
        ]
        try:
            watching = machine(2)
            kill_once_a_trial_has_ended(drivers[0], watching, tmp_path / "night")
            assert drivers[1].wait(200) == 0, (tmp_path / "other").read_text()
        finally:
            for driver in drivers:
                driver.kill()
                driver.wait()

    third = machine(3)
    assert state_of("night", address, capsys) == "stopped"
    before = ended(third.sweep())
    assert 0 < len(before) < 4

    machine(4)
    with monkeypatch.context() as patch, s3.failing(once_files_are_put()):
        patch.setenv("AWS_MAX_ATTEMPTS", "2")
        check_the_sweep_stops(address, capsys)

    driver = machine(5)
    node = tmp_path / "node"
    with s3.failing_at_random(0.02), one_worker_with(node) as cluster:
        assert run(["resume", "night", "--storage", address, "--address", cluster]) == 0
    assert list(node.rglob("student.safetensors"))
    assert not list(driver.storage.rglob("student.safetensors")), "the driver trains nothing"

    last = machine(6)
    assert state_of("night", address, capsys) == "complete"
    for name in ("night", "other"):
        check_nothing_is_lost_or_repeated(last.sweep(name).path)
    assert before.items() <= ended(last.sweep()).items()
    assert outcome(last.state("night")) == outcome(last.state("other")), "as without a fault"
    rows = answer(capsys, "best", "--dataset", "small", "--storage", address)
    assert {row["sweep"] for row in rows[:2]} == {"night", "other"}
    assert rows[0]["metrics"] == rows[1]["metrics"]
    check_parquet_is_readable_by_others(s3, tmp_path.name)


def kill_once_a_trial_has_ended(
    driver: subprocess.Popen[bytes], elsewhere: Machine, log: Path
) -> None:
    """SIGKILL the driver, seen from another machine, which may not drive in the meantime."""

    folder = SweepFolder(elsewhere.storage / "night")

    def begun() -> bool:
        folder.refresh()
        return folder.plan_file.exists()

    assert wait_until(begun, 120), log.read_text()
    assert run(["resume", "night", "--storage", folder.storage_address]) == 2
    assert folder.is_driven()
    waited = wait_until(lambda: driver.poll() is not None or elsewhere.state().num_ended > 0, 120)
    assert waited, log.read_text()
    assert driver.poll() is None, log.read_text()
    driver.kill()
    driver.wait()


def check_the_sweep_stops(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["resume", "night", "--storage", address]) == 2
    (line,) = [one for one in capsys.readouterr().err.splitlines() if not one.startswith("[")]
    assert "must answer and take what is written, but" in line
    assert line.endswith("mend that, then go on with `hpo resume night`")


@contextmanager
def one_worker_with(cache: Path) -> Iterator[str]:
    """A Ray whose head trains nothing and whose other node has files of its own."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        there = {"XDG_CACHE_HOME": str(cache)}
        cluster.add_node(num_cpus=2, include_dashboard=False, env_vars=there)
        yield cluster.address
    finally:
        cluster.shutdown()


def once_files_are_put() -> Broken:
    """Fail everything after some files: in the middle of a sweep."""
    put: set[str] = set()

    def breaks(environ: Environ) -> bool:
        if environ["REQUEST_METHOD"] == "PUT" and environ["PATH_INFO"].endswith(ENDINGS):
            put.add(environ["PATH_INFO"])
        return len(put) >= FILES

    return breaks


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What a command says to programs."""
    capsys.readouterr()
    assert run([*arguments, "--format", "json"]) == 0
    return json.loads(capsys.readouterr().out)


def state_of(name: str, address: str, capsys: pytest.CaptureFixture[str]) -> str:
    return str(answer(capsys, "status", name, "--storage", address)["state"])


def ended(folder: SweepFolder) -> dict[int, TrialRecord]:
    return {record.trial: record for record in read_records(folder.results)}


def outcome(state: SweepState) -> dict[int, tuple[Any, ...]]:
    return {
        number: (trial.status, trial.settings, trial.seed, trial.metrics)
        for number, trial in state.trials.items()
    }


def check_parquet_is_readable_by_others(s3: S3Server, prefix: str) -> None:
    client = fs.S3FileSystem(
        endpoint_override=f"127.0.0.1:{s3.port}", scheme="http", region="us-east-1"
    )
    folder = fs.FileSelector(f"{BUCKET}/sweeps/{prefix}/night/results")
    files = [info.path for info in client.get_file_info(folder) if info.is_file]
    tables = [parquet.read_table(path, filesystem=client, partitioning=None) for path in files]
    assert sorted(int(table["trial"][0].as_py()) for table in tables) == [0, 1, 2, 3]
