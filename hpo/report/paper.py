"""Read the paper's results for a set of sensors from ``paper_results.json``.

Holds only what the page marks beside ours. The errors are those of the paper's test days, so they
compare with ours only in magnitude.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

PAPER = "Izadi, Safayani and Mirzaei, arXiv 2401.11798."
"""The paper, as figures cite it."""


@dataclass(frozen=True)
class PaperResult:
    """One row of the paper's tables."""

    label: str
    kind: str
    """``teacher``, ``student`` or ``pruned``."""
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


def paper_results(sensors: int, unit: str) -> list[PaperResult]:
    """Return the paper's results on as many sensors in this unit; for most data there are none."""
    content = json.loads(files("hpo.report").joinpath("paper_results.json").read_text())
    for dataset in content["datasets"].values():
        if (dataset["sensors"], dataset["unit"]) == (sensors, unit):
            return [_result(row) for row in dataset["rows"]]
    return []


def _result(row: dict[str, Any]) -> PaperResult:
    errors = {
        name: value for name, value in row.items() if name.startswith(("mae", "mape", "rmse"))
    }
    return PaperResult(row["label"], row["kind"], row["parameters"], errors)
