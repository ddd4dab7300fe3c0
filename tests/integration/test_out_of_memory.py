"""Trials that run out of a simulated GPU's memory on a real Ray are tried with a larger share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

import hpo.driver.ray_tune
from hpo.cli.display.progress.sweep_display import SweepDisplay
from hpo.planning.places import Places
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.trial_records import TrialRecord
from hpo.space.search_space import SearchSpace, load_search_space
from hpo.sweep import resume_sweep, run_sweep
from hpo.sweep_config import SweepConfig
from tests.integration.sweeps import events
from tests.memory_probes import run_hungry_trial

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPACE = """
method: none
parameters:
  batch_size: {type: categorical, choices: [30, 50]}
  learning_rate: {type: float, low: 0.001, high: 0.02, log: true}
first_points:
  - {source: hungry, values: {batch_size: 50, learning_rate: 0.01}}
  - {source: modest, values: {batch_size: 30, learning_rate: 0.01}}
"""


@pytest.fixture(scope="module", autouse=True)
def one_gpu() -> Iterator[None]:
    """A Ray that believes in one GPU."""
    ray.init(
        address="local",
        num_cpus=4,
        num_gpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield
    ray.shutdown()


@pytest.fixture(autouse=True)
def hungry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpo.driver.ray_tune, "run_trial", run_hungry_trial)


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path: Path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    return load_search_space(path)


def ended(records: list[TrialRecord]) -> list[tuple[int, str]]:
    return [(record.trial, record.status) for record in records]


def test_it_is_tried_again_with_twice_the_share_when_the_others_have_ended(
    places: Places, space: SearchSpace, capsys: pytest.CaptureFixture[str]
) -> None:
    config = SweepConfig("hungry", "none", "small", trials=2, epochs=1, gpus_per_trial=0.125)
    with SweepDisplay() as display:
        records = run_sweep(config, places, space, display)
    assert ended(records) == [(0, "finished"), (1, "finished")]
    found = events(places.storage.resolve() / "hungry")
    shares = [one["gpus_per_trial"] for one in found if one["event"] == "outgrown"]
    assert shares == [0.125, 0.25]
    order = [(one["event"], one.get("trial")) for one in found]
    assert order.index(("ended", 1)) < order.index(("ended", 0))
    said = capsys.readouterr().err
    assert "trial 0 ran out of memory with 0.125 of a GPU; it is tried again with 0.25" in said
    assert read_ledger(SweepFolder(places.storage.resolve() / "hungry").ledger_file).outgrown == {}


def test_a_whole_gpu_is_the_most_there_is(
    places: Places, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = SweepConfig("whole", "none", "small", trials=2, epochs=1, gpus_per_trial=0.4)
    assert ended(run_sweep(config, places, space)) == [(0, "finished"), (1, "finished")]
    # An extended sweep begins with the share that its user gave.
    assert len(resume_sweep("whole", places, trials=3)) == 3
