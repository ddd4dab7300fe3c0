"""An exported student of the small dataset, for tests that take one away."""

from __future__ import annotations

import contextlib
import io
import logging
from dataclasses import dataclass
from pathlib import Path

from core.datasets.dataset import Dataset
from core.export.export_folder import StudentFacts, export_student
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STGCN
from tests.small_students import LINEAGE, make_dataset, make_student

FACTS = StudentFacts(
    settings={"method": "ord", "alpha1": 0.5, "epochs": 3, "seed": 7},
    validation={"val_mae": 2.5, "val_mape": float("nan")},
    lineage=LINEAGE,
    teacher_test={"mae": 1.5},
    over_seeds={"val_mae": {"mean": 2.6, "spread": None, "runs": 1}},
)


@dataclass(frozen=True)
class Exported:
    """An export folder and what it was made of."""

    folder: Path
    dataset: Dataset
    data: PreparedData
    model: STGCN
    said: str
    """What the export wrote to standard output, standard error and logs."""


def make_export(root: Path) -> Exported:
    """Export for real, conversion included: some seconds."""
    dataset = make_dataset(root / "small")
    data = prepare(dataset)
    model, said = make_student(data), io.StringIO()
    handler = logging.StreamHandler(said)
    logging.getLogger().addHandler(handler)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        export_student(root / "1-trial-0007", model, data, dataset.adjacency, FACTS)
    logging.getLogger().removeHandler(handler)
    return Exported(root / "1-trial-0007", dataset, data, model, said.getvalue())
