"""Train a teacher, or find the one there is: the command ``hpo teacher DATASET``."""

from __future__ import annotations

from typing import Annotated

import typer

from hpo.cli.display.output import Format
from hpo.cli.options import DATA, STORAGE, AnswerFormat, DataFolder, Storage


def teacher(
    dataset: Annotated[str, typer.Argument(help="A dataset's name; `hpo data list` shows them.")],
    epochs: Annotated[int, typer.Option(help="The most epochs to train.")] = 18,
    patience: Annotated[
        int, typer.Option(help="Stop after so many epochs without a better validation error.")
    ] = 6,
    seed: Annotated[int, typer.Option(help="Of weights and batches.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:INDEX.")] = "auto",
    data: DataFolder = DATA,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Train the teacher that students imitate; the same call again finds it.

    A killed training goes on where it stopped.
    """
    from dataclasses import replace

    from core.datasets.loading import load_dataset
    from core.devices import choose_device
    from core.evaluation.forecasting import repeat_last
    from core.files import writable_folder
    from core.preprocessing.prepare import prepare
    from core.training.teachers import TeacherConfig
    from hpo.cli.display.output import print_json
    from hpo.cli.display.teacher_display import TeacherDisplay, show_teacher
    from hpo.records.teacher_sync import train_stored_teacher

    config = TeacherConfig()
    config = replace(
        config, training=replace(config.training, epochs=epochs, patience=patience, seed=seed)
    )
    prepared = prepare(load_dataset(data, dataset))
    with TeacherDisplay() as display:
        found = train_stored_teacher(
            prepared.to(choose_device(device)),
            config,
            writable_folder(storage),
            display.on_epoch,
            display.on_step,
        )
    if output is Format.json:
        print_json(
            {
                "teacher": found.fingerprint,
                "dataset": dataset,
                "metrics": found.metrics,
                "seconds": found.seconds,
                "trained_now": display.trained,
                "folder": str(found.folder),
            }
        )
    else:
        show_teacher(found, repeat_last(prepared, "validation"), display.trained)
