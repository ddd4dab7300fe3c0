"""The contract of every section, over sweeps of every kind, and what some of them say."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.files import write_json
from hpo.outcomes.export_best import export_best
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import Drop
from hpo.report import palette
from hpo.report.building import draw
from hpo.report.charts import count_along, new_figure
from hpo.report.facts import ReportFacts
from hpo.report.gathering import gather
from hpo.report.networks import evaluate_networks
from hpo.report.paper import paper_results
from hpo.report.section import Commands, Numbers, Section, Table
from hpo.report.sections import SECTIONS
from hpo.report.sections.fresh_seeds import fresh_seeds
from hpo.report.sections.importances import importances
from hpo.report.sections.map import error_map
from hpo.report.sections.pareto import pareto
from hpo.report.sections.result import result
from tests.report_sweeps import PLACES, REASON, confirm, make_every_sweep, make_storage
from tests.small_students import stand_in_forecasters
from tests.small_sweeps import make_students

CASES = {
    "one": ["good"],
    "no teacher": ["plain"],
    "only failures": ["broken"],
    "still running": ["running"],
    "pruned": ["pruned"],
    "several objectives": ["weighed"],
    "widths searched": ["wide"],
    "exported": ["away"],
    "side by side": ["good", "plain", "pruned", "broken", "running", "weighed"],
}
ALWAYS = {"result", "failures", "again"}
WITH_A_STUDENT = {*ALWAYS, "history", "pareto", "learning", "errors", "map", "forecasts", "hidden"}
Drawn = dict[str, dict[str, Section]]


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ReportFacts]:
    storage = make_storage(tmp_path_factory.mktemp("report"))
    make_every_sweep(storage)
    confirm(storage, "plain", trial=0, errors=[3.9, 3.7])
    make_students(storage.sweep("away", "ord", [3.0, 3.5]), storage.data, [0])
    with pytest.MonkeyPatch.context() as patch:
        stand_in_forecasters(patch)
        export_best(SweepFolder(storage.path / "away"), top=1)
    (storage.path / "teachers").rename(storage.path / "kept")
    without = evaluate_networks(gather(["plain"], storage.path))
    (storage.path / "kept").rename(storage.path / "teachers")
    evaluated = {
        case: evaluate_networks(gather(names, storage.path)) for case, names in CASES.items()
    }
    return {**evaluated, "no teacher": without}


@pytest.fixture(scope="module")
def drawn(facts: dict[str, ReportFacts]) -> Drawn:
    return {case: draw(own) for case, own in facts.items()}


@pytest.mark.parametrize("case", CASES)
def test_every_section_holds_its_contract(drawn: Drawn, case: str) -> None:
    names: list[str] = []
    for anchor, section in drawn[case].items():
        assert anchor in SECTIONS
        assert section.title
        assert re.search(r"[.]$", section.seen), section.seen
        assert "nan" not in section.seen
        for block in section.blocks:
            if isinstance(block, Table):
                assert {len(row) for row in block.rows} == {len(block.headings)}
        for panel in section.panels:
            names.append(panel.name)
            assert panel.title
            assert len(panel.summary) > 20
            assert panel.figure.data
            points = [trace.x for trace in panel.figure.data if trace.x is not None]
            assert any(len(one) > 1 or one[0] is not None for one in points)
            views = {trace.meta for trace in panel.figure.data if trace.meta}
            assert views == set(panel.choices)
            if panel.choices:
                shown = {one.meta for one in panel.figure.data if one.meta and one.visible}
                assert shown == {panel.choices[-1]}
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("case", CASES)
def test_every_color_has_a_dark_counterpart(drawn: Drawn, case: str) -> None:
    for section in drawn[case].values():
        for panel in section.panels:
            text = panel.figure.to_json()
            used = set(re.findall(r"#[0-9a-f]{6}\b|rgba\([\d.,]+\)", text))
            assert used <= {*palette.DARK, "rgba(0,0,0,0)"}
            assert not re.search(r"#[0-9A-F]*[A-F]", text), "the page looks for lower case"


def test_sections_appear_where_there_is_something_to_show(drawn: Drawn) -> None:
    assert set(drawn["one"]) == {*WITH_A_STUDENT, "importances", "parallel"}
    assert set(drawn["only failures"]) == {*ALWAYS, "learning"}
    assert set(drawn["still running"]) == WITH_A_STUDENT
    assert set(drawn["pruned"]) == {*WITH_A_STUDENT, "importances", "parallel", "pruning"}
    assert set(drawn["widths searched"]) == {*WITH_A_STUDENT, "importances", "parallel"}
    assert set(drawn["side by side"]) == set(SECTIONS) - {"intervals"}
    # Intervals are judged on test days alone, which only exported students have seen.
    assert "intervals" in drawn["exported"]


def test_intervals_say_what_they_cover(drawn: Drawn, facts: dict[str, ReportFacts]) -> None:
    section, evaluation = drawn["exported"]["intervals"], facts["exported"].evaluation
    covered = evaluation.students[0].covered
    assert f"At 45 minutes {100 * covered.share[45]:.1f}\u00a0% of the test days" in section.seen
    table, panel = section.blocks
    assert table.rows[0][1:3] == (
        f"{100 * covered.share[15]:.1f}",
        f"{covered.width[15]:.1f} wide",
    )
    np.testing.assert_allclose(panel.figure.data[0].y, 100 * covered.by_hour[15])


def test_the_map_shows_each_sensor_where_it_is_with_its_error(
    drawn: Drawn, facts: dict[str, ReportFacts]
) -> None:
    evaluation = facts["one"].evaluation
    assert evaluation is not None
    expected = evaluation.students[0].judged.errors.mae("sensor", slice(-1, None))
    figure = drawn["one"]["map"].panels[0].figure
    sensors = next(trace for trace in figure.data if trace.meta and trace.visible)
    assert list(sensors.marker.color) == pytest.approx(expected.tolist())
    assert list(sensors.x) == [place.longitude for place in PLACES]
    assert list(sensors.y) == [place.latitude for place in PLACES]
    assert sensors.text[0] == "north, Ash, 5 N"
    # Ten pairs of five sensors, without north and west.
    assert len(figure.data[0].x) == 3 * 9
    worst = int(expected.argmax())
    assert f"most wrong at sensor {sensors.text[worst]} (" in drawn["one"]["map"].seen
    card = replace(evaluation.data.card, places=())
    unknown = replace(evaluation, data=replace(evaluation.data, card=card))
    assert error_map(replace(facts["one"], evaluation=unknown)) is None


def test_the_result_names_best_teacher_and_standing(drawn: Drawn) -> None:
    assert drawn["one"]["result"].seen == (
        "The best single trial, trial 7 of good, has a validation MAE of 3.000 mph, 50.0\u00a0% "
        "higher than its teacher's 2.000 and 50.0\u00a0% lower than repeating the last reading; it "
        "is one seed, not confirmed, and the best of 9 is a lucky one."
    )
    assert drawn["no teacher"]["result"].seen.startswith(
        "The best confirmed student, trial 0 of plain, has a validation MAE of 3.800 ± 0.141 mph "
        "over 2 fresh seeds, "
    )
    assert drawn["no teacher"]["result"].seen.endswith("; the trial that found it had 4.000.")
    assert "No trial has finished" in drawn["only failures"]["result"].seen


def test_a_confirmed_student_leads_however_lucky_a_single_trial_was(
    facts: dict[str, ReportFacts],
) -> None:
    """Side by side, ``good`` has a trial of 3.0, and only ``plain`` was confirmed, at 3.8."""
    section = result(facts["side by side"])
    assert section.seen.startswith("The best confirmed student, trial 0 of plain, ")
    numbers, table = section.blocks[0], section.blocks[1]
    assert isinstance(numbers, Numbers)
    assert numbers.items[0] == ("3.800", "best confirmed validation MAE, mph")
    assert isinstance(table, Table)
    assert table.rows[0][0] == "plain (none)"
    assert table.rows[0][2] == "3.800 ± 0.141 (2 seeds, trial 0, mean within 2.529 to 5.071)"
    # Trial 0 had 4.0, so its confirmation came out better: no luck to take off.
    lucky = next(row for row in table.rows if row[0].startswith("good"))
    assert lucky[2] == (
        "not confirmed; the best of 9 may be lucky, though those tried on fresh seeds were not"
    )


def test_fresh_seeds_have_a_row_each(facts: dict[str, ReportFacts]) -> None:
    section = fresh_seeds(facts["side by side"])
    assert section is not None
    assert section.seen == "1 configuration ran again on fresh seeds."
    (table,) = section.blocks
    assert isinstance(table, Table)
    row = ("plain, trial 0", "4.000", "2", "3.800 ± 0.141", "2.529 to 5.071", "")
    assert table.rows == (row,)
    assert fresh_seeds(facts["one"]) is None


def test_fresh_seeds_say_what_is_alike_and_what_was_dropped(facts: dict[str, ReportFacts]) -> None:
    several = facts["side by side"]
    plain = next(sweep for sweep in several.sweeps if sweep.confirmed)
    best = plain.confirmed[0]
    alike = replace(best, like=best.trial)
    dropped = replace(best, drop=Drop(best.trial.settings, 3, 0, seeds=7, p=0.007, level=0.0125))
    more = replace(plain, confirmed=[best, alike, alike, dropped])
    section = fresh_seeds(replace(several, sweeps=[more]))
    assert section is not None
    assert section.seen == (
        "4 configurations ran again on fresh seeds; 2 cannot be told from the best of their sweep; "
        "1 got no further seeds, being worse than the best."
    )
    (table,) = section.blocks
    assert isinstance(table, Table)
    assert [row[5] for row in table.rows[1:]] == [
        *["not distinguishable from trial 0"] * 2,
        "dropped after 7 seeds: worse than trial 0",
    ]


def test_a_student_no_better_than_the_last_reading_is_named_and_on_no_front(
    facts: dict[str, ReportFacts],
) -> None:
    one = facts["one"]
    plan = one.sweeps[0].plan
    baselines = {**plan.baselines, "repeat_last": {"val_mae": 3.0}}
    useless = replace(one, sweeps=[replace(one.sweeps[0], plan=replace(plan, baselines=baselines))])
    said = result(useless).seen
    assert "; repeating the last reading, 3.000, is as good or better: more epochs or" in said
    section = pareto(useless)
    assert section.seen == (
        "No student is better than repeating the last reading, so none is on the front."
    )
    names = [trace.name for trace in section.panels[0].figure.data]
    assert "front" not in names
    assert "repeating the last reading, 3.00" in names


def test_a_sweeps_method_and_family_are_said_unless_its_name_does(
    facts: dict[str, ReportFacts],
) -> None:
    (sweep,) = facts["exported"].sweeps
    config = replace(sweep.plan.config, family="astgcn", form="direct")
    other = replace(sweep, plan=replace(sweep.plan, config=config))
    for one, name in ((sweep, "away (ord)"), (other, "away (ord, astgcn)")):
        tables = result(replace(facts["exported"], sweeps=[one])).blocks
        searches = next(block for block in tables if isinstance(block, Table))
        assert searches.rows[0][0] == name


def test_a_setting_has_one_row_however_its_ranges_differ(facts: dict[str, ReportFacts]) -> None:
    searched = next(
        block
        for block in result(facts["side by side"]).blocks
        if isinstance(block, Table) and block.title == "What was searched"
    )
    names = [row[0] for row in searched.rows]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("last", "step"), [(1, 1), (3, 1), (10, 1), (11, 2), (40, 5), (100, 10), (2000, 200)]
)
def test_trials_and_epochs_are_counted_in_whole_numbers(last: int, step: int) -> None:
    figure = new_figure("trial", "error")
    count_along(figure, last)
    axis = figure.layout.xaxis
    assert (axis.dtick, axis.tick0, axis.tickformat) == (step, 0, "d")
    assert axis.range[0] < 0
    assert axis.range[1] > last


def test_failures_are_told_with_their_reasons(drawn: Drawn) -> None:
    section = drawn["one"]["failures"]
    assert section.seen == f"Without a student: 1 failed of 11 trials; most often: {REASON}."
    table = section.blocks[0]
    assert isinstance(table, Table)
    assert table.rows[0][:3] == ("4", "failed", REASON)
    assert drawn["widths searched"]["failures"].seen == (
        "Without a student: 1 infeasible of 3 trials; most often: too large."
    )
    assert drawn["pruned"]["failures"].seen == "None of 2 trials failed."


def test_early_stops_are_marked(drawn: Drawn) -> None:
    section = drawn["one"]["learning"]
    assert section.seen == "1 of 11 trials were stopped early, where the crosses are."
    marks = [trace for trace in section.panels[0].figure.data if trace.mode == "markers"]
    stopped = next(trace for trace in marks if trace.name == "stopped early (1)")
    assert (list(stopped.x), list(stopped.y), list(stopped.customdata)) == ([3], [9.0], [2])
    assert [trace.name for trace in marks] == ["stopped early (1)", "failed (1)"]


def test_the_front_holds_what_nothing_beats(drawn: Drawn) -> None:
    section = drawn["several objectives"]["pareto"]
    front = next(trace for trace in section.panels[0].figure.data if trace.name == "front")
    assert list(zip(front.x, front.y, strict=True)) == [(1000.0, 4.0), (1100.0, 3.5), (1200.0, 3.4)]
    assert section.seen == (
        "3 sizes are on the front: from 4.000 at 1,000 to 3.400 at 1,200 parameters."
    )
    assert any(
        panel.name == "hypervolume" for panel in drawn["several objectives"]["history"].panels
    )


def test_latency_is_drawn_where_a_sweep_asked_for_it(drawn: Drawn) -> None:
    timed = drawn["several objectives"]["pareto"].panels[-1]
    assert timed.name == "pareto-latency_ms"
    traces = {trace.name: list(trace.x) for trace in timed.figure.data}
    assert traces["weighed"] == [4.0, 3.5, 3.0]
    assert traces["teacher"][0] > 0
    names = [panel.name for panel in drawn["side by side"]["pareto"].panels]
    assert names == ["pareto-parameters", "pareto-flops", "pareto-latency_ms"]
    untimed = drawn["one"]["pareto"]
    assert [panel.name for panel in untimed.panels] == names[:2]
    assert "No sweep here asked for latency" in (untimed.note or "")


def test_the_shares_of_importances_add_up(drawn: Drawn) -> None:
    bars = drawn["one"]["importances"].panels[0].figure.data[0]
    assert sum(bars.x) == pytest.approx(1.0)
    # Nothing but the learning rate varies in these trials.
    assert dict(zip(bars.y, bars.x, strict=True))["learning_rate"] == pytest.approx(1.0)


def test_what_tells_the_front_from_the_rest_is_drawn(facts: dict[str, ReportFacts]) -> None:
    weighed = facts["several objectives"]
    (sweep,) = weighed.sweeps
    first = sweep.ranked[0]
    ranked = [
        replace(
            first,
            trial=at,
            settings={**first.settings, "learning_rate": 0.001 * 1.15**at},
            metrics={**first.metrics, "val_mae": 3.0 + at / 10},
            parameters=1000 + 10 * at,
            latency_ms=2.0 + at,
        )
        for at in range(20)
    ]
    section = importances(replace(weighed, sweeps=[replace(sweep, ranked=ranked)]))
    assert section is not None
    error, front = section.panels
    assert (error.name, front.name) == ("importances", "importances-front")
    (bars,) = front.figure.data
    shares = dict(zip(bars.y, bars.x, strict=True))
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares["learning_rate"] > 0.95
    assert "PED-ANOVA" in section.note
    few = importances(replace(weighed, sweeps=[replace(sweep, ranked=ranked[:9])]))
    assert few is not None
    assert [panel.name for panel in few.panels] == ["importances"]


def test_the_best_again_is_a_command(drawn: Drawn) -> None:
    block = drawn["one"]["again"].blocks[0]
    assert isinstance(block, Commands)
    assert block.lines[:2] == (
        "hpo sweep ord --dataset small --name good",
        "hpo trial good 7 --rerun",
    )
    resumed = drawn["still running"]["again"].blocks[0]
    assert isinstance(resumed, Commands)
    assert "hpo resume running" in resumed.lines


def test_which_days_is_said(drawn: Drawn) -> None:
    note = drawn["one"]["errors"].note
    assert note.startswith("On the validation day: trial 7 of good.")
    assert "test days stay unseen" in note


def test_forecasts_stand_where_the_readings_do(drawn: Drawn, facts: dict[str, ReportFacts]) -> None:
    evaluation = facts["one"].evaluation
    assert evaluation is not None
    panel = drawn["one"]["forecasts"].panels[0]
    sensor = evaluation.data.card.sensor_ids.index(re.findall(r"Sensor (\w+)", panel.title)[0])
    day = int(re.findall(r"day (\d+)", panel.title)[0])
    traces = [trace for trace in panel.figure.data if trace.meta == "30 min"]
    student = traces[0]
    step, judged = 1, evaluation.students[0].judged
    for hour, value in list(zip(student.x, student.y, strict=True))[::20]:
        row = day * 96 + round(hour * 4) - 12 - step
        window = judged.rows.tolist().index(row)
        assert value == pytest.approx(judged.forecasts[window, step, sensor].item())
    assert len(student.x) == 96 - 14


def test_trajectories_are_those_of_the_files(drawn: Drawn) -> None:
    sizes, errors = (panel.figure.data for panel in drawn["pruned"]["pruning"].panels)
    best = next(trace for trace in sizes if trace.name == "best, trial 1")
    assert list(best.y)[::2] == [4000, 3000, 1999, None]
    told = next(trace for trace in errors if trace.name == "best, trial 1")
    assert list(told.y) == [5.0, 4.0, 3.0, None]


def test_the_papers_results_are_those_of_its_tables() -> None:
    rows = {row.label: row for row in paper_results(228, "mph")}
    assert rows["ORD"].error("val_mae_30") == 4.091
    assert rows["ORD"].error("val_mae") == pytest.approx((2.762 + 4.091 + 5.221) / 3)
    assert (rows["teacher"].parameters, rows["ORD"].parameters) == (333604, 10144)
    assert paper_results(228, "km/h") == []
    assert [row.parameters for row in paper_results(170, "mph")][:2] == [296426, 7766]


def test_a_trajectory_of_another_trial_is_left_alone(tmp_path: Path) -> None:
    storage = make_storage(tmp_path)
    folder = storage.sweep("pruned", "prune", [4.0])
    write_json(folder.trajectory(9), [])
    assert "pruning" not in draw(gather(["pruned"], storage.path))
