"""``hpo export``: the best students as folders to take away.

Turns options into one call of ``hpo.export_best`` and the manifests of what came out into a table
or JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.options import STORAGE, AnswerFormat, Storage
from hpo.cli.output import Format, console, error_console, print_json

if TYPE_CHECKING:
    from rich.table import Table


def export(
    name: Annotated[str | None, typer.Argument(help="Which sweep.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead of a sweep: the best over all of this dataset's.")
    ] = None,
    top: Annotated[int, typer.Option(help="How many.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Where copies go.", show_default="only STORAGE/SWEEP/exports"),
    ] = None,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Write the best students as folders: model.onnx, model.safetensors, manifest.json.

    hpo export ord-first --top 3
    """
    from core.errors import ConfigError
    from hpo.export_best import export_best, export_dataset_best
    from hpo.sweep_store import find_sweep

    if (name is None) == (dataset is None):
        raise ConfigError("hpo export needs either the name of a sweep or --dataset; give one")
    storage = storage.resolve()
    if name is not None:
        folders = export_best(find_sweep(storage, name), top, out)
    else:
        folders = export_dataset_best(str(dataset), storage, top, out)
    if len(folders) < top:
        error_console.print(f"only {len(folders)} of {top}: no more trials have finished")
    _show(folders, output)


def _show(folders: list[Path], output: Format) -> None:
    from core.export import read_manifest

    rows = [_summary(folder, read_manifest(folder)) for folder in folders]
    if output is Format.json:
        print_json(rows)
        return
    for row in rows:
        console.print(_table(row))
        console.print(_from_here(row["folder"]), highlight=False, soft_wrap=True, markup=False)
    first = _from_here(rows[0]["folder"])
    console.print(f"next: hpo evaluate {first} --readings FILE", highlight=False, soft_wrap=True)


def _summary(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    lineage = manifest["lineage"]
    return {
        "folder": str(folder),
        "sweep": lineage["sweep"],
        "trial": lineage["trial"],
        "method": manifest["settings"]["method"],
        "unit": manifest["dataset"]["unit"],
        "metrics": manifest["metrics"],
        "parameters": manifest["parameters"],
        "flops": manifest["flops"],
        "onnx_difference": manifest["onnx"]["parity"]["max_difference"],
    }


def _table(row: dict[str, Any]) -> Table:
    from rich.table import Table

    from core.preprocessing.prepare import HORIZON_MINUTES

    table = Table(
        f"test MAE, {row['unit']}",
        *(f"{minutes} min" for minutes in HORIZON_MINUTES),
        title=f"{row['sweep']}, trial {row['trial']}: {row['method']}, "
        f"{row['parameters']:,} parameters",
        title_justify="left",
    )
    for who, errors in row["metrics"]["test"].items():
        values = (errors[f"mae_{minutes}"] for minutes in HORIZON_MINUTES)
        table.add_row(
            who.replace("_", " "),
            *("-" if value is None else f"{value:.2f}" for value in values),
        )
    return table


def _from_here(folder: str) -> str:
    """Return a path as short as the user would type it."""
    path, here = Path(folder), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else folder
