"""Confirmed configurations: mean and spread, what is still to run, what is exported."""

from __future__ import annotations

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, ExportError, StorageError
from core.export.manifest import read_manifest
from core.preprocessing.prepare import PreparedData
from hpo.cli.main import run
from hpo.outcomes.confirmation_planning import (
    fresh_seed,
    is_confirmed,
    missing_before_export,
    missing_in_dataset,
    plan_confirmation,
)
from hpo.outcomes.confirmation_runs import ranked_confirmations, run_confirmation
from hpo.outcomes.export_best import export_best, export_dataset_best
from hpo.records.confirmation import Confirmed
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder, all_sweeps
from hpo.records.trial_records import TrialRecord, write_record
from hpo.selection import best, rank
from tests.small_students import stand_in_forecasters
from tests.small_sweeps import make_students, make_sweep, record


def found(trial: int, error: float, rate: float, **changes: object) -> TrialRecord:
    settings = {"learning_rate": rate, "batch_size": 50}
    return record(trial, error, settings=settings, **changes)


def note(folder: SweepFolder, runs: list[tuple[float, int, float | None]]) -> None:
    """Leave runs behind as (learning rate, seed index, error); an error of None: it still runs."""
    plan, ledger = folder.read_plan(), Ledger(folder.confirmation.ledger_file)
    for rate, index, error in runs:
        number, seed = len(ledger.state.trials), fresh_seed(plan, index)
        run = found(number, error or 0.0, rate, sweep=folder.name, seed=seed)
        run = replace(run, dataset_fingerprint=plan.dataset_fingerprint)
        ledger.append("suggested", trial=number, settings=run.settings, seed=seed)
        if error is not None:
            write_record(folder.confirmation.results, run)
            ended = {"status": "finished", "reason": None, "metrics": run.metrics}
            ledger.append("ended", trial=number, **ended)
    ledger.close()


@pytest.fixture
def sweep(tmp_path: Path, small_data: Path, prepared: PreparedData) -> SweepFolder:
    """The best by the search is 0.01, found twice; then 0.02, 0.03 and 0.04."""
    data = {"dataset_fingerprint": prepared.fingerprint}
    records = [
        found(0, 3.0, 0.03, **data),
        found(1, 1.0, 0.01, seconds=8.0, **data),
        found(2, 2.0, 0.02, seconds=4.0, **data),
        found(3, 1.5, 0.01, **data),
        found(4, 4.0, 0.04, **data),
        found(5, 0.1, 0.05, status="failed", reason="diverged", **data),
    ]
    folder = make_sweep(tmp_path / "runs", records, small_data)
    (folder.path / "confirmation").mkdir()
    return folder


LUCKY = [(0.01, 0, 2.5), (0.02, 0, 2.2), (0.01, 1, 2.7), (0.02, 1, 2.1), (0.02, 2, 2.6)]
"""0.01 was lucky in the search: its mean is 2.6, that of 0.02 is 2.3."""


@given(st.lists(st.floats(0.1, 100), min_size=2, max_size=9))
def test_mean_and_spread_are_those_of_the_runs(errors: list[float]) -> None:
    runs = tuple(record(number, error) for number, error in enumerate(errors))
    one = Confirmed(record(9, 0.0), runs, "val_mae")
    mean = sum(errors) / len(errors)
    variance = sum((error - mean) ** 2 for error in errors) / (len(errors) - 1)
    assert one.mean == pytest.approx(mean)
    assert one.spread == pytest.approx(variance**0.5, abs=1e-9)
    assert one.finished[0].metrics["val_mae"] == min(errors)


def test_failed_runs_are_told_and_rank_last(sweep: SweepFolder) -> None:
    note(sweep, [*LUCKY, (0.03, 0, 0.1)])
    failed = found(6, 0.0, 0.03, status="failed", reason="diverged")
    write_record(sweep.confirmation.results, failed)
    ranked = ranked_confirmations(sweep)
    assert [one.trial.trial for one in ranked] == [2, 1, 0]
    assert (ranked[2].failed, ranked[2].mean, ranked[2].spread) == (1, 0.1, None)
    summary = Confirmed(record(0, 1.0), (failed,), "val_mae").summary()
    assert (summary["mean"], summary["spread"], summary["failed"]) == (None, None, 1)
    json.dumps(summary, allow_nan=False)


def test_ranked_by_the_mean_not_by_the_lucky_trial(sweep: SweepFolder) -> None:
    note(sweep, LUCKY)
    ranked = ranked_confirmations(sweep)
    assert [one.trial.trial for one in ranked] == [2, 1]
    assert ranked[0].mean == pytest.approx(2.3)
    assert ranked[0].spread == pytest.approx(statistics.stdev([2.2, 2.1, 2.6]))


def test_each_configuration_is_planned_once_on_seeds_of_its_own(sweep: SweepFolder) -> None:
    plan = plan_confirmation(sweep, 4, top=3)
    assert [one.trial for one in plan.candidates] == [1, 2, 0]
    rates = [run.settings["learning_rate"] for run in plan.runs]
    assert rates == [0.01, 0.02, 0.03] * 4
    seeds = [run.seed for run in plan.runs]
    assert len(set(seeds)) == 4
    assert not set(seeds) & {100 + trial for trial in range(6)}
    assert plan.trials == 12
    assert plan.seconds == 4 * (8.0 + 4.0 + 1.5)


def test_what_was_begun_is_not_planned_again(sweep: SweepFolder) -> None:
    note(sweep, [*LUCKY, (0.01, 2, None)])
    plan = plan_confirmation(sweep, 4, top=2)
    assert [(run.settings["learning_rate"], run.seed) for run in plan.runs] == [
        (rate, fresh_seed(sweep.read_plan(), 3)) for rate in (0.01, 0.02)
    ]
    assert plan.trials == len(LUCKY) + 1 + 2
    assert plan.seconds == (8.0 + 4.0) + (8.0 + 4.0) / 2


def test_an_export_confirms_what_is_not_confirmed(sweep: SweepFolder) -> None:
    (plan,) = missing_before_export(sweep, top=1, seeds=3)
    assert [one.trial for one in plan.candidates] == [1, 2, 0]
    assert len(plan.runs) == 9
    note(sweep, LUCKY)
    assert missing_before_export(sweep, top=1, seeds=3) == []
    assert missing_before_export(sweep, top=2, seeds=3) == []
    (more,) = missing_before_export(sweep, top=3, seeds=3)
    assert [run.settings["learning_rate"] for run in more.runs] == [0.03, 0.03, 0.01, 0.03]
    note(sweep, [(0.02, 3, None)])
    assert not is_confirmed(sweep, [1])


def test_an_export_of_a_dataset_confirms_in_all_its_sweeps(
    sweep: SweepFolder, prepared: PreparedData
) -> None:
    data = {"sweep": "second", "dataset_fingerprint": prepared.fingerprint}
    make_sweep(sweep.storage, [found(0, 1.2, 0.07, **data), found(1, 9.0, 0.08, **data)])
    first, second = missing_in_dataset("small", sweep.storage, top=1, seeds=2)
    assert [one.trial for one in first.candidates] == [1]
    assert [one.trial for one in second.candidates] == [0]


@pytest.mark.parametrize(
    ("seeds", "top", "message"),
    [(1, 5, r"--seeds of at least 2, got 5 and 1"), (3, 0, r"--top of at least 1 .*got 0 and 3")],
)
def test_a_confirmation_needs_several_seeds(
    sweep: SweepFolder, seeds: int, top: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_confirmation(sweep, seeds, top=top)


def test_nothing_finished_means_nothing_to_confirm(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, [record(0, 1.0, status="failed")])
    with pytest.raises(ConfigError, match=r"'first' has no student: .*`hpo status first`"):
        plan_confirmation(folder, 3)


def test_a_sweep_that_runs_is_not_confirmed(sweep: SweepFolder) -> None:
    plan = plan_confirmation(sweep, 2)
    with (
        sweep.driver_lock(),
        pytest.raises(StorageError, match="must be at rest to be confirmed"),
    ):
        run_confirmation(plan)


def test_two_at_once_do_not_run_twice(sweep: SweepFolder) -> None:
    plan = plan_confirmation(sweep, 2)
    note(sweep, [(0.01, 0, 2.0)])
    with pytest.raises(StorageError, match="begun to confirm 'first' meanwhile; ask again"):
        run_confirmation(plan)


def test_a_confirmation_shares_its_sweeps_plan_and_is_no_sweep(sweep: SweepFolder) -> None:
    again = sweep.confirmation
    assert (again.name, again.storage) == (sweep.name, sweep.storage)
    assert again.read_plan() == sweep.read_plan()
    assert again.confirmation == again
    assert again.student(0) != sweep.student(0)
    assert all_sweeps(sweep.storage) == [sweep]


def test_best_ranks_the_confirmed_first_and_by_their_means(sweep: SweepFolder) -> None:
    note(sweep, LUCKY)
    rows = best("small", sweep.storage)
    # 3 has the configuration of 1, so it is no single trial of its own.
    assert [(row.rank, row.trial) for row in rows] == [(1, 2), (2, 1), (3, 0), (4, 4)]
    assert [row.confirmed is None for row in rows] == [False, False, True, True]
    assert rows[0].errors["val_mae"] == pytest.approx(2.3)
    assert rows[0].metrics["val_mae"] == 2.0
    assert rows[2].errors == rows[2].metrics
    assert len(rows[0].to_json()["confirmed"]["seeds"]) == 3
    # A lucky single trial may stand on the front of its own group only.
    front = best("small", sweep.storage, pareto=True)
    assert [row.trial for row in front] == [2, 0]


def test_what_failed_on_every_seed_comes_last(sweep: SweepFolder) -> None:
    for number in range(2):
        failed = found(number, 0.0, 0.01, status="failed", reason="diverged", sweep="first")
        write_record(sweep.confirmation.results, failed)
    rows = best("small", sweep.storage)
    assert [row.trial for row in rows] == [2, 0, 4, 1]
    assert rows[3].to_json()["confirmed"]["mean"] is None


def test_best_says_how_lucky_single_trials_are(sweep: SweepFolder) -> None:
    assert rank("small", sweep.storage).luck is None
    note(sweep, LUCKY)
    found = rank("small", sweep.storage, top=1)
    assert found.finished == 5
    assert found.luck == pytest.approx(((2.6 - 1.0) + (2.3 - 2.0)) / 2)


Output = pytest.CaptureFixture[str]


def test_best_sets_single_trials_apart(
    sweep: SweepFolder, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["best", "--dataset", "small", "--storage", str(sweep.storage)]
    monkeypatch.setenv("COLUMNS", "200")
    assert run(command) == 0
    out = capsys.readouterr().out
    assert out.startswith("not confirmed: single trials; the best of 5 is lucky, by how much only")
    assert out.endswith("next: hpo confirm first\n      hpo export first --top 1\n")
    note(sweep, LUCKY)
    assert run(command) == 0
    above, below = capsys.readouterr().out.split("not confirmed: single trials; ")
    assert above.startswith("confirmed: val_mae over fresh seeds\n")
    assert "2.600 ± 0.141" in above
    assert below.startswith("the best of 5 is lucky by about 0.950\n")
    told = "2.600 ± 0.141, 2 seeds, mean within 1.329 to 3.871 (95 %)"
    assert f"; confirmed: {told}, not distinguishable from trial 2\n" in below
    assert "\n   1  first      2 " in above
    assert "\n  =1  first      1 " in above
    assert below.endswith("next: hpo export first --top 1\n")


def test_best_names_what_is_of_no_use(tmp_path: Path, capsys: Output) -> None:
    baselines = {"repeat_last": {"val_mae": 2.5}}
    make_sweep(tmp_path, [record(0, 3.0), record(1, 4.0)], baselines=baselines)
    command = ["best", "--dataset", "small", "--storage", str(tmp_path)]
    assert run([*command, "--format", "json"]) == 0
    assert [row["better_than_last"] for row in json.loads(capsys.readouterr().out)] == [False] * 2
    assert run(command) == 0
    out, err = capsys.readouterr()
    assert out.count("; no better than repeating the last reading, which has 2.500") == 2
    assert "next:" not in out
    assert "note: the best configuration of small is no better than repeating" in err


def test_status_names_the_best_on_fresh_seeds(sweep: SweepFolder, capsys: Output) -> None:
    ledger = Ledger(sweep.ledger_file)
    for number, error in enumerate([3.0, 1.0]):
        ledger.append("suggested", trial=number, settings={"learning_rate": error}, seed=number)
        ended = {"status": "finished", "reason": None, "metrics": {"val_mae": error}}
        ledger.append("ended", trial=number, **ended)
    ledger.close()
    command = ["status", "--storage", str(sweep.storage)]
    assert run(command) == 0
    assert "val_mae 1.000 (one seed)" in capsys.readouterr().out
    assert run([*command, "first"]) == 0
    single = "best single trial: trial 1, val_mae 1.0000, not confirmed; the best of 2 is lucky"
    assert single in capsys.readouterr().out
    note(sweep, LUCKY)
    assert run([*command, "--format", "json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["best_trial"], row["confirmed"]["trial"]) == (1, 2)
    assert run([*command, "first"]) == 0
    line = "trial 2, val_mae 2.300 ± 0.265, 3 seeds, mean within 1.643 to 2.957 (95 %); "
    out = capsys.readouterr().out
    assert f"best on fresh seeds: {line}not distinguishable from it: trial 1\n" in out


@pytest.fixture
def ready(
    sweep: SweepFolder, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> SweepFolder:
    """Confirmed, with students; ONNX itself is tested with ``core.export.export_folder``."""
    stand_in_forecasters(monkeypatch)
    note(sweep, LUCKY)
    make_students(sweep, prepared, [1, 2])
    make_students(sweep.confirmation, prepared, list(range(len(LUCKY))))
    return sweep


def test_the_best_run_of_the_best_mean_is_exported(ready: SweepFolder) -> None:
    told: list[tuple[str, int, int]] = []
    first, second = export_best(ready, 2, confirmed=True, on_student=lambda *one: told.append(one))
    assert told == [("exporting trial 2 of first", 0, 2), ("exporting trial 1 of first", 1, 2)]
    again = export_best(ready, 2, confirmed=True, on_student=lambda *one: told.append(one))
    assert (again, len(told)) == ([first, second], 2), "both are there already"
    assert [first.name, second.name] == ["1-trial-0002-run-0003", "2-trial-0001-run-0000"]
    manifest = read_manifest(first)
    assert manifest["metrics"]["validation"]["val_mae"] == 2.1
    assert manifest["settings"]["seed"] == fresh_seed(ready.read_plan(), 1)
    assert manifest["lineage"]["trial"] == 2
    assert manifest["lineage"]["confirmed"]["run"] == 3
    assert manifest["lineage"]["confirmed"]["mean"] == pytest.approx(2.3)
    spread = manifest["metrics"]["over_seeds"]["val_mae"]
    assert spread["mean"] == pytest.approx(2.3)
    assert spread["spread"] == manifest["lineage"]["confirmed"]["spread"]
    weights = [(path / "model.safetensors").read_bytes() for path in (first, second)]
    assert weights[0] != weights[1]


def test_confirmed_and_unconfirmed_exports_stand_side_by_side(ready: SweepFolder) -> None:
    (single,) = export_best(ready, 1)
    (confirmed,) = export_best(ready, 1, confirmed=True)
    assert [single.name, confirmed.name] == ["1-trial-0001", "1-trial-0002-run-0003"]
    stamp = (confirmed / "manifest.json").stat().st_mtime_ns
    assert export_dataset_best("small", ready.storage, 1, confirmed=True) == [confirmed]
    assert (confirmed / "manifest.json").stat().st_mtime_ns == stamp


def test_export_command_exports_what_is_confirmed(
    ready: SweepFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["export", "first", "--storage", str(ready.storage), "--format", "json"]
    assert run(given) == 0
    out, err = capsys.readouterr()
    assert "confirming" not in err
    (row,) = json.loads(out)
    assert (row["trial"], row["confirmed"]["run"]) == (2, 3)


def test_nothing_confirmed_gives_no_confirmed_export(sweep: SweepFolder) -> None:
    with pytest.raises(ExportError, match="run `hpo confirm first`, or export with --unconfirmed"):
        export_best(sweep, 1, confirmed=True)
