"""A sweep on a real Ray that settles: it ends early, says so, stays ended and goes on if asked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import hpo.search.settling
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from tests.integration.sweeps import local_ray

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SPACE = """
method: none
parameters:
  batch_size: {type: categorical, choices: [50]}
  learning_rate: {type: float, low: 0.009, high: 0.011, log: true}
"""
"""All are alike, so another seed changes more than any choice."""


@pytest.fixture(autouse=True)
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(hpo.search.settling, "FEWEST", 4)
    with local_ray():
        yield


def test_a_settled_sweep_ends_says_so_and_goes_on(
    places: Places, traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text(SPACE)
    storage = ["--storage", str(places.storage)]
    begin = ["sweep", "none", "--dataset", "small", "--trials", "40", "--epochs", "1"]
    begin += ["--name", "early", "--space", str(space), "--data", str(traffic), *storage]
    assert run([*begin, "--stop-when-settled"]) == 0
    assert "settled after " in capsys.readouterr().err
    ledger = SweepFolder(places.storage.resolve() / "early").ledger_file
    settled = read_ledger(ledger).settled
    assert settled is not None
    assert 6 <= settled.trials < 40

    assert run(["status", "early", *storage]) == 0
    out = capsys.readouterr().out
    assert f"early is complete: {settled.trials} of {settled.trials} trials ended" in out
    assert f"settled after {settled.trials} trials: more could lower val_mae by at most" in out
    before = ledger.read_bytes()
    assert run(["resume", "early", *storage]) == 0
    assert ledger.read_bytes() == before
    assert "time is up" not in capsys.readouterr().err

    more = settled.trials + 2
    assert run(["resume", "early", "--trials", str(more), *storage]) == 0
    capsys.readouterr()
    assert run(["status", "early", "--format", "json", *storage]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["state"], answer["trials"], answer["finished"]) == ("complete", more, more)
    assert answer["settled"] is None
