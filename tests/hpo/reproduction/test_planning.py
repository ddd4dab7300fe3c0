"""Which sweeps the rows of tables have, and which of another name are the same."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from core.errors import ConfigError, StorageError, UnknownNameError, UserError
from core.preprocessing.prepare import PreparedData
from hpo.planning.places import Places
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.reproduction.planning import Part, ReproductionPlan, plan_reproduction
from hpo.reproduction.request import ReproductionRequest
from hpo.reproduction.tables import ALL, TABLES, contenders_of, find_tables
from tests.small_sweeps import note


def planned(places: Places, table: str = "2", **settings: object) -> ReproductionPlan:
    given = {"trials": 2, "epochs": 1, "seeds": 2, **settings}
    request = ReproductionRequest("small", **given)  # type: ignore[arg-type]
    return plan_reproduction(request, find_tables(table), places)


def begin(part: Part, data: PreparedData, **changes: object) -> SweepFolder:
    """A sweep of a row, as it is when no trial has begun."""
    config = replace(part.config, **changes)  # type: ignore[arg-type]
    folder = SweepFolder(part.folder.path.parent / config.name)
    teacher = None if config.method == "none" else "a" * 16
    fields = {"data_folder": "data", "dataset_fingerprint": data.fingerprint, "baselines": {}}
    origin = {"teacher_fingerprint": teacher, "command": "hpo"}
    folder.write_plan(SweepPlan(config=config, space=part.space, **fields, **origin))  # type: ignore[arg-type]
    return folder


def test_tables_share_their_rows(places: Places) -> None:
    everything = planned(places, ALL)
    names = {part.folder.name for part in everything.parts}
    assert len(everything.parts) == len(names) == 15
    assert everything.left == 15 * 4
    assert {part.folder.name for part in planned(places, "2").parts} < names
    assert planned(places, "1").parts == []
    assert contenders_of([TABLES["5"]]) == ["ord", "tcd", "scd", "stcd"]


def test_a_row_goes_on_with_its_sweep(places: Places, prepared: PreparedData) -> None:
    part = planned(places).parts[0]
    folder = begin(part, prepared)
    ledger = Ledger(folder.ledger_file)
    note(ledger, 0, [3.0], "finished")
    ledger.close()
    found = planned(places).parts[0]
    assert found.exists
    assert (found.searched, found.left()) == (1, 1 + 2)


def test_a_sweep_of_another_name_is_shared_if_it_is_the_same(
    places: Places, prepared: PreparedData
) -> None:
    part = planned(places).parts[0]
    begin(part, prepared, name="mine")
    assert planned(places).parts[0].folder.name == "mine"
    for different in ({"trials": 3}, {"epochs": 2}, {"scheduler": "asha"}):
        shutil.rmtree(places.storage)
        begin(part, prepared, name="mine", **different)
        assert planned(places).parts[0].folder.name == part.config.name


def test_changed_data_is_refused(places: Places, prepared: PreparedData) -> None:
    begin(planned(places).parts[0], replace(prepared, fingerprint="0" * 16))
    with pytest.raises(ConfigError, match="began with other data"):
        planned(places)


def test_a_sweep_of_other_settings_is_refused(places: Places, prepared: PreparedData) -> None:
    begin(planned(places).parts[0], prepared, pairs=3)
    with pytest.raises(ConfigError, match="must have the settings of this version"):
        planned(places)


def test_a_damaged_sweep_of_a_row_is_named_and_any_other_left_out(
    places: Places, prepared: PreparedData, caplog: pytest.LogCaptureFixture
) -> None:
    part = planned(places).parts[0]
    begin(part, prepared, name="mine").plan_file.write_text("{}")
    assert planned(places).parts[0].folder.name == part.config.name
    assert "leaving out sweep 'mine'" in caplog.text
    begin(part, prepared).plan_file.write_text("{}")
    with pytest.raises(StorageError, match="must be a sweep's plan"):
        planned(places)


def test_one_teacher_taught_all_rows(places: Places, prepared: PreparedData) -> None:
    _, first, second, _ = planned(places).parts
    begin(first, prepared)
    assert planned(places).teacher() == "a" * 16
    path = begin(second, prepared).plan_file
    assert planned(places).teacher() == "a" * 16
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "teacher_fingerprint": "b" * 16}))
    with pytest.raises(ConfigError, match="one teacher taught all"):
        planned(places).teacher()


def test_the_time_is_that_of_trainings_that_ended(places: Places, prepared: PreparedData) -> None:
    from hpo.records.trial_records import write_record
    from tests.small_sweeps import record

    assert planned(places).seconds_per_training is None
    folder = begin(planned(places).parts[0], prepared)
    known = {"dataset_fingerprint": prepared.fingerprint, "epochs": 4, "seconds": 6.0}
    write_record(folder.results, record(0, 3.0, **known))
    slow = {**known, "family": "astgcn", "seconds": 99.0}
    write_record(folder.results, record(1, 3.0, **slow))
    assert planned(places, epochs=10).seconds_per_training == pytest.approx(15.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seeds": 1}, "at least 2, got 1"),
        ({"trials": -1}, "--trials must be at least 0"),
        ({"epochs": 0}, "--epochs must be at least 1"),
        ({"recipe": "papers"}, "did you mean 'paper'"),
        ({"recipe": "paper", "form": "direct", "trials": None}, "is for --form paper"),
        ({"recipe": "paper"}, "searches nothing"),
        ({"scheduler": "ash"}, "did you mean 'asha'"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    places: Places, settings: dict[str, object], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        planned(places, **settings)
    assert not places.storage.exists()


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="known: 1, 2, 3, 4, 5, 6, 7, 8, 9, all, figures"):
        find_tables("10")
