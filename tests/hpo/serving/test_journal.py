from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from core.datasets.dataset import Dataset
from core.errors import StorageError
from hpo.serving.journal import Journal, TimedRow

START, STEP = datetime(2012, 5, 1), timedelta(minutes=15)


@pytest.fixture
def rows(tiny_dataset: Dataset) -> list[TimedRow]:
    step = timedelta(minutes=tiny_dataset.card.interval_minutes)
    values = np.array(tiny_dataset.readings[:40])
    values[::3, 2] = np.nan
    return [TimedRow(START + at * step, row) for at, row in enumerate(values)]


def same(found: list[TimedRow], expected: list[TimedRow]) -> bool:
    return [one.time for one in found] == [one.time for one in expected] and all(
        np.array_equal(one.reading, other.reading, equal_nan=True)
        for one, other in zip(found, expected, strict=True)
    )


def opened(folder: Path, dataset: Dataset, kept: int = 100) -> Journal:
    return Journal(folder, dataset.card, kept)


def test_rows_come_back_bit_for_bit(
    tmp_path: Path, tiny_dataset: Dataset, rows: list[TimedRow]
) -> None:
    journal = opened(tmp_path / "state", tiny_dataset)
    journal.append(rows[:10])
    journal.append(rows[10:])
    journal.close()
    assert same(list(opened(tmp_path / "state", tiny_dataset).replayed()), rows)


@pytest.mark.parametrize("cut", [1, 20])
def test_a_line_cut_short_is_cut_off(
    tmp_path: Path, tiny_dataset: Dataset, rows: list[TimedRow], cut: int
) -> None:
    journal = opened(tmp_path, tiny_dataset)
    journal.append(rows[:5])
    journal.close()
    path = tmp_path / "rows.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    journal = opened(tmp_path, tiny_dataset)
    assert same(list(journal.rows), rows[:4])
    journal.append(rows[4:6])
    journal.close()
    assert same(list(opened(tmp_path, tiny_dataset).rows), rows[:6])


def test_old_rows_go_and_leave_each_sensors_last_reading(
    tmp_path: Path, tiny_dataset: Dataset, rows: list[TimedRow]
) -> None:
    for row in rows[10:]:
        row.reading[4] = np.nan
    journal = opened(tmp_path, tiny_dataset, kept=8)
    sizes = []
    for row in rows:
        journal.append([row])
        sizes.append((tmp_path / "rows.jsonl").stat().st_size)
    assert max(sizes) < 3 * sizes[7]
    journal.close()
    carried, *kept = opened(tmp_path, tiny_dataset, kept=8).replayed()
    assert same(kept, rows[-8:])
    assert carried.time == rows[-9].time
    known = np.array([row.reading[4] for row in rows[:10]])
    assert carried.reading[4] == known[~np.isnan(known)][-1]


def test_nothing_is_carried_over_a_gap(
    tmp_path: Path, tiny_dataset: Dataset, rows: list[TimedRow]
) -> None:
    journal = opened(tmp_path, tiny_dataset, kept=4)
    journal.append([*rows[:5], *rows[6:10]])
    assert same(list(journal.replayed()), rows[6:10])


def test_a_full_disk_leaves_whole_rows(
    tmp_path: Path,
    tiny_dataset: Dataset,
    rows: list[TimedRow],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    journal = opened(tmp_path, tiny_dataset)
    journal.append(rows[:2])

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hpo.serving.journal.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        journal.append(rows[2:4])
    monkeypatch.undo()
    journal.append(rows[4:5])
    journal.close()
    assert same(list(opened(tmp_path, tiny_dataset).rows), [*rows[:2], rows[4]])


def test_a_folder_belongs_to_one_service(tmp_path: Path, tiny_dataset: Dataset) -> None:
    journal = opened(tmp_path, tiny_dataset)
    with pytest.raises(StorageError, match="another one has it open; end that one"):
        opened(tmp_path, tiny_dataset)
    journal.close()
    opened(tmp_path, tiny_dataset).close()


def test_rows_of_other_sensors_are_refused(tmp_path: Path, tiny_dataset: Dataset) -> None:
    opened(tmp_path, tiny_dataset).close()
    other = replace(tiny_dataset.card, sensor_ids=("x", *tiny_dataset.card.sensor_ids[1:]))
    with pytest.raises(StorageError, match="another sensors than the export; give another folder"):
        Journal(tmp_path, other, 10)


@pytest.mark.parametrize("content", [b"", b"{}\n", b"not json\n\n", b"[1]\n[2]\n"])
def test_a_damaged_file_is_named(tmp_path: Path, tiny_dataset: Dataset, content: bytes) -> None:
    (tmp_path / "rows.jsonl").write_bytes(content)
    with pytest.raises(StorageError, match=r"rows.jsonl .*(is damaged|another version)"):
        opened(tmp_path, tiny_dataset)
