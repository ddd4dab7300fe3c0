"""Records: any of them comes back as it was, all join in one table, damaged ones are refused."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from core.families import FAMILIES
from hpo.records.trial_records import TrialRecord, read_record, read_records, write_record

RECORD = TrialRecord(
    sweep="night",
    trial=0,
    status="finished",
    reason=None,
    dataset="synthetic",
    method="ord",
    settings={"alpha1": 0.25, "batch_size": 50, "optimizer": "adam"},
    metrics={"val_mae": 2.5, "val_mae_15": 2.0, "train_loss": 0.1},
    parameters=1042,
    flops=23904,
    epochs=4,
    best_epoch=3,
    seconds=1.5,
    seed=17,
    started="2026-01-01T00:00:00+00:00",
    ended="2026-01-01T00:01:00+00:00",
    dataset_fingerprint="9fc769ff1b79d3c4",
    teacher_fingerprint="0123456789abcdef",
    space_fingerprint="fedcba9876543210",
    student="night/trials/0000/student.safetensors",
    versions={"torch": "2.13.0", "python": "3.11.7"},
    machine="node-1",
)
FAILED = replace(
    RECORD,
    trial=1,
    status="failed",
    reason="the training loss must stay finite",
    method="rd_l2",
    settings={"beta": 0.5, "batch_size": 16, "optimizer": "rmsprop"},
    metrics={},
    student=None,
)
UNTAUGHT = replace(
    RECORD,
    trial=2,
    method="none",
    settings={"batch_size": 16, "learning_rate": 1e-3},
    metrics={"val_mae": 3.5, "train_loss": 0.2},
    teacher_fingerprint=None,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(string.ascii_lowercase + "_0123456789", min_size=1, max_size=12)
numbers = st.floats(allow_nan=False)
counts = st.integers(0, 2**62)
metric_names = st.builds("{}{}".format, st.sampled_from(["val_", "train_"]), names)
records = st.builds(
    TrialRecord,
    sweep=texts,
    trial=st.integers(0, 99999),
    status=st.sampled_from(["finished", "pruned", "failed"]),
    reason=st.none() | texts,
    dataset=texts,
    method=texts,
    settings=st.dictionaries(names, st.one_of(numbers, counts, texts), max_size=5),
    metrics=st.dictionaries(metric_names, numbers, max_size=5),
    parameters=counts,
    flops=counts,
    epochs=counts,
    best_epoch=counts,
    seconds=numbers,
    seed=counts,
    started=texts,
    ended=texts,
    dataset_fingerprint=texts,
    teacher_fingerprint=st.none() | texts,
    space_fingerprint=texts,
    student=st.none() | texts,
    versions=st.dictionaries(texts, texts, max_size=3),
    machine=texts,
    family=st.sampled_from(list(FAMILIES)),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(record=records)
def test_any_record_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, record: TrialRecord
) -> None:
    folder = tmp_path_factory.mktemp("records")
    write_record(folder, record)
    assert read_records(folder) == [record]


def test_a_family_is_named_where_it_is_not_the_usual_one(tmp_path: Path) -> None:
    usual = write_record(tmp_path, RECORD)
    other = write_record(tmp_path, replace(RECORD, trial=1, family="astgcn"))
    assert "family" not in pq.read_schema(usual).names  # as records from before there were two
    assert "family" in pq.read_schema(other).names
    first, second = read_records(tmp_path)
    assert (first.family, second.family) == ("stgcn", "astgcn")
    assert "family" not in first.configuration
    assert second.configuration["family"] == "astgcn"


def write_all(folder: Path, order: tuple[int, ...] = (0, 1, 2)) -> list[TrialRecord]:
    kinds = (RECORD, FAILED, UNTAUGHT)
    written = [replace(kinds[kind], trial=trial) for trial, kind in enumerate(order)]
    for record in written:
        write_record(folder, record)
    return written


orders = pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])


@orders
def test_records_come_by_trial_number(tmp_path: Path, order: tuple[int, ...]) -> None:
    assert read_records(tmp_path / "none") == []
    assert read_records(tmp_path) == []
    assert write_all(tmp_path, order) == read_records(tmp_path)


def test_trials_with_more_digits_come_last(tmp_path: Path) -> None:
    trials = [10_000, 9_999, 100_000, 12, 10_001]
    for trial in trials:
        write_record(tmp_path, replace(RECORD, trial=trial))
    assert [record.trial for record in read_records(tmp_path)] == sorted(trials)


@orders
def test_methods_with_other_settings_make_one_table(tmp_path: Path, order: tuple[int, ...]) -> None:
    written = write_all(tmp_path, order)
    files = sorted(tmp_path.glob("*.parquet"))
    schema = pa.unify_schemas([pq.read_schema(file) for file in files])
    joined = ds.dataset(files, schema=schema).to_table().to_pandas()
    frames = pd.concat([pd.read_parquet(file) for file in files], ignore_index=True)
    for frame in (joined, frames):
        assert list(frame["trial"]) == [0, 1, 2]
        for row, record in zip(frame.to_dict("records"), written, strict=True):
            columns = {f"setting_{name}": value for name, value in record.settings.items()}
            for name, value in {**columns, **record.metrics, "reason": record.reason}.items():
                assert row[name] == value or (value is None and pd.isna(row[name])), name
            assert pd.isna(row["setting_beta"]) == ("beta" not in record.settings)


@orders
def test_a_whole_folder_reads_as_one_table(tmp_path: Path, order: tuple[int, ...]) -> None:
    written = write_all(tmp_path, order)
    frame = pd.read_parquet(tmp_path)
    assert list(frame["status"]) == [record.status for record in written]
    assert [None if pd.isna(reason) else reason for reason in frame["reason"]] == [
        record.reason for record in written
    ]


def test_a_folder_may_be_called_like_a_column(tmp_path: Path) -> None:
    write_record(tmp_path / "trial=7" / "results", RECORD)
    assert read_records(tmp_path / "trial=7" / "results") == [RECORD]


def test_a_file_cut_short_anywhere_is_refused(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    file = tmp_path / "0000.parquet"
    content = file.read_bytes()
    for kept in range(0, len(content), 7):
        file.write_bytes(content[:kept])
        with pytest.raises(StorageError, match=r"0000\.parquet must be a trial record: .*copy"):
            read_record(tmp_path, 0)


def test_a_flipped_bit_never_reads_as_another_value(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    file = tmp_path / "0000.parquet"
    content = file.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    refused = 0
    for place in range(4, footer, 3):
        file.write_bytes(content[:place] + bytes([content[place] ^ 4]) + content[place + 1 :])
        try:
            assert read_record(tmp_path, 0) == RECORD, place
        except StorageError:
            refused += 1
    assert refused > 0.5 * (footer / 3)


@pytest.mark.parametrize(
    "table",
    [
        pa.table({"sweep": ["night"]}),
        pa.table({"sweep": pa.array([], pa.string())}),
        pa.table({"speed": [1.0, 2.0]}),
    ],
)
def test_another_parquet_file_is_refused(tmp_path: Path, table: pa.Table) -> None:
    pq.write_table(table, tmp_path / "0000.parquet")
    with pytest.raises(StorageError, match="must be a trial record"):
        read_record(tmp_path, 0)


def test_versions_that_are_no_json_are_refused(tmp_path: Path) -> None:
    write_record(tmp_path, RECORD)
    file = tmp_path / "0000.parquet"
    table = pq.ParquetFile(file).read()
    index = table.column_names.index("versions")
    pq.write_table(table.set_column(index, "versions", pa.array(["{"])), file)
    with pytest.raises(StorageError, match="must be a trial record"):
        read_record(tmp_path, 0)


def test_a_damaged_record_is_left_out_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_record(tmp_path, RECORD)
    write_record(tmp_path, replace(RECORD, trial=1))
    (tmp_path / "0001.parquet").write_bytes(b"PAR1")
    assert read_records(tmp_path) == [RECORD]
    (line,) = caplog.messages
    assert line.startswith("leaving out a damaged record: ")
    assert str(tmp_path / "0001.parquet") in line


def test_a_record_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("core.files.os.replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, RECORD)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []
    write_record(tmp_path, RECORD)
    monkeypatch.setattr("core.files.os.fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, replace(RECORD, seconds=9.0))
    assert read_records(tmp_path) == [RECORD]
    (tmp_path / ".0001.parquet.x7").write_bytes(b"cut sho")  # what SIGKILL leaves behind
    assert read_records(tmp_path) == [RECORD]


def test_latency_is_a_column_only_where_it_was_asked_for(tmp_path: Path) -> None:
    records = [RECORD, replace(RECORD, trial=1, latency_ms=3.25)]
    for one in records:
        write_record(tmp_path, one)
    assert read_records(tmp_path) == records
    columns = [pq.read_schema(tmp_path / f"000{one.trial}.parquet").names for one in records]
    assert ["latency_ms" in names for names in columns] == [False, True]
    assert [one.costs.get("latency_ms") for one in records] == [None, 3.25]
