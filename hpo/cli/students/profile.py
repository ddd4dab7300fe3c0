"""Compare the size and speed of an exported student with its teacher's: ``hpo profile``.

Reads the export folder and, below the storage, the teacher that its manifest names; a student
trained without one is compared with the best teacher of the same data. Measures no errors.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hpo.cli.display.output import (
    Format,
    console,
    error_console,
    print_json,
    print_line,
    print_note,
)
from hpo.cli.options import STORAGE, AnswerFormat, Storage, integer

if TYPE_CHECKING:
    from rich.table import Table

    from core.ensemble import Network
    from core.evaluation.profiling import Timing
    from core.export.export_folder import Export
    from core.export.manifest import Manifest
    from core.training.teachers import Teacher

WINDOWS = [1, 1140]
"""Windows per pass: one, as in service, and 1,140, where arithmetic dominates."""


def profile(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder of an export.")],
    windows: Annotated[
        list[int] | None,
        typer.Option(
            parser=integer, help="Windows per pass; may be given again.", show_default="1 and 1140"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:INDEX.")] = "cpu",
    threads: Annotated[
        int | None,
        typer.Option(parser=integer, help="CPU threads.", show_default="what torch takes"),
    ] = None,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Show a student's parameters, operations and time per pass beside its teacher's.

    hpo profile runs/ord-first/exports/1-trial-0007 --threads 1
    """
    import torch

    from core.devices import choose_device
    from core.evaluation.profiling import measure_latency
    from core.export.export_folder import open_export

    where = choose_device(device)
    if threads is not None:
        _check(threads)
        torch.set_num_threads(threads)
    export = open_export(folder)
    teacher = _find_teacher(storage, export.manifest)
    models: list[Network] = [export.model.to(where)]
    if teacher is not None:
        models.append(_network(teacher, export).to(where))
    with error_console.status("timing passes; a large teacher takes a minute"):
        timings = [measure_latency(models, batch) for batch in windows or WINDOWS]
    answer = _answer(folder, teacher, models, timings)
    if output is Format.json:
        print_json(answer)
    else:
        _show(answer)


def _check(threads: int) -> None:
    from core.errors import ConfigError

    if threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {threads}")


def _find_teacher(storage: Path, manifest: Manifest) -> Teacher | None:
    from core.training.teachers import best_teacher, named_teacher
    from hpo.records.sync.teacher_sync import download_teachers

    download_teachers(storage)
    dataset = manifest["dataset"]["fingerprint"]
    wanted = manifest["lineage"].get("teacher_fingerprint")
    return named_teacher(storage, wanted, dataset) if wanted else best_teacher(storage, dataset)


def _network(teacher: Teacher, export: Export) -> Network:
    from core.checkpoint import load_network
    from core.training.teacher_files import TEACHER_FILE

    return load_network(teacher.folder / TEACHER_FILE, export.model.graph_kernel.cpu())[0]


def _answer(
    folder: Path, teacher: Teacher | None, models: list[Network], timings: list[Timing]
) -> dict[str, Any]:
    sizes = [_size(model, index, timings) for index, model in enumerate(models)]
    answer: dict[str, Any] = {
        "export": str(folder),
        "device": timings[0].device,
        "threads": timings[0].threads,
        "student": sizes[0],
        "teacher": None,
        "ratio": None,
    }
    if teacher is not None:
        answer["teacher"] = {"fingerprint": teacher.fingerprint, **sizes[1]}
        answer["ratio"] = {key: sizes[1][key] / sizes[0][key] for key in ("parameters", "flops")}
        answer["ratio"]["latency"] = {
            str(timing.windows): timing.speedup(0, reference=1) for timing in timings
        }
    return answer


def _size(model: Network, index: int, timings: list[Timing]) -> dict[str, Any]:
    from core.evaluation.profiling import count_flops, count_parameters

    return {
        "parameters": count_parameters(model),
        "flops": count_flops(model),
        "latency_ms": {str(timing.windows): timing.quantiles(index) for timing in timings},
    }


def _show(answer: dict[str, Any]) -> None:
    console.print(_table(answer))
    print_line(
        f"time of one pass: the median, and from the 10th to the 90th percentile; "
        f"{answer['device']}, {answer['threads']} threads"
    )
    if answer["teacher"] is None:
        print_note("note: the storage holds no teacher of this student; point --storage at it")


def _table(answer: dict[str, Any]) -> Table:
    from rich.table import Table

    columns = {name: answer[name] for name in ("student", "teacher") if answer[name] is not None}
    ratio = answer["ratio"]
    table = Table("", box=None, pad_edge=False)
    for name in (*columns, *(["ratio"] if ratio else [])):
        table.add_column(name, justify="right")
    for key in ("parameters", "flops"):
        cells = [f"{values[key]:,}" for values in columns.values()]
        table.add_row(key, *cells, *([f"{ratio[key]:.1f}"] if ratio else []))
    for windows in answer["student"]["latency_ms"]:
        cells = [_milliseconds(values["latency_ms"][windows]) for values in columns.values()]
        faster = [f"{ratio['latency'][windows]:.1f}"] if ratio else []
        table.add_row(f"ms, {int(windows):,} windows", *cells, *faster)
    return table


def _milliseconds(quantiles: dict[str, float]) -> str:
    return f"{quantiles['p50']:.3g} ({quantiles['p10']:.3g} - {quantiles['p90']:.3g})"
