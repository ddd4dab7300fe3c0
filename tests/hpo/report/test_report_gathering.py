"""What a report reads, which student it looks into, and on which days."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import ConfigError, ExportError, UnknownNameError
from core.files import write_json
from core.stgcn import STUDENT_CHANNELS, STGCNConfig
from hpo.outcomes.export_best import export_best
from hpo.records.trial_records import TrialRecord, write_record
from hpo.report.facts import ReportFacts
from hpo.report.gathering import gather
from hpo.report.networks import evaluate_networks
from tests.report_sweeps import (
    TEACHER,
    Storage,
    confirm,
    make_every_sweep,
    make_storage,
    shown_record,
)
from tests.small_students import stand_in_forecasters
from tests.small_sweeps import make_students


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Storage:
    made = make_storage(tmp_path_factory.mktemp("report"))
    make_every_sweep(made)
    return made


@pytest.fixture
def own_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """A storage that a test may change, whose exports need no ONNX."""
    stand_in_forecasters(monkeypatch)
    return make_storage(tmp_path)


def shown_trial(facts: ReportFacts) -> int:
    assert facts.sweeps[0].shown is not None
    return facts.sweeps[0].shown.trial


def test_everything_of_a_sweep_is_read(storage: Storage) -> None:
    facts = gather(["good"], storage.path)
    sweep = facts.sweeps[0]
    assert sweep.best is not None
    assert (sweep.best.trial, sweep.best.metrics["val_mae"]) == (7, 3.0)
    assert [record.trial for record in sweep.with_status("pruned", "failed")] == [2, 4]
    assert (sweep.standing, len(sweep.records), len(sweep.ranked)) == ("complete", 11, 9)
    assert facts.baselines == {"repeat_last": 6.0, "teacher": 2.0}
    assert facts.teacher is not None
    assert facts.teacher.fingerprint == TEACHER
    assert facts.teacher_sizes["parameters"] > 0
    assert facts.paper == []
    assert shown_trial(facts) == 7


def test_a_sweep_that_runs_says_so(storage: Storage) -> None:
    sweep = gather(["running"], storage.path).sweeps[0]
    assert sweep.standing == "stopped"
    with sweep.folder.driver_lock():
        assert gather(["running"], storage.path).sweeps[0].standing == "running"


def test_a_sweep_without_a_teacher_is_held_against_the_one_of_its_data(storage: Storage) -> None:
    assert gather(["plain"], storage.path).teacher is not None


@pytest.mark.parametrize(
    ("names", "kind", "text"),
    [
        (["goood"], UnknownNameError, "unknown sweep 'goood'; did you mean 'good'"),
        (["good", "good"], ConfigError, "needs every sweep once, got good good"),
        (["good", "empty"], ConfigError, "has ended, but 'empty' has none yet; see `hpo status"),
        (["good", "other"], ConfigError, "must be of the same data, but 'good' searched small and"),
    ],
)
def test_mistakes_are_told(
    storage: Storage, names: list[str], kind: type[Exception], text: str
) -> None:
    if not (storage.path / "empty").exists():
        storage.sweep("empty", "none", ["running"])
        storage.sweep("other", "none", [4.0], dataset_fingerprint="b" * 16)
    with pytest.raises(kind, match=text):
        gather(names, storage.path)


def test_the_best_run_of_a_confirmed_configuration_is_looked_into(own_storage: Storage) -> None:
    make_students(own_storage.sweep("first", "none", [3.0, 4.0]), own_storage.data, [0, 1])
    confirm(own_storage, "first", trial=1, errors=[3.9, 3.7])
    facts = gather(["first"], own_storage.path)
    shown = facts.sweeps[0].shown
    assert shown is not None
    assert shown.trial == 1
    assert shown.file.parent.name == "0001"
    assert "confirmation" in shown.file.parts
    assert facts.sweeps[0].confirmed[0].mean == pytest.approx(3.8)


def test_a_student_that_is_gone_gives_way_to_the_next(own_storage: Storage) -> None:
    folder = own_storage.sweep("first", "none", [3.0, 4.0])
    make_students(folder, own_storage.data, [1])
    assert shown_trial(gather(["first"], own_storage.path)) == 1
    folder.student(1).unlink()
    facts = gather(["first"], own_storage.path)
    assert facts.sweeps[0].shown is None
    assert evaluate_networks(facts).evaluation is None


def test_test_days_are_looked_at_only_where_all_were_exported(own_storage: Storage) -> None:
    names = ["first", "second"]
    for name in names:
        make_students(own_storage.sweep(name, "ord", [3.0]), own_storage.data, [0])
    before = evaluate_networks(gather(names, own_storage.path))
    assert before.evaluation is not None
    assert before.evaluation.part == "validation"
    export_best(before.sweeps[0].folder, top=1)
    told: list[str] = []
    facts = evaluate_networks(gather(names, own_storage.path), told.append)
    assert facts.evaluation is not None
    assert facts.evaluation.part == "validation"
    assert told == ["the student of first", "the student of second", "the teacher"]
    roles = [(one.role, one.sweep) for one in facts.evaluation.networks]
    assert roles == [("student", 0), ("student", 1), ("teacher", None), ("repeat_last", None)]

    alone = evaluate_networks(gather(["first"], own_storage.path))
    assert alone.evaluation is not None
    assert alone.evaluation.part == "test"
    shown = alone.sweeps[0].shown
    assert shown is not None
    assert shown.test is not None
    # The same days, the same network: what the manifest says comes out again.
    own = alone.evaluation.students[0].judged.errors.mae("step")
    assert [own[step].item() for step in range(3)] == pytest.approx(
        [shown.test["student"][f"mae_{at}"] for at in (15, 30, 45)], rel=1e-4
    )


def test_data_that_is_gone_is_said_and_not_needed(own_storage: Storage) -> None:
    folder = own_storage.sweep("first", "none", [3.0], teacher_fingerprint=None)
    make_students(folder, own_storage.data, [0])
    shutil.rmtree(own_storage.data_folder)
    facts = evaluate_networks(gather(["first"], own_storage.path))
    assert facts.data is None
    assert "unknown dataset 'small'" in facts.missing
    assert facts.evaluation is None


def test_the_fixed_student_is_the_best_of_table_1s_widths_in_the_storage(
    own_storage: Storage,
) -> None:
    own_storage.sweep("first", "none", [3.0, 4.0])
    assert gather(["first"], own_storage.path).fixed_student is None
    other = own_storage.sweep("second", "none", [5.0, 4.5])
    for trial in (0, 1):
        _resize(other.results, shown_record(other, trial), _table_1(own_storage))
    pruned = own_storage.sweep("third", "prune", [1.0])
    _resize(pruned.results, shown_record(pruned, 0), _table_1(own_storage))
    found = gather(["first"], own_storage.path).fixed_student
    assert found is not None
    assert (found.sweep, found.trial) == ("second", 1)


def test_a_damaged_export_is_told(own_storage: Storage) -> None:
    folder = own_storage.sweep("first", "none", [3.0])
    write_json(folder.path / "exports" / "1-trial-0000" / "manifest.json", {"version": 99})
    with pytest.raises(ExportError, match="must be of version 2, got version 99"):
        gather(["first"], own_storage.path)


def _resize(results: Path, record: TrialRecord, parameters: int) -> None:
    write_record(results, replace(record, parameters=parameters))


def _table_1(storage: Storage) -> int:
    return STGCNConfig(5, STUDENT_CHANNELS, storage.data.history_steps).parameters
