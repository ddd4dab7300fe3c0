"""``hpo reproduce`` on a real Ray: killed in the middle, gone on with, and extended by a seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from core.datasets.synthetic import build_synthetic
from hpo.records.trial_records import read_records
from tests.integration.sweeps import events, hpo, start, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
SEARCHES = 15
CLAIMS = 3 + 5 + 4 + 1 + 3


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its ``synthetic`` is as small as may be, with the test days that an interval needs."""
    folder = tmp_path_factory.mktemp("reproduction") / "data"
    build_synthetic(folder / "synthetic", seed=1, num_sensors=4, split=(2, 1, 4))
    return folder


def asked(data: Path, storage: Path, *more: object, table: str = "all") -> list[object]:
    few = ["--seeds", 2, "--trials", 2, "--epochs", 1]
    places = ["--data", data, "--storage", storage]
    return ["reproduce", table, "--dataset", "synthetic", *few, *places, *more]


def ended(storage: Path) -> Counter[tuple[str, int]]:
    """How often each training of each sweep or confirmation ended."""
    folders = [path.parent for path in storage.rglob("ledger.jsonl")]
    return Counter(
        (str(folder), event["trial"])
        for folder in folders
        for event in events(folder)
        if event["event"] == "ended"
    )


def answer(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text)
    return found


def test_all_tables_survive_a_kill(data: Path, tmp_path: Path) -> None:
    storage, log = tmp_path / "runs", tmp_path / "log"
    driver = start(log, *asked(data, storage))
    some = wait_until(lambda: driver.poll() is not None or len(ended(storage)) >= 6)
    assert some, log.read_text()
    assert driver.poll() is None, log.read_text()
    driver.kill()
    driver.wait()
    before = {path: path.read_bytes() for path in storage.rglob("[0-9]*.parquet")}
    assert before

    out = [tmp_path / "r.md", tmp_path / "r.html"]
    files = [part for file in out for part in ("--out", file)]
    done = hpo(*asked(data, storage, *files, "--format", "json"))
    assert done.returncode == 0, done.stderr
    assert {path: path.read_bytes() for path in before} == before
    counts = ended(storage)
    assert set(counts.values()) == {1}
    assert len(counts) == SEARCHES * 4
    check_answer(answer(done.stdout))
    for file in out:
        assert "Table 9" in file.read_text()
    assert "Figures 3 to 5" in out[0].read_text()
    # One teacher and one base, whatever number of sweeps used them.
    assert len(list((storage / "teachers").glob("*/teacher.safetensors"))) == 2

    check_that_nothing_is_left(data, storage, answer(done.stdout))
    check_that_a_seed_can_be_added(data, storage)


def check_answer(found: dict[str, Any]) -> None:
    assert (len(found["rows"]), len(found["claims"]), found["left"]) == (SEARCHES, CLAIMS, 0)
    seeds = {tuple(row["seeds"]) for row in found["rows"].values()}
    assert len(seeds) == 1
    for row in found["rows"].values():
        assert all(0 < errors["mae"] < 30 for errors in row["test"])
    assert {claim["seeds"] for claim in found["claims"]} == {2}
    assert all(claim["interval_over_days"] for claim in found["claims"])
    assert {"teacher", "base", "repeat_last"} == set(found["references"])
    for name in ("ord", "tcd", "scd", "stcd"):
        assert all(0 < share < 1 for share in found["rows"][name]["teacher_share"])


def check_that_nothing_is_left(data: Path, storage: Path, first: dict[str, Any]) -> None:
    """Asked again, nothing is trained or looked at, not even where students are gone."""
    files = {path: path.stat().st_mtime_ns for path in storage.rglob("*.json*")}
    for student in storage.glob("*/confirmation/trials/*/student.safetensors"):
        student.unlink()
    again = hpo(*asked(data, storage, "--format", "json"))
    assert again.returncode == 0, again.stderr
    assert answer(again.stdout)["claims"] == first["claims"]
    assert {path: path.stat().st_mtime_ns for path in storage.rglob("*.json*")} == files


def check_that_a_seed_can_be_added(data: Path, storage: Path) -> None:
    trained = ended(storage)
    more = hpo(*asked(data, storage, "--seeds", 3, "--format", "json", table="8"))
    assert more.returncode == 0, more.stderr
    assert {claim["seeds"] for claim in answer(more.stdout)["claims"]} == {3}
    added = set(ended(storage)) - set(trained)
    assert len(added) == 6
    assert all("confirmation" in folder for folder, _ in added)


def test_the_papers_recipe_trains_its_seeds_alone(data: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    fixed = ["--recipe", "paper", "--epochs", 1, "--seeds", 2]
    places = ["--dataset", "synthetic", "--data", data, "--storage", storage]
    done = hpo("reproduce", "8", *places, *fixed, "--budget", "1h", "--format", "json")
    assert done.returncode == 0, done.stderr
    for row in answer(done.stdout)["rows"].values():
        assert (row["settings"]["optimizer"], row["settings"]["schedule"]) == ("rmsprop", "step")
        assert len(row["test"]) == 2
    sweeps = [folder.parent for folder in storage.glob("*/sweep.json")]
    assert [len(read_records(sweep / "results")) for sweep in sweeps] == [2] * 6
    assert not list(storage.glob("*/confirmation"))


def test_time_that_is_up_leaves_claims_open(data: Path, tmp_path: Path) -> None:
    storage = tmp_path / "runs"
    done = hpo(*asked(data, storage, "--budget", "1s", "--format", "json", table="2"))
    assert done.returncode == 0, done.stderr
    found = answer(done.stdout)
    assert found["left"] > 0
    assert {claim["verdict"] for claim in found["claims"]} == {"open"}
    assert "time is up" in done.stderr
    assert "next: hpo reproduce 2" in done.stderr
