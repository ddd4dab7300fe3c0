"""Train a teacher, or find the one there is: the command ``hpo teacher DATASET``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import ConfigError
from core.families import DEFAULT_FAMILY, FAMILIES
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.gaps import CAUSAL, GAP_RULES
from core.training.teacher_files import MEAN, WEIGHTINGS
from hpo.cli.display.output import Format
from hpo.cli.options import DATA, STORAGE, AnswerFormat, DataFolder, Storage, integer

if TYPE_CHECKING:
    from core.preprocessing.prepare import PreparedData
    from core.stgcn_config import BlockChannels
    from core.training.teachers import Teacher, TeacherConfig
    from hpo.cli.display.progress.teacher_display import TeacherDisplay

TeacherForm = Annotated[
    str,
    typer.Option(
        metavar="|".join(FORMS), help="direct forecasts 45 minutes in one pass, paper step by step."
    ),
]
FamilyName = Annotated[
    str,
    typer.Option(
        metavar="|".join(FAMILIES),
        help="What kind of network: stgcn, or astgcn, with attention over sensors and time.",
    ),
]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="A,B/C,D",
        help="Widths of each block's hidden and last layer.",
        show_default="the form's or the family's own",
    ),
]
Epochs = Annotated[
    int | None,
    typer.Option(parser=integer, help="The most epochs to train.", show_default="the form's own"),
]
Patience = Annotated[
    int | None,
    typer.Option(
        parser=integer,
        help="Stop after so many epochs without a better validation error.",
        show_default="the form's own",
    ),
]
Gaps = Annotated[
    str,
    typer.Option(
        metavar="|".join(GAP_RULES),
        help="How missing readings are filled: causal, from earlier ones, or interpolate.",
    ),
]
MissingMask = Annotated[
    bool,
    typer.Option(
        "--missing-mask", help="Let it read which readings were missing, as a second input."
    ),
]
FromSweep = Annotated[
    str | None,
    typer.Option(help="Train none: take the best student of a sweep, confirmed if any is."),
]
Teachers = Annotated[
    str | None,
    typer.Option(
        metavar="A,B,…",
        help="Train none: join several to one, fingerprints, exports, or best:NAME:K, the K best "
        "confirmed students of a sweep.",
    ),
]
Weighting = Annotated[
    str,
    typer.Option(
        metavar="|".join(WEIGHTINGS),
        help="How the forecasts of --teachers are weighed: alike, or by what fits the training "
        "days best.",
    ),
]
FromTrial = Annotated[
    int | None,
    typer.Option(parser=integer, help="Which trial of --from-sweep, instead of the best."),
]


def teacher(
    dataset: Annotated[str, typer.Argument(help="A dataset's name; `hpo data list` shows them.")],
    form: TeacherForm = DEFAULT_FORM,
    family: FamilyName = DEFAULT_FAMILY,
    channels: Channels = None,
    epochs: Epochs = None,
    patience: Patience = None,
    seed: Annotated[int, typer.Option(parser=integer, help="Of weights and batches.")] = 0,
    gaps: Gaps = CAUSAL,
    missing_mask: MissingMask = False,
    from_sweep: FromSweep = None,
    trial: FromTrial = None,
    teachers: Teachers = None,
    teacher_weighting: Weighting = MEAN,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:INDEX.")] = "auto",
    data: DataFolder = DATA,
    storage: Storage = STORAGE,
    output: AnswerFormat = Format.table,
) -> None:
    """Train the teacher that students imitate; the same call again finds it.

    A killed training goes on where it stopped. With --from-sweep a student becomes a teacher, with
    --teachers several networks do together.
    """
    from core.datasets.loading import load_dataset
    from core.devices import choose_device
    from core.evaluation.forecasting import repeat_last
    from core.preprocessing.prepare import prepare
    from hpo.cli.display.beside_last import warn_beside_last
    from hpo.cli.display.progress.teacher_display import TeacherDisplay, show_teacher
    from hpo.sweep_config import check_seed

    check_seed(seed)
    training = {"epochs": epochs, "patience": patience, "seed": seed}
    widths = None if channels is None else read_channels(channels)
    config = teacher_config(form, training, missing_mask, family, widths)
    _check_options(from_sweep, trial, teachers, teacher_weighting)
    prepared = prepare(load_dataset(data, dataset), gaps=gaps)
    with TeacherDisplay() as display:
        if teachers is not None:
            found = _joined(
                prepared.to(choose_device(device)), teachers, teacher_weighting, storage
            )
        elif from_sweep is None:
            found = _trained(prepared.to(choose_device(device)), config, storage, display)
        else:
            found = _from_sweep(storage, from_sweep, dataset, trial)
    if output is Format.json:
        _print_json(found, dataset, display.trained)
    else:
        repeated = repeat_last(prepared, "validation")
        show_teacher(found, repeated, display.trained, prepared.looks_ahead)
        known = {f"val_{name}": value for name, value in repeated.items()}
        warn_beside_last("this teacher", found.metrics, known, "val_mae")


def _print_json(found: Teacher, dataset: str, trained: bool) -> None:
    from hpo.cli.display.output import print_json

    print_json(
        {
            "teacher": found.fingerprint,
            "dataset": dataset,
            "metrics": found.metrics,
            "seconds": found.seconds,
            "trained_now": trained,
            "folder": str(found.folder),
        }
    )


def teacher_config(
    form: str,
    training: Mapping[str, Any],
    missing_mask: bool = False,
    family: str = DEFAULT_FAMILY,
    channels: tuple[BlockChannels, ...] | None = None,
) -> TeacherConfig:
    """Return the usual teacher of a form and family with some of its settings changed.

    Args:
        form: a name in ``FORMS``.
        training: fields of ``TrainingConfig``; None: as usual.
        missing_mask: whether it reads which readings were missing.
        family: a name in ``FAMILIES``.
        channels: widths of its blocks; None: as usual.
    """
    from dataclasses import replace

    from core.training.teachers import default_teacher

    config = default_teacher(form, family)
    given = {name: value for name, value in training.items() if value is not None}
    network = replace(config.form, missing_mask=missing_mask)
    widths = channels or config.channels
    trained = replace(config.training, **given)
    return replace(config, channels=widths, form=network, training=trained)


def read_channels(text: str) -> tuple[BlockChannels, ...]:
    """Return the widths that ``--channels`` names: ``16,32/16,64`` are those of two blocks.

    Raises:
        ConfigError: it names something else.
    """
    blocks, incoming = [], 1
    for block in text.split("/"):
        widths = [part.strip() for part in block.split(",")]
        if len(widths) != 2 or not all(one.isdecimal() and int(one) for one in widths):
            raise ConfigError(
                f"--channels takes two widths of each block, as in 16,32/16,64, got {text!r}"
            )
        hidden, outgoing = map(int, widths)
        blocks.append((incoming, hidden, outgoing))
        incoming = outgoing
    return tuple(blocks)


def _check_options(
    from_sweep: str | None, trial: int | None, teachers: str | None, weighting: str
) -> None:
    if trial is not None and from_sweep is None:
        raise ConfigError("--trial names a trial of --from-sweep; give both, or neither")
    if from_sweep is not None and teachers is not None:
        raise ConfigError("--from-sweep makes one teacher and --teachers another; keep one of them")
    if teachers is None and weighting != MEAN:
        raise ConfigError(
            "--teacher-weighting weighs several teachers, but none are named; name them by "
            "--teachers, or leave it out"
        )


def _trained(
    data: PreparedData, config: TeacherConfig, storage: Path, display: TeacherDisplay
) -> Teacher:
    from core.files import writable_folder
    from hpo.records.sync.teacher_sync import train_stored_teacher

    place = writable_folder(storage)
    display.begin("teacher", config.training.epochs)
    return train_stored_teacher(data, config, place, display.on_epoch, display.on_step)


def _joined(data: PreparedData, teachers: str, weighting: str, storage: Path) -> Teacher:
    from core.files import writable_folder
    from hpo.planning.networks import make_named_ensemble
    from hpo.records.sync.teacher_sync import download_teachers

    download_teachers(storage)
    return make_named_ensemble(teachers, weighting, writable_folder(storage), data)


def _from_sweep(storage: Path, name: str, dataset: str, trial: int | None) -> Teacher:
    from hpo.outcomes.sweep_teachers import teacher_from_sweep
    from hpo.records.sweep_folder import find_sweep

    return teacher_from_sweep(find_sweep(storage, name), dataset, trial)
