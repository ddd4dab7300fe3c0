"""Sweeps that an older version began are finished by this one, on a folder and on a store."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from hpo.cli.main import run
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.trial_records import read_records
from hpo.storage.storage import open_storage
from tests.integration.sweeps import events
from tests.object_stores import BUCKET, S3Server

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
OLDER = Path(__file__).parents[1] / "golden" / "older_sweeps"
FINISHED = (0, 1)
"""The trials that had ended; 2 and 3 were running."""


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    return Path(shutil.copytree(OLDER / "datasets", tmp_path / "datasets"))


def with_datasets(plan: bytes, datasets: Path) -> bytes:
    """A plan whose datasets lie here."""
    assert plan.count(b'"DATA"') == 1
    return plan.replace(b'"DATA"', f'"{datasets}"'.encode())


def check_resumed(folder: SweepFolder, before: dict[int, bytes]) -> None:
    """All four trials ended, none ran twice, and what had ended is as it was."""
    assert [record.trial for record in read_records(folder.results)] == [0, 1, 2, 3]
    assert all(record.status == "finished" for record in read_records(folder.results))
    assert {trial: record_file(folder, trial).read_bytes() for trial in before} == before
    told = Counter(
        (one["event"], one.get("trial"), one.get("epoch")) for one in events(folder.path)
    )
    assert set(told.values()) == {1}
    assert {(f"{trial}", epoch) for _, trial, epoch in told if epoch} == {
        (f"{trial}", epoch) for trial in range(4) for epoch in range(1, 31)
    }


def record_file(folder: SweepFolder, trial: int) -> Path:
    return folder.results / f"{trial:04d}.parquet"


def test_on_a_folder(datasets: Path, tmp_path: Path) -> None:
    storage = Path(shutil.copytree(OLDER / "local", tmp_path / "runs"))
    folder = SweepFolder(storage / "night")
    folder.plan_file.write_bytes(with_datasets(folder.plan_file.read_bytes(), datasets))
    before = {trial: record_file(folder, trial).read_bytes() for trial in FINISHED}
    known = len(events(folder.path))

    assert run(["resume", "night", "--storage", str(storage)]) == 0
    check_resumed(folder, before)
    assert known > 60, "the sweep had got far"


def test_on_an_object_store(
    datasets: Path, tmp_path: Path, s3: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyarrow import fs

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    endpoint = f"127.0.0.1:{s3.port}"
    client = fs.S3FileSystem(endpoint_override=endpoint, scheme="http", region="us-east-1")
    for path in sorted(one for one in (OLDER / "bucket").rglob("*") if one.is_file()):
        content = path.read_bytes()
        if path.name == "sweep.json":
            content = with_datasets(content, datasets)
        key = path.relative_to(OLDER / "bucket").as_posix()
        with client.open_output_stream(f"{BUCKET}/{tmp_path.name}/{key}") as stream:
            stream.write(content)
    address = s3.address(tmp_path.name)
    bucket = OLDER / "bucket" / "night" / "results"
    before = {trial: (bucket / f"{trial:04d}.parquet").read_bytes() for trial in FINISHED}

    assert run(["resume", "night", "--storage", address]) == 0
    check_resumed(find_sweep(open_storage(address), "night"), before)
