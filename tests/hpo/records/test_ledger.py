"""The ledger: read as it was written; a crash costs a line at most; contradictions are refused."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import StorageError
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_state import ENDED_STATUSES, SweepState

Step = tuple[str, dict[str, Any]]
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

numbers = st.floats(allow_nan=False, allow_infinity=False)
metrics = st.dictionaries(st.sampled_from(["val_mae", "val_mae_15", "train_loss"]), numbers)
setting_values = st.one_of(numbers, st.integers(-(2**53), 2**53), st.text(max_size=8))
trial_settings = st.dictionaries(st.text(min_size=1, max_size=8), setting_values, max_size=4)


@st.composite
def histories(draw: st.DrawFn) -> list[Step]:
    """Events as a sweep of several trials at once writes them."""
    steps: list[Step] = []
    running: dict[int, int] = {}
    suggested = 0
    for _ in range(draw(st.integers(0, 15))):
        kind = draw(st.sampled_from(["suggested", "epoch", "epoch", "ended"]))
        if kind == "suggested" or not running:
            fields = {"settings": draw(trial_settings), "seed": draw(st.integers(0, 2**31))}
            steps.append(("suggested", {"trial": suggested, **fields}))
            running[suggested] = 0
            suggested += 1
            continue
        trial = draw(st.sampled_from(sorted(running)))
        if kind == "epoch":
            running[trial] += draw(st.integers(1, 2))  # a crash may lose the report of an epoch
            fields = {"epoch": running[trial], "metrics": draw(metrics)}
        else:
            del running[trial]
            fields = {"status": draw(st.sampled_from(ENDED_STATUSES)), "metrics": draw(metrics)}
            fields["reason"] = draw(st.none() | st.text(max_size=20))
        steps.append((kind, {"trial": trial, **fields}))
    return steps


def told(steps: list[Step]) -> dict[int, dict[str, Any]]:
    """A naive account of the same events."""
    trials: dict[int, dict[str, Any]] = {}
    for kind, fields in steps:
        if kind == "suggested":
            fresh = {"status": "running", "history": {}, "metrics": {}, "reason": None}
            trials[fields["trial"]] = fresh | {key: fields[key] for key in ("settings", "seed")}
        elif kind == "epoch":
            trials[fields["trial"]]["history"][fields["epoch"]] = fields["metrics"]
        else:
            ending = {key: fields[key] for key in ("status", "metrics", "reason")}
            trials[fields["trial"]].update(ending)
    return trials


def seen(state: SweepState) -> dict[int, dict[str, Any]]:
    keys = ("status", "history", "metrics", "reason", "settings", "seed")
    return {
        number: {key: getattr(trial, key) for key in keys} for number, trial in state.trials.items()
    }


def write(path: Path, steps: list[Step]) -> SweepState:
    ledger = Ledger(path)
    for kind, fields in steps:
        ledger.append(kind, **fields)
    ledger.close()
    return ledger.state


@pytest.fixture(scope="module", autouse=True)
def without_waiting_for_the_disk():
    """Hypothesis writes thousands of lines; one test of its own sees to ``fsync``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hpo.records.ledger.os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledgers")


@unhurried
@given(steps=histories())
def test_any_history_is_read_as_it_was_written(folder: Path, steps: list[Step]) -> None:
    path = folder / "whole.jsonl"
    path.unlink(missing_ok=True)
    state = write(path, steps)
    assert seen(state) == told(steps)
    again = read_ledger(path)
    assert again == state
    ended = [fields["status"] for kind, fields in steps if kind == "ended"]
    assert again.num_ended == sum(status != "infeasible" for status in ended)
    begun = sum(kind == "suggested" for kind, _ in steps)
    assert again.num_begun == begun - ended.count("infeasible")


@unhurried
@given(steps=histories(), where=st.floats(0, 1), more=st.booleans())
def test_a_cut_anywhere_loses_at_most_the_last_line(
    folder: Path, steps: list[Step], where: float, more: bool
) -> None:
    path = folder / "cut.jsonl"
    path.unlink(missing_ok=True)
    write(path, steps)
    content = path.read_bytes()
    cut = round(where * len(content))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    assert seen(read_ledger(path)) == told(steps[:whole])
    assert path.read_bytes() == content[:cut]  # a reader mends nothing

    rest = steps[whole:] if more else []
    state = write(path, rest)
    assert seen(state) == told(steps[:whole] + rest)
    assert read_ledger(path) == state
    assert path.read_bytes().count(b"\n") == whole + len(rest)
    assert path.read_bytes()[-1:] in {b"", b"\n"}


def test_every_single_cut_of_one_ledger(tmp_path: Path) -> None:
    steps: list[Step] = [
        ("suggested", {"trial": 0, "settings": {"straße": "\n\r\u2028"}, "seed": 1}),
        ("epoch", {"trial": 0, "epoch": 1, "metrics": {"val_mae": 3.5}}),
        ("ended", {"trial": 0, "status": "failed", "metrics": {}, "reason": "line\nbreak"}),
    ]
    path = tmp_path / "ledger.jsonl"
    write(path, steps)
    content = path.read_bytes()
    assert content.count(b"\n") == 3
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = content[:cut].count(b"\n")
        assert seen(write(path, steps[whole:])) == told(steps), cut


SUGGESTED: Step = ("suggested", {"trial": 0, "settings": {"a": 1}, "seed": 5})
EPOCH: Step = ("epoch", {"trial": 0, "epoch": 1, "metrics": {"val_mae": 2.0}})
ENDED: Step = ("ended", {"trial": 0, "status": "finished", "metrics": {}, "reason": None})


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ([], EPOCH),
        ([], ENDED),
        ([], ("suggested", {"trial": 1, "settings": {}, "seed": 5})),
        ([], ("suggested", {"trial": 0, "seed": 5})),
        ([SUGGESTED], SUGGESTED),
        ([SUGGESTED], ("suggested", {"trial": 0, "settings": {"a": 2}, "seed": 5})),
        ([SUGGESTED], ("begun", {"trial": 0})),
        ([SUGGESTED], ("ended", ENDED[1] | {"status": "running"})),
        ([SUGGESTED], ("ended", ENDED[1] | {"status": "perfect"})),
        ([SUGGESTED], ("ended", {"trial": 0, "status": "finished", "metrics": {}})),
        ([SUGGESTED], ("epoch", EPOCH[1] | {"trial": [0]})),
        ([SUGGESTED, EPOCH], EPOCH),
        ([SUGGESTED, ENDED], ENDED),
        ([SUGGESTED, ENDED], EPOCH),
        ([SUGGESTED, ENDED], SUGGESTED),
    ],
)
def test_a_contradiction_is_refused_and_leaves_no_trace(
    tmp_path: Path, before: list[Step], wrong: Step
) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, before)
    content = path.read_bytes()
    ledger = Ledger(path)
    with pytest.raises(StorageError, match="does not fit the ones before"):
        ledger.append(wrong[0], **wrong[1])
    assert seen(ledger.state) == told(before)
    ledger.close()
    assert path.read_bytes() == content
    # The same from a file that somebody edited.
    path.write_bytes(content + json.dumps({"event": wrong[0], **wrong[1]}).encode() + b"\n")
    with pytest.raises(StorageError, match="restore the ledger from a copy"):
        read_ledger(path)


@pytest.mark.parametrize("line", [b"{", b"nonsense", b"\xff\xfe{}", b"\x00", b"{'a': 1}"])
def test_a_damaged_whole_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    write(path, [SUGGESTED])
    path.write_bytes(path.read_bytes() + line + b"\n")
    for opened in (read_ledger, Ledger):
        with pytest.raises(StorageError, match=r"line 2 of .*ledger\.jsonl must be JSON, got b"):
            opened(path)


@pytest.mark.parametrize("line", [b"[]", b"7", b"null", b'"event"', b"{}", b'{"event": []}'])
def test_json_that_is_no_event_is_refused(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(line + b"\n")
    with pytest.raises(StorageError, match="does not fit"):
        read_ledger(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_cannot_hold_is_not_written(tmp_path: Path, value: float) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ledger.append(SUGGESTED[0], **SUGGESTED[1])
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append("epoch", trial=0, epoch=1, metrics={"val_mae": value})
    ledger.close()
    assert seen(read_ledger(path)) == told([SUGGESTED])


def test_an_event_is_on_the_disk_before_anybody_hears_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.jsonl"
    happened: list[str] = []

    def fsync(handle: int) -> None:
        assert os.fstat(handle).st_ino == path.stat().st_ino
        lines = path.read_bytes().count(b"\n")
        happened.append(f"synced {lines}")

    monkeypatch.setattr("hpo.records.ledger.os.fsync", fsync)
    ledger = Ledger(path, lambda state: happened.append(f"told {len(state.trials)}"))
    ledger.append(SUGGESTED[0], **SUGGESTED[1])
    ledger.append(EPOCH[0], **EPOCH[1])
    ledger.close()
    assert happened == ["synced 1", "told 1", "synced 2", "told 1"]


def test_it_is_read_while_another_writes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    done = threading.Event()

    def drive() -> None:
        ledger = Ledger(path)
        for trial in range(200):
            ledger.append("suggested", trial=trial, settings={"text": "x" * 500}, seed=trial)
            ledger.append("ended", trial=trial, status="pruned", metrics={}, reason=None)
        ledger.close()
        done.set()

    writer = threading.Thread(target=drive)
    writer.start()
    counts, finished = [], False
    while not finished:
        finished = done.is_set()  # before reading: the last read sees all
        state = read_ledger(path)
        counts.append(len(state.trials))
        assert len(state.trials) - state.num_ended in {0, 1}
    writer.join()
    assert counts == sorted(counts)
    assert counts[-1] == 200


def test_a_missing_ledger_tells_of_no_trial(tmp_path: Path) -> None:
    assert read_ledger(tmp_path / "none.jsonl") == SweepState()
    assert not (tmp_path / "none.jsonl").exists()


def test_the_best_trial_is_the_finished_one_with_the_least_error(tmp_path: Path) -> None:
    errors = {0: ("finished", 3.0), 1: ("pruned", 1.0), 2: ("finished", 2.0), 3: ("failed", 0.0)}
    steps: list[Step] = []
    for trial, (status, error) in errors.items():
        steps.append(("suggested", {"trial": trial, "settings": {}, "seed": 0}))
        ending = {"status": status, "metrics": {"val_mae": error}, "reason": None}
        steps.append(("ended", {"trial": trial, **ending}))
    steps.append(("suggested", {"trial": 4, "settings": {}, "seed": 0}))
    state = write(tmp_path / "ledger.jsonl", steps)
    best = state.best("val_mae")
    assert best is not None
    assert best.number == 2
    assert [trial.number for trial in state.with_status("finished", "running")] == [0, 2, 4]
    assert state.num_ended == 4
    assert SweepState().best("val_mae") is None
