"""Find the networks that ``--teachers`` names: teachers, exports, the best students of a sweep.

    FINGERPRINT     a trained teacher of this storage
    FOLDER          an export
    best:NAME:K     the K best confirmed students of a sweep

Loads none of them and writes nothing; ``core.training.ensembles`` makes one teacher of them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from core.checkpoint import load_model
from core.errors import ConfigError, ExportError
from core.export.manifest import MANIFEST_FILE, MODEL_FILE
from core.families.networks import SingleNetwork
from core.files import fingerprint
from core.preprocessing.prepare import PreparedData
from core.training.ensembles import Member
from core.training.teachers import find_teacher
from hpo.records.confirmation import confirmed
from hpo.records.ranking import ranked_records
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.trial_files import download_student, has_student
from hpo.records.trial_records import TrialRecord, read_records

BEST = "best:"


def members_named(text: str, storage: Path, data: PreparedData) -> list[Member]:
    """Return the networks that ``text`` names, in its order.

    Args:
        text: names after commas; see the module.
        storage: where teachers and sweeps lie.
        data: what all of them must have been trained on.

    Raises:
        UserError: a name that stands for no network of this data, with what to do about it.
    """
    members: list[Member] = []
    for name in (part.strip() for part in text.split(",")):
        if not name:
            raise ConfigError(f"--teachers takes names between commas, got {text!r}")
        if name.startswith(BEST):
            members += _best_students(name, storage, data)
        elif (Path(name) / MANIFEST_FILE).is_file():
            members.append(_exported(Path(name), data))
        else:
            members.append(_teacher(name, storage, data))
    return members


def student_fingerprint(file: Path, data: PreparedData) -> str:
    """Return the fingerprint that a student of ``data`` has as a teacher: of its file's bytes."""
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return fingerprint([data.fingerprint, digest])


def _teacher(name: str, storage: Path, data: PreparedData) -> Member:
    teacher = find_teacher(storage, data, name)
    assert teacher is not None  # an unknown name is an error
    if teacher.is_ensemble:
        raise ConfigError(
            f"--teachers takes single networks, but {name} is an ensemble already; name its "
            f"members, {', '.join(teacher.settings['ensemble'])}"
        )
    return Member(teacher.fingerprint, teacher.load_single, teacher.seconds)


def _exported(folder: Path, data: PreparedData) -> Member:
    from core.export.export_folder import (  # noqa: PLC0415 - its ONNX converter is slow to import
        open_export,
    )

    export = open_export(folder)
    known = export.manifest["dataset"]["fingerprint"]
    if known != data.fingerprint:
        raise ConfigError(
            f"--teachers takes networks of {data.card.name} as it is now, but {folder} was trained "
            f"on {export.card.name} with other data; name another export"
        )
    return _of_file(folder / MODEL_FILE, data, seconds=0.0)


def _best_students(name: str, storage: Path, data: PreparedData) -> list[Member]:
    sweep, count = _read_best(name)
    folder = find_sweep(storage, sweep)
    plan = folder.read_plan()
    if plan.dataset_fingerprint != data.fingerprint:
        raise ConfigError(
            f"--teachers takes networks of {data.card.name} as it is now, but sweep {sweep!r} "
            f"searched {plan.config.dataset} with other data; name another sweep"
        )
    home = folder.confirmation
    runs = _confirmed_runs(folder, plan.config.metric)
    if len(runs) < count:
        raise ConfigError(
            f"{name} takes {count} confirmed students, but {sweep!r} has {len(runs)}; run `hpo "
            f"confirm {sweep} --seeds {max(count, 2)}`"
        )
    return [_student(home, run, data) for run in runs[:count]]


def _read_best(name: str) -> tuple[str, int]:
    sweep, _, count = name.removeprefix(BEST).rpartition(":")
    if not sweep or not count.isdecimal() or int(count) < 1:
        raise ConfigError(
            f"--teachers takes best:NAME:K, the K best confirmed students of a sweep, got {name!r}"
        )
    return sweep, int(count)


def _confirmed_runs(folder: SweepFolder, metric: str) -> list[TrialRecord]:
    """Return the finished runs of the configuration with the lowest mean, then of the next ..."""
    ranked = ranked_records(read_records(folder.results), metric)
    return [run for one in confirmed(folder, ranked, metric) for run in one.finished]


def _student(home: SweepFolder, run: TrialRecord, data: PreparedData) -> Member:
    if not has_student(home, run.trial):
        sweep = home.path.parent.name
        raise ExportError(
            f"run {run.trial} of {sweep!r} must have a student, but it was not kept; train it "
            f"again by `hpo trial {sweep} {run.trial} --confirmation --rerun`"
        )
    download_student(home, run.trial)
    return _of_file(home.student(run.trial), data, run.seconds)


def _of_file(file: Path, data: PreparedData, seconds: float) -> Member:
    def load(on: PreparedData) -> SingleNetwork:
        model, _ = load_model(file, on.graph_kernel)
        return model.to(on.readings.device).requires_grad_(False)

    return Member(student_fingerprint(file, data), load, seconds)
