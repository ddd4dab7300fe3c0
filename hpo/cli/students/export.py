"""Export the best students as folders to take away: the command ``hpo export``.

Calls ``hpo.outcomes.export_best`` and prints the manifests of the exports as a table or JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display import durations
from hpo.cli.display.output import (
    LOOKS_AHEAD,
    Format,
    console,
    error_console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.display.progress.stages import OnStage, stages_shown
from hpo.cli.options import (
    DATA,
    STORAGE,
    Address,
    AnswerFormat,
    DataFolder,
    RequireBetterThanLast,
    Storage,
    integer,
)
from hpo.cli.students.export_verify import show_verified

if TYPE_CHECKING:
    from rich.table import Table

    from hpo.serving.web_runtime import WebRuntime


Seeds = Annotated[
    int,
    typer.Option(
        parser=integer, help="Fresh seeds per configuration, where it is not confirmed yet."
    ),
]


Out = Annotated[
    Path | None,
    typer.Option(help="Where copies go.", show_default="only STORAGE/SWEEP/exports"),
]
Web = Annotated[
    bool,
    typer.Option("--web", help="Add a page that runs the student in a browser, browser.html."),
]
WebRuntimeFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The npm package onnxruntime-web that --web needs.",
        show_default="fetched by npm once",
    ),
]


def export(
    name: Annotated[str | None, typer.Argument(help="Which sweep.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Instead of a sweep: the best over all of this dataset's.")
    ] = None,
    top: Annotated[int, typer.Option(parser=integer, help="How many.")] = 1,
    out: Out = None,
    unconfirmed: Annotated[
        bool,
        typer.Option("--unconfirmed", help="Take single trials as they are, train nothing again."),
    ] = False,
    seeds: Seeds = 3,
    verify: Annotated[
        Path | None,
        typer.Option(metavar="EXPORT", help="Instead: check everything about an export folder."),
    ] = None,
    web: Web = False,
    web_runtime: WebRuntimeFile = None,
    require: RequireBetterThanLast = False,
    data: DataFolder = DATA,
    address: Address = "local",
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Write the best students as folders to take away, or check such a folder.

    A folder holds model.onnx, live.onnx, model.pt2, model.safetensors and manifest.json. The best
    configurations are confirmed first, on fresh seeds, unless they are: see `hpo confirm`.

    hpo export ord-first --top 3
    hpo export --verify runs/ord-first/exports/1-trial-0007
    """
    if verify is not None:
        show_verified(verify, data, output, alone=name is None and dataset is None)
        return
    from hpo.outcomes.export_best import export_best, export_dataset_best
    from hpo.records.sweep_folder import find_sweep

    storage = storage.resolve()
    _check(name, dataset, top, web_alone=web_runtime is not None and not web)
    runtime = _web_runtime(web_runtime) if web else None
    if not unconfirmed:
        _confirm(name, str(dataset), storage, top, seeds, address)
    with stages_shown("reading records") as on_stage:
        on_student = _timed(on_stage, storage)
        shared: dict[str, Any] = {"confirmed": not unconfirmed, "on_student": on_student}
        if name is not None:
            folders = export_best(find_sweep(storage, name), top, out, **shared)
        else:
            folders = export_dataset_best(str(dataset), storage, top, out, **shared)
        for at, folder in enumerate(folders if runtime is not None else ()):
            on_stage(f"writing the page of {folder.name}", at, len(folders))
            _add_page(folder, data, runtime)
    if len(folders) < top:
        what = "trials have finished" if unconfirmed else "configurations are confirmed"
        error_console.print(f"only {len(folders)} of {top}: no more {what}")
    if not _show(folders, output) and require:
        raise typer.Exit(1)


def _check(name: str | None, dataset: str | None, top: int, *, web_alone: bool) -> None:
    from core.errors import ConfigError

    if (name is None) == (dataset is None):
        raise ConfigError("hpo export needs either the name of a sweep or --dataset; give one")
    if top < 1:
        raise ConfigError(f"--top must be at least 1, got {top}")
    if web_alone:
        raise ConfigError("--web-runtime is for --web; give both, or neither")


def _web_runtime(file: Path | None) -> WebRuntime:
    """Provide what runs students in a browser, before anything is trained or exported."""
    from hpo.serving.web_runtime import find_runtime

    with error_console.status("looking for ONNX Runtime for browsers"):
        return find_runtime(file)


def _timed(on_stage: OnStage, storage: Path) -> OnStage:
    """Return ``on_stage`` for exports; before the first it prints how long all of them take."""
    from hpo.planning.expected_time import seconds_per_export

    def on_student(what: str, done: int, total: int) -> None:
        each = seconds_per_export(storage) if done == 0 else None
        if each is not None:  # None where nothing was exported here yet
            count = "one export" if total == 1 else f"{total} exports"
            print_note(f"writing {count}: about {durations.in_words(each * total)}")
        on_stage(what, done, total)

    return on_student


def _add_page(folder: Path, data: Path, runtime: WebRuntime | None) -> None:
    from core.datasets.loading import load_dataset
    from core.export.manifest import read_manifest
    from hpo.serving.web_page import write_web_page

    assert runtime is not None
    dataset = load_dataset(data, read_manifest(folder)["dataset"]["name"])
    write_web_page(folder, dataset.readings, runtime)


def _confirm(
    name: str | None, dataset: str, storage: Path, top: int, seeds: int, address: str
) -> None:
    from hpo.cli.students.confirm import run_shown
    from hpo.outcomes.confirmation_planning import missing_before_export, missing_in_dataset
    from hpo.records.sweep_folder import find_sweep

    if name is not None:
        missing = missing_before_export(find_sweep(storage, name), top, seeds)
    else:
        missing = missing_in_dataset(dataset, storage, top, seeds)
    for plan in missing:
        run_shown(plan, address, "hpo export " + (name or f"--dataset {dataset}"))


def _show(folders: list[Path], output: Format) -> bool:
    """Print the exports; return whether all of them are better than repeating the last reading."""
    from core.export.manifest import read_manifest
    from hpo.serving.web_page import PAGE_FILE

    rows = [_summary(folder, read_manifest(folder)) for folder in folders]
    if output is Format.json:
        print_json(rows)
        return all(row["better_than_last"] for row in rows)
    for row in rows:
        console.print(_table(row))
        print_line(_standing(row))
        if row["errors_look_ahead"]:
            print_line(LOOKS_AHEAD)
        print_line(_from_here(row["folder"]))
        if (Path(row["folder"]) / PAGE_FILE).is_file():
            line = f"in a browser: {_from_here(row['folder'])}/{PAGE_FILE}"
            print_line(line)
    better = [_warn(row) for row in rows]
    if better[0]:
        first = _from_here(rows[0]["folder"])
        line = f"next: hpo evaluate {first} --readings FILE"
        print_line(line)
    return all(better)


def _warn(row: dict[str, Any]) -> bool:
    from hpo.cli.display.beside_last import warn_beside_last

    test, what = row["metrics"]["test"], f"trial {row['trial']} of {row['sweep']}"
    return warn_beside_last(f"{what} on its test days", test["student"], test["repeat_last"], "mae")


def _summary(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    from core.export.manifest import errors_look_ahead
    from hpo.records.ranking import beats_last

    lineage, test = manifest["lineage"], manifest["metrics"]["test"]
    return {
        "folder": str(folder),
        "sweep": lineage["sweep"],
        "trial": lineage["trial"],
        "confirmed": lineage.get("confirmed"),
        "method": manifest["settings"]["method"],
        "unit": manifest["dataset"]["unit"],
        "metrics": manifest["metrics"],
        "errors_look_ahead": errors_look_ahead(manifest),
        "better_than_last": beats_last(test["student"]["mae"], test["repeat_last"]["mae"]),
        "parameters": manifest["parameters"],
        "flops": manifest["flops"],
        "latency_ms": {
            windows: taken["p50"] for windows, taken in manifest["latency"]["milliseconds"].items()
        },
        "onnx_difference": manifest["onnx"]["parity"]["max_difference"],
    }


def _table(row: dict[str, Any]) -> Table:
    from rich.table import Table

    from core.preprocessing.horizons import HORIZON_MINUTES

    table = Table(
        f"test MAE, {row['unit']}",
        *(f"{minutes} min" for minutes in HORIZON_MINUTES),
        title=f"{row['sweep']}, trial {row['trial']}{_run(row)}: {row['method']}, "
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


def _run(row: dict[str, Any]) -> str:
    return f", run {row['confirmed']['run']} of its confirmation" if row["confirmed"] else ""


def _standing(row: dict[str, Any]) -> str:
    """Return the errors of the configuration over seeds, in words."""
    from hpo.cli.students.confirm import in_words

    known = row["confirmed"]
    if known is None:
        return "not confirmed: a single trial, perhaps a lucky one"
    return f"confirmed: {known['metric']} {in_words(known)}; this is the best of these runs"


def _from_here(folder: str) -> str:
    """Return a path relative to the current folder where it lies below it."""
    path, here = Path(folder), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else folder
