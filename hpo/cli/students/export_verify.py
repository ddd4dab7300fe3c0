"""Verify an export folder and print the result: ``hpo export --verify``.

Compares the forecasters on recorded validation windows where the data folder holds the student's
dataset, else on synthetic ones. ``core.export.verify`` makes all checks.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.cli.display.output import Format, console, print_json, print_line

if TYPE_CHECKING:
    from rich.table import Table
    from torch import Tensor

    from core.export.verify import Verified


def show_verified(folder: Path, data: Path, output: Format, *, alone: bool) -> None:
    """Verify an export and print the result; the first defect is raised.

    Args:
        folder: the export.
        data: folder of datasets, which need not hold the student's.
        output: how to answer.
        alone: whether nothing else was asked for.
    """
    from core.errors import ConfigError
    from core.export.verify import verify_export

    if not alone:
        raise ConfigError("--verify checks one folder; leave out the sweep and --dataset")
    answer = _answer(verify_export(folder, _recorded(folder, data)))
    if output is Format.json:
        print_json(answer)
        return
    title = f"difference from PyTorch over {answer['windows']} windows"
    print_line(title)
    console.print(_table(answer))
    print_line(
        f"{folder}: whole; schema, checksums, {answer['sensors']} sensors, opset "
        f"{answer['opset']} and forecasts as they should be"
    )


def _recorded(folder: Path, data: Path) -> list[Tensor] | None:
    """Return the student's validation days, if its dataset is there."""
    from core.datasets.dataset import CARD_FILE, open_dataset
    from core.export.manifest import read_manifest
    from core.forecasters.parity import validation_stretches
    from core.preprocessing.prepare import gap_rule_of, prepare

    manifest = read_manifest(folder)
    path = data / manifest["dataset"]["name"]
    if not (path / CARD_FILE).is_file():
        return None
    dataset = open_dataset(path)
    rule = gap_rule_of(dataset, manifest["dataset"]["fingerprint"])
    if rule is None:
        return None
    return validation_stretches(prepare(dataset, manifest["history_steps"], gaps=rule))


def _answer(verified: Verified) -> dict[str, Any]:
    manifest = verified.export.manifest
    return {
        "export": str(verified.export.folder),
        "version": manifest["version"],
        "sweep": manifest["lineage"]["sweep"],
        "trial": manifest["lineage"]["trial"],
        "sensors": verified.export.card.num_sensors,
        "opset": manifest["onnx"]["opset"],
        "files": manifest["files"],
        "unit": verified.export.card.unit,
        "windows": verified.windows,
        "parity": {
            name: {
                "max_difference": one.max_difference,
                "mean_difference": one.mean_difference,
                "tolerance": one.tolerance,
                "windows": one.windows,
            }
            for name, one in verified.parity.items()
        },
    }


def _table(answer: dict[str, Any]) -> Table:
    from rich.table import Table

    unit = answer["unit"]
    columns = ("", "windows", f"largest, {unit}", f"mean, {unit}", f"may be, {unit}")
    table = Table(box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left")
    for name, one in answer["parity"].items():
        values = (one[key] for key in ("max_difference", "mean_difference", "tolerance"))
        table.add_row(name, f"{one['windows']:,}", *(f"{value:.2g}" for value in values))
    return table
