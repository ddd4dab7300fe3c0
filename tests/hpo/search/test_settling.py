"""A search that settles: when, on what evidence, over a resume, and how it goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from ray.tune.search import Searcher

import hpo.search.settling
from core.errors import ConfigError, StorageError
from hpo.planning.extending import extend
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_plan import extended_plan
from hpo.records.sweep_state import Settled, SweepState
from hpo.search.ledger_searcher import KnownTrials, LedgerSearcher
from hpo.search.settling import SEEDS, Settling
from hpo.space.search_space import SearchSpace, load_search_space
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import make_sweep, record

pytestmark = pytest.mark.usefixtures("quiet_optuna")

SPACE = """
method: none
parameters:
  batch_size: {type: categorical, choices: [50]}
  learning_rate: {type: float, low: 1.0e-4, high: 1.0, log: true}
"""
FEW = 8


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hpo.search.settling, "FEWEST", FEW)


@pytest.fixture
def space(tmp_path: Path) -> SearchSpace:
    file = tmp_path / "space.yaml"
    file.write_text(SPACE)
    return load_search_space(file)


def searcher(ledger: Ledger, space: SearchSpace, trials: int = 60, **more: Any) -> LedgerSearcher:
    config = SweepConfig("night", "none", "small", trials=trials, stop_when_settled=True)
    return LedgerSearcher(config, space, ledger, "/x", 1, lambda *_: None, **more)


def run(found: LedgerSearcher, trials: int = 1000, noise: float = 0.05) -> int:
    """Play Ray Tune until there is no more; the error depends on rate and seed."""
    for done in range(trials):
        suggested = found.suggest(str(done))
        if suggested == Searcher.FINISHED:
            return done
        assert isinstance(suggested, dict)
        rate, seed = suggested["settings"]["learning_rate"], suggested["seed"]
        wiggle = noise * math.sin(seed)
        last = {"ended": True, "status": "finished", "epoch": 1, "best_epoch": 1, "seconds": 1.0}
        error = 3.0 + (math.log10(rate) + 2) ** 2 / 10 + wiggle
        found.on_trial_complete(str(done), last | {"val_mae": error})
    return trials


def test_it_settles_early_says_why_and_stays_settled(tmp_path: Path, space: SearchSpace) -> None:
    path = tmp_path / "ledger.jsonl"
    ledger = Ledger(path)
    ran = run(searcher(ledger, space))
    assert FEW + SEEDS - 1 <= ran < 60
    settled = read_ledger(path).settled
    assert settled is not None
    assert settled.trials == ran
    assert 0 < settled.bound < settled.spread
    assert settled.seeds >= SEEDS
    ledger.close()
    ledger = Ledger(path)
    assert run(searcher(ledger, space)) == 0
    ledger.close()


def test_the_best_runs_on_further_seeds_once(tmp_path: Path, space: SearchSpace) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    run(searcher(ledger, space), FEW)
    state = ledger.state
    best = state.best("val_mae")
    assert best is not None
    # Over a kill in between.
    run(searcher(ledger, space), 1)
    run(searcher(ledger, space), 2)
    own = [one for one in state.trials.values() if one.settings == best.settings]
    assert len(own) == SEEDS
    assert len({one.seed for one in own}) == SEEDS
    assert list(state.trials)[FEW : FEW + 2] == [one.number for one in own[1:]]
    ledger.close()


def test_without_noise_over_seeds_it_never_settles(tmp_path: Path, space: SearchSpace) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert run(searcher(ledger, space, trials=20), noise=0.0) == 20
    assert ledger.state.settled is None
    ledger.close()


def test_runs_of_a_confirmation_save_the_repeats(tmp_path: Path, space: SearchSpace) -> None:
    other = Ledger(tmp_path / "confirmation.jsonl")
    settings = {"batch_size": 50, "learning_rate": 0.01}
    for number, error in enumerate([3.0, 3.2, 3.4]):
        other.append("suggested", trial=number, settings=settings, seed=number)
        ended = {"status": "finished", "reason": None, "metrics": {"val_mae": error}}
        other.append("ended", trial=number, **ended)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    run(searcher(ledger, space, known=KnownTrials(list(other.state.trials.values()))))
    settled = ledger.state.settled
    assert settled is not None
    assert (settled.spread, settled.seeds) == (pytest.approx(0.2), 3)
    rates = [one.settings["learning_rate"] for one in ledger.state.trials.values()]
    assert len(set(rates)) == len(rates)
    for one in (ledger, other):
        one.close()


def test_a_configuration_that_is_stopped_early_is_not_repeated_for_ever() -> None:
    state = SweepState()
    for number in range(FEW + 6):
        settings = {"learning_rate": 0.01 if number >= FEW - 1 else 0.1 + number / 100}
        event = {"event": "suggested", "trial": number, "settings": settings, "seed": number}
        state.apply(event | {"time": ""})
        status = "finished" if number < FEW else "pruned"
        metrics = {"val_mae": settings["learning_rate"]}
        event = {"event": "ended", "trial": number, "status": status, "metrics": metrics}
        state.apply(event | {"reason": None})
        repeated = Settling("val_mae", {}).to_repeat(state)
        assert (repeated is None) == (not FEW - 1 <= number < FEW + 4)


def test_more_trials_go_on_and_do_not_settle_again(tmp_path: Path, space: SearchSpace) -> None:
    folder = make_sweep(tmp_path, [record(0, 1.0)])
    ledger = Ledger(folder.ledger_file)
    ran = run(searcher(ledger, space))
    ledger.close()
    state = read_ledger(folder.ledger_file)
    plan = folder.read_plan()
    assert extended_plan(plan, state).config.trials == ran
    with pytest.raises(ConfigError, match="can only be raised"):
        extend(folder, ran - 1, state)
    state = extend(folder, ran + 3, state)
    assert (state.settled, state.went_on) == (None, True)
    assert extended_plan(plan, state).config.trials == ran + 3
    ledger = Ledger(folder.ledger_file)
    assert run(searcher(ledger, space, trials=ran + 3)) == 3
    assert ledger.state.settled is None
    with pytest.raises(StorageError, match="does not fit"):
        ledger.append("settled", **vars(Settled(ran + 3, 0.1, 0.2, 3)))
    ledger.close()


def test_it_needs_one_objective() -> None:
    with pytest.raises(ConfigError, match="--stop-when-settled needs one objective, got val_mae,p"):
        SweepConfig("x", "none", "d", objective="val_mae,parameters", stop_when_settled=True)
