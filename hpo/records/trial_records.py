"""Write and read trial records: one Parquet file per ended trial, never changed.

The records are the truth about trials. Settings and metrics become columns of their own
(``setting_learning_rate``, ``val_mae_15``), so that any tool reads them as one table; methods with
other settings simply lack some columns. Which record is best is decided in ``hpo.selection``.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.errors import StorageError
from core.families import DEFAULT_FAMILY
from core.files import log_left_out, write_bytes
from hpo.records import layout
from hpo.records.record_table import TEXTS_OR_NONE, Row, read_table, write_table

_SETTING = "setting_"
_METRIC = ("val_", "train_")


@dataclass(frozen=True)
class TrialRecord:
    """Settings, results and origin of one ended trial."""

    sweep: str
    trial: int
    status: str
    """``finished``, ``pruned``, ``failed``, or ``infeasible``: never trained."""
    reason: str | None
    """Why it failed or is infeasible."""
    dataset: str
    method: str
    settings: dict[str, Any]
    """Chosen by the search."""
    metrics: dict[str, float]
    """Of the best validation epoch."""
    parameters: int
    """0, as ``flops``, where the settings give no network."""
    flops: int
    """Of one forward pass over one window."""
    epochs: int
    """Trained."""
    best_epoch: int
    seconds: float
    """Spent training and validating."""
    seed: int
    started: str
    ended: str
    dataset_fingerprint: str
    teacher_fingerprint: str | None
    space_fingerprint: str
    student: str | None
    """File of the student's weights, below the storage."""
    versions: dict[str, str]
    """Versions of this project, torch, ray, optuna and Python."""
    machine: str
    loss: str | None = None
    """The loss while pruning; None where the method itself is the loss."""
    base: str | None = None
    """The network that pruning started from."""
    form: str = "paper"
    """Of the student (``core.forms``); records from before there were others do not name it."""
    family: str = DEFAULT_FAMILY
    """Of the student (``core.families``); no column where it is the default."""
    latency_ms: float | None = None
    """Of one forecast, where the sweep asks for it; else None, and no column."""

    @property
    def configuration(self) -> dict[str, Any]:
        """The settings that train the same student again on the same data."""
        pruning = {name: value for name in ("loss", "base") if (value := getattr(self, name))}
        return {
            **({} if self.family == DEFAULT_FAMILY else {"family": self.family}),
            "form": self.form,
            **self.settings,
            **pruning,
            "epochs": self.epochs,
            "seed": self.seed,
        }

    @property
    def costs(self) -> dict[str, float]:
        """Return ``parameters`` and ``flops``, and ``latency_ms`` where it is known."""
        latency = {} if self.latency_ms is None else {"latency_ms": self.latency_ms}
        return {"parameters": self.parameters, "flops": self.flops, **latency}


def write_record(folder: Path, record: TrialRecord) -> Path:
    """Write ``folder/0007.parquet`` and return it."""
    values = asdict(record)
    settings, metrics = values.pop("settings"), values.pop("metrics")
    if record.latency_ms is None:
        del values["latency_ms"]
    if record.family == DEFAULT_FAMILY:
        del values["family"]
    values["versions"] = json.dumps(values["versions"])
    values |= {f"{_SETTING}{name}": value for name, value in settings.items()}
    columns = {name: pa.array([value]) for name, value in (values | metrics).items()}
    columns |= {name: pa.array([values[name]], pa.string()) for name in TEXTS_OR_NONE}
    sink = pa.BufferOutputStream()
    # Checksums: a flipped bit would otherwise read as another number.
    pq.write_table(pa.table(columns), sink, write_page_checksum=True)
    path = _record_file(folder, record.trial)
    write_bytes(path, sink.getvalue().to_pybytes())
    return path


def read_records(folder: Path) -> list[TrialRecord]:
    """Return the records in ``folder``, by trial number.

    Damaged ones are left out, and said to be (``core.files.log_left_out``): one broken file must
    not hide all others.
    """
    records = []
    paths = sorted(folder.glob(layout.RECORDS))
    rows = read_table(folder.parent / layout.RECORD_TABLE, paths)
    for path in paths:
        try:
            records.append(_record_of(path, rows.get(path)))
        except StorageError as error:
            log_left_out("a damaged record", error)
    # Not by name: 10000 comes before 9999.
    return sorted(records, key=lambda record: record.trial)


def read_record(folder: Path, trial: int) -> TrialRecord | None:
    """Return the record of a trial, or None where there is none.

    Raises:
        StorageError: its file is damaged.
    """
    path = _record_file(folder, trial)
    return _record_of(path) if path.exists() else None


def join_records(folder: Path) -> None:
    """Write the records in ``folder`` as one table beside it too (``hpo.records.record_table``)."""
    try:
        rows = {path: _read(path) for path in sorted(folder.glob(layout.RECORDS))}
    except StorageError:
        return  # a damaged one: whoever reads the records says so
    write_table(folder.parent / layout.RECORD_TABLE, rows)


def _record_file(folder: Path, trial: int) -> Path:
    return folder / layout.record_file(trial)


def _read(path: Path) -> Row:
    try:
        # Not Arrow's read_table: it takes folders called ``name=value`` for columns.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            values: Row = file.read().to_pylist()[0]
    except (OSError, pa.ArrowException, ValueError, IndexError) as error:
        raise _damaged(path, error) from error
    return values


def _record_of(path: Path, row: Row | None = None) -> TrialRecord:
    """Return the record in a file; ``row`` is what it holds, where that is known."""
    values = _read(path) if row is None else row
    try:
        settings = _take(values, _SETTING)
        metrics = {name: values.pop(name) for name in list(values) if name.startswith(_METRIC)}
        values["versions"] = json.loads(values["versions"])
        return TrialRecord(**values, settings=settings, metrics=metrics)
    # ValueError: broken text and broken JSON.
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> StorageError:
    reason = " ".join(str(error).split())
    return StorageError(f"{path} must be a trial record: {reason}; restore it from a copy")


def _take(values: dict[str, Any], prefix: str) -> dict[str, Any]:
    names = [name for name in values if name.startswith(prefix)]
    return {name.removeprefix(prefix): values.pop(name) for name in names}
