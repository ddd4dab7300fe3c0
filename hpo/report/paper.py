"""Read the paper's results for a set of sensors from ``paper_results.json``.

Holds what pages mark beside ours: errors, sizes, shares and settings of its nine tables. The errors
are those of the paper's test days, so they compare with ours only in magnitude.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final

PAPER = "Izadi, Safayani and Mirzaei, arXiv 2401.11798."
"""The paper, as figures cite it."""
MAIN: Final = "pemsd7"
"""The paper's data set whose settings stand in for those of other data."""


@dataclass(frozen=True)
class PaperResult:
    """One row of the paper's tables."""

    name: str
    """Its contender (``hpo.reproduction.contenders``), ``teacher`` or ``base``."""
    label: str
    kind: str
    """``teacher``, ``base``, ``student`` or ``pruned``."""
    parameters: int
    errors: Mapping[str, float]
    """``mae_15`` … ``rmse_45``."""

    def error(self, metric: str) -> float:
        """Return the counterpart of a validation error; ``val_mae`` is the mean of the horizons."""
        name = metric.removeprefix("val_")
        if name in self.errors:
            return self.errors[name]
        horizons = [value for key, value in self.errors.items() if key.startswith(f"{name}_")]
        return sum(horizons) / len(horizons)


@dataclass(frozen=True)
class PaperDataset:
    """What the paper reports of one data set."""

    name: str
    sensors: int
    unit: str
    rows: Mapping[str, PaperResult]
    """By ``PaperResult.name``: Tables 2, 4, 5, 7 and 8."""
    sizes: Mapping[str, Mapping[str, float]]
    """Table 1: ``flops`` and ``seconds`` of 1,140 windows, of ``teacher``, ``base``, ``none``."""
    teacher_share: Mapping[str, float]
    """Percent of the entries that took the teacher's prediction: Table 3."""
    settings: Mapping[str, Mapping[str, float]]
    """Of its students: Tables 6 and 9."""


def paper_datasets() -> dict[str, PaperDataset]:
    """Return everything the paper reports, by the name of the data set."""
    content = json.loads(files("hpo.report").joinpath("paper_results.json").read_text())
    return {name: _dataset(name, values) for name, values in content["datasets"].items()}


def paper_dataset(sensors: int, unit: str) -> PaperDataset | None:
    """Return what the paper reports of as many sensors in this unit; of most data nothing."""
    found = [one for one in paper_datasets().values() if (one.sensors, one.unit) == (sensors, unit)]
    return found[0] if found else None


def paper_results(sensors: int, unit: str) -> list[PaperResult]:
    """Return the paper's results on as many sensors in this unit; for most data there are none."""
    found = paper_dataset(sensors, unit)
    return [] if found is None else list(found.rows.values())


def _dataset(name: str, values: Mapping[str, Any]) -> PaperDataset:
    return PaperDataset(
        name,
        values["sensors"],
        values["unit"],
        {row["name"]: _result(row) for row in values["rows"]},
        values["sizes"],
        values["teacher_share_percent"],
        values["settings"],
    )


def _result(row: dict[str, Any]) -> PaperResult:
    errors = {
        name: value for name, value in row.items() if name.startswith(("mae", "mape", "rmse"))
    }
    return PaperResult(row["name"], row["label"], row["kind"], row["parameters"], errors)
