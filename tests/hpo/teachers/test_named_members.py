"""What --teachers names: teachers, exports, the best students of a sweep; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from core.checkpoint import load_model, save_model
from core.errors import ConfigError, ExportError, UnknownNameError
from core.preprocessing.prepare import PreparedData, prepare
from core.training.ensembles import make_ensemble
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from hpo.cli.main import app
from hpo.outcomes.sweep_teachers import teacher_from_sweep
from hpo.planning.networks import make_named_ensemble
from hpo.planning.places import Places
from hpo.planning.sweep_planning import check_sweep
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import write_record
from hpo.sweep_config import SweepConfig
from hpo.teachers.named_members import members_named
from tests.small_exports import make_export
from tests.small_students import make_dataset, make_student
from tests.small_sweeps import make_students, make_sweep, record


@pytest.fixture
def data(tmp_path: Path) -> PreparedData:
    return prepare(make_dataset(tmp_path / "data" / "small"))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def sweep(storage: Path, data: PreparedData, tmp_path: Path) -> SweepFolder:
    """Two configurations; that of trial 1 is the best on fresh seeds, with run 3 before run 1."""
    shared = {"dataset_fingerprint": data.fingerprint, "form": "direct"}
    settings = [{"learning_rate": rate} for rate in (0.01, 0.02)]
    searched = [record(at, 1.0 + at, settings=settings[at], **shared) for at in (0, 1)]
    folder = make_sweep(storage, searched, tmp_path / "data")
    folder.confirmation.results.mkdir(parents=True)
    for run, (of, error) in enumerate([(0, 3.0), (1, 2.2), (0, 3.2), (1, 2.1)]):
        one = record(run, error, sweep="first", settings=settings[of], **shared)
        write_record(folder.confirmation.results, one)
    make_students(folder.confirmation, data, [0, 1, 2, 3])
    return folder


def put_teacher(storage: Path, data: PreparedData, name: str, seed: int) -> None:
    metadata = {
        "dataset_fingerprint": data.fingerprint,
        "settings": {},
        "metrics": {"val_mae": 2.0 + seed},
        "seconds": 1.0,
        "gaps": data.gaps,
    }
    save_model(teacher_folder(storage, name) / TEACHER_FILE, make_student(data, seed), metadata)


def test_the_best_are_the_runs_of_the_best_configuration_then_of_the_next(
    sweep: SweepFolder, data: PreparedData
) -> None:
    found = members_named("best:first:3", sweep.storage, data)
    for member, run in zip(found, (3, 1, 0), strict=True):
        wanted, _ = load_model(sweep.confirmation.student(run), data.graph_kernel)
        for one, other in zip(member.load(data).parameters(), wanted.parameters(), strict=True):
            torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_names_may_be_of_all_kinds(sweep: SweepFolder, data: PreparedData) -> None:
    put_teacher(sweep.storage, data, "t1", 7)
    found = members_named("t1, best:first:1", sweep.storage, data)
    assert [found[0].fingerprint, len(found)] == ["t1", 2]


def test_the_same_student_has_the_fingerprint_it_has_as_a_teacher(
    sweep: SweepFolder, data: PreparedData
) -> None:
    teacher = teacher_from_sweep(sweep, "small")
    assert members_named("best:first:1", sweep.storage, data)[0].fingerprint == teacher.fingerprint
    with pytest.raises(ConfigError, match="must differ"):
        make_named_ensemble(f"{teacher.fingerprint},best:first:1", "mean", sweep.storage, data)


@pytest.mark.parametrize(
    ("named", "error", "said"),
    [
        ("best:first:5", ConfigError, "has 4; run `hpo confirm first --seeds 5`"),
        ("best:first", ConfigError, "takes best:NAME:K"),
        ("best:first:0", ConfigError, "takes best:NAME:K"),
        ("best:first:two", ConfigError, "takes best:NAME:K"),
        ("best:nothing:2", UnknownNameError, "nothing"),
        ("best:../first:2", ConfigError, "a sweep name must"),
        ("t1,,t2", ConfigError, "names between commas"),
        ("t1,t9", UnknownNameError, "t9"),
        ("t1,../t2", UnknownNameError, "t2"),
    ],
)
def test_what_stands_for_nothing_is_refused(
    sweep: SweepFolder, data: PreparedData, named: str, error: type[Exception], said: str
) -> None:
    for seed, name in enumerate(("t1", "t2")):
        put_teacher(sweep.storage, data, name, seed)
    with pytest.raises(error, match=said):
        members_named(named, sweep.storage, data)


def test_a_student_that_was_not_kept_is_named(sweep: SweepFolder, data: PreparedData) -> None:
    sweep.confirmation.student(1).unlink()
    with pytest.raises(ExportError, match="`hpo trial first 1 --confirmation --rerun`"):
        members_named("best:first:2", sweep.storage, data)


def test_exports_teach_what_they_were_trained_on(tmp_path: Path) -> None:
    export = make_export(tmp_path)
    found = members_named(str(export.folder), tmp_path / "runs", export.data)
    loaded = found[0].load(export.data)
    for one, other in zip(loaded.parameters(), export.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    other_data = prepare(make_dataset(tmp_path / "data" / "other", seed=5))
    with pytest.raises(ConfigError, match="was trained on small with other data"):
        members_named(str(export.folder), tmp_path / "runs", other_data)


def test_a_sweep_of_other_data_is_refused(
    sweep: SweepFolder, data: PreparedData, tmp_path: Path
) -> None:
    other = prepare(make_dataset(tmp_path / "data" / "other", seed=5))
    with pytest.raises(ConfigError, match="searched small with other data"):
        members_named("best:first:2", sweep.storage, other)


def test_an_ensemble_is_no_member(storage: Path, sweep: SweepFolder, data: PreparedData) -> None:
    made = make_ensemble(members_named("best:first:2", storage, data), "mean", data, storage)
    with pytest.raises(ConfigError, match="is an ensemble already; name its members"):
        members_named(f"{made.fingerprint},best:first:1", storage, data)


def config(**changes: str) -> SweepConfig:
    return SweepConfig("taught", "ord", "small", **changes)


def test_a_sweep_is_checked_before_its_ensemble_is_made(
    sweep: SweepFolder, data: PreparedData, tmp_path: Path
) -> None:
    places = Places(tmp_path / "data", sweep.storage)
    checked = check_sweep(config(teachers="best:first:2"), places)
    assert checked.networks.teacher is None
    assert not teacher_folder(sweep.storage, "").exists()
    made = make_named_ensemble("best:first:2", "mean", sweep.storage, data)
    found = check_sweep(config(teachers="best:first:2"), places).networks.teacher
    assert found == made
    with pytest.raises(ConfigError, match="has 4; run"):
        check_sweep(config(teachers="best:first:9"), places)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"teacher": "t1", "teachers": "t2,t3"}, "--teacher names one and --teachers several"),
        ({"teacher_weighting": "fitted"}, "none are named"),
        ({"teachers": "t1,t2", "teacher_weighting": "median"}, "weighting of teachers"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    changes: dict[str, str], said: str
) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=said):
        config(**changes)


def test_several_networks_cannot_be_pruned() -> None:
    with pytest.raises(ConfigError, match="--base teacher prunes one network"):
        SweepConfig("pruned", "prune", "small", base="teacher", teachers="t1,t2")


def test_the_command_says_what_several_teachers_know(
    sweep: SweepFolder, data: PreparedData, tmp_path: Path
) -> None:
    places = ["--data", str(tmp_path / "data"), "--storage", str(sweep.storage)]
    asked = ["teacher", "small", "--teachers", "best:first:2", *places]
    first = CliRunner().invoke(app, [*asked, "--teacher-weighting", "fitted"])
    assert first.exit_code == 0, first.output
    assert "2 networks, weighed by fitted" in first.output.replace("\n", " ")
    again = CliRunner().invoke(app, [*asked, "--format", "json"])
    assert '"dataset": "small"' in again.output
    made = [path for path in teacher_folder(sweep.storage, "").iterdir() if path.is_dir()]
    assert len(made) == 2


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--from-sweep", "first"], "keep one of them"),
        (["--trial", "1"], "--trial names a trial of --from-sweep"),
    ],
)
def test_the_commands_contradictions_are_refused(
    sweep: SweepFolder, tmp_path: Path, more: list[str], said: str
) -> None:
    asked = ["teacher", "small", "--teachers", "best:first:2", "--data", str(tmp_path / "data")]
    answer = CliRunner().invoke(app, [*asked, "--storage", str(sweep.storage), *more])
    assert isinstance(answer.exception, ConfigError)
    assert said in str(answer.exception)
