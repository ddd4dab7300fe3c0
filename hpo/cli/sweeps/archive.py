"""Pack a sweep into one file, and unpack it: the commands ``hpo archive`` and ``hpo unarchive``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.output import Format, print_line
from hpo.cli.options import STORAGE, AnswerFormat, Storage, Yes

if TYPE_CHECKING:
    from hpo.housekeeping.archiving import Archived


def archive(
    name: Annotated[str, typer.Argument(help="A sweep's name; `hpo status` shows them.")],
    out: Annotated[
        Path | None, typer.Option(help="The new file; by default NAME.sweep.tar.gz here.")
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave the sweep where it is: a copy for others.")
    ] = False,
    yes: Yes = False,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Move a sweep and the teachers it needs into one file, which `hpo unarchive` reads."""
    from hpo.cli.display.questions import ask
    from hpo.housekeeping.archiving import archive_sweep
    from hpo.records.sweep_folder import find_sweep

    folder = find_sweep(storage, name)
    path = out or Path(f"{name}.sweep.tar.gz")
    if not keep:
        ask(f"Pack {name!r} into {path} and delete it from {folder.storage_address}?", yes=yes)
    packed = archive_sweep(folder, path, delete=not keep)
    size = path.stat().st_size
    _answer(packed, output, {"archive": str(path), "bytes": size, "deleted": not keep})
    _say(
        output,
        f"packed {name} into {path}: {packed.files} files, {size / 1e6:.1f} MB"
        + (f"; it still is in {folder.storage_address}" if keep else ""),
        f"next: hpo unarchive {path}",
    )


def unarchive(
    file: Annotated[Path, typer.Argument(help="What `hpo archive` wrote.", metavar="FILE")],
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of the datasets here; by default where they were, to resume."),
    ] = None,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Unpack a sweep that `hpo archive` packed, here or elsewhere."""
    from hpo.housekeeping.archiving import unarchive_sweep
    from hpo.records.sweep_folder import SweepFolder

    unpacked = unarchive_sweep(file, storage, data)
    folder = SweepFolder(storage / unpacked.sweep)
    plan = folder.read_plan()
    dataset = Path(plan.data_folder) / plan.config.dataset
    present = dataset.is_dir()
    _answer(unpacked, output, {"storage": folder.storage_address, "dataset_is_here": present})
    _say(
        output,
        f"unpacked {unpacked.sweep} into {folder.storage_address}: {unpacked.files} files",
        *([] if present else [f"to resume it, its dataset must be in {dataset}; --data elsewhere"]),
        f"next: hpo status {unpacked.sweep}",
    )


def _answer(archived: Archived, output: Format, more: dict[str, object]) -> None:
    from hpo.cli.display.output import print_json

    if output is Format.json:
        print_json({**vars(archived), **more})
    else:
        for teacher in archived.missing_teachers:
            _say(output, f"without the teacher {teacher}, which was not there to be packed")


def _say(output: Format, *lines: str) -> None:
    if output is Format.table:
        for line in lines:
            print_line(line)
