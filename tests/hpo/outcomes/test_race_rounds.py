"""Races from round to round: what is run, dropped, written down, gone on with and shown."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from core.preprocessing.prepare import PreparedData
from hpo.cli.main import run as hpo
from hpo.driver.sweep_run import SweepRun
from hpo.outcomes import confirmation_runs
from hpo.outcomes.confirmation_planning import fresh_seed, plan_confirmation
from hpo.outcomes.confirmation_runs import ranked_confirmations, run_confirmation
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import read_records, write_record
from hpo.selection import best
from tests.small_sweeps import make_sweep, record

RATES = (0.01, 0.02, 0.03)
"""Of trials 0, 1 and 2: the best by the search is the best on fresh seeds, the last is worst."""


@pytest.fixture
def sweep(tmp_path: Path, small_data: Path, prepared: PreparedData) -> SweepFolder:
    data = {"dataset_fingerprint": prepared.fingerprint}
    records = [
        record(trial, 1.0 + trial, settings={"learning_rate": rate}, **data)
        for trial, rate in enumerate(RATES)
    ]
    return make_sweep(tmp_path / "runs", records, small_data)


class StoppedError(Exception):
    """Raised by a stand-in for a driver that is stopped."""


@pytest.fixture
def driven(sweep: SweepFolder, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[int]]:
    """Stand in for Ray: the returned function sets after how many runs it stops.

    The errors of 0.02 are those of 0.01 but for a little in both directions; 0.03's are far above.
    """
    most, rounds = [10**9], [0][:0]

    def error(rate: float, seed: int) -> float:
        wiggle = {0.01: 0.0, 0.02: 0.02 if seed % 2 else -0.01, 0.03: 0.5 + seed % 7 / 100}
        return 2.0 + seed % 11 / 10 + wiggle[rate]

    def drive(wanted: SweepRun) -> None:
        ledger = Ledger(wanted.folder.ledger_file)
        rounds.append(len(wanted.runs or ()))
        for one in wanted.runs or ():
            if len(ledger.state.trials) == most[0]:
                ledger.close()
                raise StoppedError
            number, rate = len(ledger.state.trials), one.settings["learning_rate"]
            ended = record(number, error(rate, one.seed), settings=one.settings, seed=one.seed)
            ended = replace(ended, dataset_fingerprint=wanted.plan.dataset_fingerprint)
            ledger.append("suggested", trial=number, settings=one.settings, seed=one.seed)
            write_record(wanted.folder.results, ended)
            facts = {"status": "finished", "reason": None, "metrics": ended.metrics}
            ledger.append("ended", trial=number, **facts)
        assert len(ledger.state.trials) == wanted.plan.config.trials
        ledger.close()

    def stop_after(runs: int) -> list[int]:
        most[0] = runs
        return rounds

    monkeypatch.setattr(confirmation_runs, "drive", drive)
    return stop_after


def seeds_by_rate(sweep: SweepFolder) -> dict[float, int]:
    runs = read_records(sweep.confirmation.results)
    return dict(Counter(run.settings["learning_rate"] for run in runs))


def test_what_is_worse_gets_no_further_seeds_and_the_ledger_says_why(
    sweep: SweepFolder, driven: Callable[[int], list[int]]
) -> None:
    plan = plan_confirmation(sweep, 9, top=3, race=True)
    assert (len(plan.runs), plan.trials) == (27, 27)
    rounds = driven(10**9)
    run_confirmation(plan)
    assert rounds == [7 * 3, 2 * 2]
    assert seeds_by_rate(sweep) == {0.01: 9, 0.02: 9, 0.03: 7}
    (drop,) = read_ledger(sweep.confirmation.ledger_file).drops
    assert (drop.candidate, drop.seeds, drop.p) == (2, 7, 2.0**-7)
    assert drop.against in {0, 1}
    ranked = ranked_confirmations(sweep)
    assert [one.trial.trial for one in ranked][2] == 2
    assert [one.drop for one in ranked] == [None, None, drop]
    assert ranked[1].like == ranked[0].trial
    assert ranked[2].like is None


def test_a_race_that_was_stopped_goes_on_and_one_that_ended_runs_nothing(
    sweep: SweepFolder, driven: Callable[[int], list[int]]
) -> None:
    driven(22)
    with pytest.raises(StoppedError):
        run_confirmation(plan_confirmation(sweep, 9, top=3, race=True))
    assert len(read_ledger(sweep.confirmation.ledger_file).drops) == 1
    rounds = driven(10**9)
    rounds.clear()
    again = plan_confirmation(sweep, 9, top=3, race=True)
    assert len(again.runs) == 3
    run_confirmation(again)
    assert rounds == [3]
    before = sweep.confirmation.ledger_file.read_bytes()
    ended = plan_confirmation(sweep, 9, top=3, race=True)
    assert (ended.runs, ended.seconds) == ((), 0)
    run_confirmation(ended)
    assert rounds == [3]
    assert sweep.confirmation.ledger_file.read_bytes() == before


def test_a_crash_before_the_drop_was_written_is_made_up_for(
    sweep: SweepFolder, driven: Callable[[int], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> None:
        raise StoppedError

    driven(10**9)
    plan = plan_confirmation(sweep, 8, top=3, race=True)
    with monkeypatch.context() as patch:
        patch.setattr(confirmation_runs, "drop_losers", crash)
        with pytest.raises(StoppedError):
            run_confirmation(plan)
    assert read_ledger(sweep.confirmation.ledger_file).drops == []
    run_confirmation(plan_confirmation(sweep, 8, top=3, race=True))
    assert seeds_by_rate(sweep) == {0.01: 8, 0.02: 8, 0.03: 7}


def test_all_seeds_are_there_for_those_who_compare_methods(
    sweep: SweepFolder, driven: Callable[[int], list[int]]
) -> None:
    driven(10**9)
    run_confirmation(plan_confirmation(sweep, 8, top=3, race=True))
    assert seeds_by_rate(sweep)[0.03] == 7
    run_confirmation(plan_confirmation(sweep, 8, top=3))
    assert seeds_by_rate(sweep) == {0.01: 8, 0.02: 8, 0.03: 8}
    # It has what the others have, so it is no longer said to be dropped.
    assert [one.drop for one in ranked_confirmations(sweep)] == [None] * 3


def test_two_that_differ_are_decided_after_six_and_the_winner_runs_no_more(
    sweep: SweepFolder, driven: Callable[[int], list[int]]
) -> None:
    driven(10**9)
    plan = plan_confirmation(sweep, 20, trials=[0, 2], race=True)
    run_confirmation(plan)
    assert seeds_by_rate(sweep) == {0.01: 6, 0.03: 6}
    assert plan_confirmation(sweep, 20, trials=[0, 2], race=True).runs == ()
    assert len(plan_confirmation(sweep, 8, trials=[0], race=True).runs) == 2


def test_the_command_says_who_was_dropped(
    sweep: SweepFolder,
    driven: Callable[[int], list[int]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    driven(10**9)
    storage = ["--storage", str(sweep.storage)]
    assert hpo(["confirm", "first", "--top", "3", "--seeds", "9", *storage]) == 0
    out, err = capsys.readouterr()
    assert "on fresh seeds, at most 27 trainings to begin" in err
    assert "7 seeds, mean within" in out
    assert "dropped after 7: worse than trial" in out
    assert "not distinguishable from trial" in out
    assert (
        hpo(["confirm", "first", "--top", "3", "--seeds", "9", "--format", "json", *storage]) == 0
    )
    rows = json.loads(capsys.readouterr().out)
    assert [row["dropped"] and row["dropped"]["seeds"] for row in rows] == [None, None, 7]
    assert rows[1]["like"] == {"sweep": "first", "trial": rows[0]["trial"]}
    assert rows[0]["interval"][0] < rows[0]["mean"] < rows[0]["interval"][1]
    ranked = best("small", sweep.storage)
    assert [one.to_json()["confirmed"]["dropped"] is None for one in ranked] == [True, True, False]
    assert hpo(["confirm", "first", "--top", "3", "--seeds", "9", "--all-seeds", *storage]) == 0
    assert "dropped" not in capsys.readouterr().out


def test_fresh_seeds_do_not_depend_on_races(sweep: SweepFolder) -> None:
    plan = sweep.read_plan()
    wanted = plan_confirmation(sweep, 3, top=2, race=True)
    assert [run.seed for run in wanted.runs[::2]] == [fresh_seed(plan, at) for at in range(3)]
