"""Records in one table: read back as they are, never instead of what their own files say."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hpo.records.trial_records import TrialRecord, join_records, read_records, write_record
from tests.small_sweeps import record

RECORDS = [
    record(0, 3.0),
    record(1, 2.0, settings={"learning_rate": 0.02, "form": "direct"}, student="first/1"),
    record(2, 4.0, status="failed", reason="too hot", metrics={}),
    record(3, 1.0, latency_ms=3.5, loss="ord", base="table1", teacher_fingerprint="t1"),
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "sweep" / "results"
    for one in RECORDS:
        write_record(folder, one)
    join_records(folder)
    return folder


def as_written(records: list[TrialRecord]) -> list[str]:
    """With the types of all numbers, which comparing would not see."""
    return [repr(one) for one in records]


def test_all_come_back_without_opening_their_files(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    plain = pq.ParquetFile

    def counted(path: Path, **options: bool) -> pq.ParquetFile:
        opened.append(path)
        return plain(path, **options)

    monkeypatch.setattr(pq, "ParquetFile", counted)
    assert as_written(read_records(results)) == as_written(RECORDS)
    assert opened == [results.parent / "records.parquet"]


def test_other_tools_read_it_as_one_table(results: Path) -> None:
    frame = pd.read_parquet(results.parent / "records.parquet")
    assert frame["trial"].tolist() == [0, 1, 2, 3]
    assert frame["setting_learning_rate"].tolist() == [0.01, 0.02, 0.01, 0.01]


def test_what_came_later_is_read_from_its_own_file(results: Path) -> None:
    later = record(4, 0.5)
    write_record(results, later)
    assert as_written(read_records(results)) == as_written([*RECORDS, later])


def test_a_record_that_is_gone_is_gone(results: Path) -> None:
    (results / "0001.parquet").unlink()
    assert [one.trial for one in read_records(results)] == [0, 2, 3]


def test_a_restored_record_counts_as_it_is_now(results: Path) -> None:
    other = record(0, 9.0)
    write_record(results, other)
    assert as_written(read_records(results)) == as_written([other, *RECORDS[1:]])


def test_a_record_damaged_later_is_left_out(results: Path) -> None:
    file = results / "0001.parquet"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    before = file.stat()
    file.write_bytes(bytes(content))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert 1 not in [one.trial for one in read_records(results)]


@pytest.mark.parametrize("content", [b"", b"no table", None])
def test_a_damaged_table_changes_nothing(results: Path, content: bytes | None) -> None:
    table = results.parent / "records.parquet"
    table.write_bytes(table.read_bytes()[:-50] if content is None else content)
    assert as_written(read_records(results)) == as_written(RECORDS)


def test_settings_of_several_types_have_no_table(tmp_path: Path) -> None:
    folder = tmp_path / "sweep" / "results"
    mixed = [record(0, 1.0, settings={"beta": 1}), record(1, 1.0, settings={"beta": 0.5})]
    for one in mixed:
        write_record(folder, one)
    join_records(folder)
    assert not (folder.parent / "records.parquet").exists()
    assert as_written(read_records(folder)) == as_written(mixed)


def test_a_damaged_record_has_no_table(results: Path) -> None:
    (results.parent / "records.parquet").unlink()
    (results / "0002.parquet").write_bytes(b"broken")
    join_records(results)
    assert not (results.parent / "records.parquet").exists()
