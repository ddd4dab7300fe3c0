"""Spaces of which a trial could not run are refused before training, by the checks of the trial."""

from __future__ import annotations

import contextlib
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError, UserError
from core.preprocessing.prepare import PreparedData
from hpo.planning.places import Places
from hpo.planning.space_checking import SEGMENTS, check_space, segment_lengths
from hpo.planning.sweep_planning import plan_sweep
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import StudentSizes, check_trial

PRUNING = {
    "pruning_ratio": {"type": "categorical", "choices": [0.5]},
    "pruning_interval": {"type": "categorical", "choices": [5]},
    "batch_size": {"type": "categorical", "choices": [50]},
}


def one_of(*values: float) -> dict[str, Any]:
    return {"type": "categorical", "choices": [*values]}


def space_of(method: str, parameters: dict[str, Any]) -> SearchSpace:
    return SearchSpace.from_json({"method": method, "parameters": parameters})


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in PRUNING.items() if key != name}


@pytest.mark.parametrize(
    ("method", "parameters", "line"),
    [
        (
            "none",
            {"windows_per_segment": one_of(5, 60)},
            "with windows_per_segment=60 windows_per_segment must not exceed batch_size = 50, got",
        ),
        (
            "none",
            {"batch_size": one_of(16, 64), "windows_per_segment": one_of(20)},
            "with batch_size=16 windows_per_segment=20 windows_per_segment must not exceed batch_",
        ),
        (
            "none",
            {
                "batch_size": {"type": "int", "low": 8, "high": 64},
                "windows_per_segment": {"type": "int", "low": 1, "high": 9},
            },
            "with batch_size=8 windows_per_segment=9 windows_per_segment must not exceed batch_",
        ),
        (
            "none",
            {"batch_size": one_of(500), "windows_per_segment": one_of(1, 300)},
            "with batch_size=500 windows_per_segment=300 batch_size must not exceed the 0 training",
        ),
        ("ord", {"batch_size": one_of(16)}, "loss ord needs alpha1, which the space does not hold"),
        (
            "prune",
            without("pruning_interval"),
            "pruning_interval must be at least 1, got 0; narrow",
        ),
        (
            "prune",
            without("pruning_ratio"),
            "exactly one of pruning_ratio, target_parameters and share_per_step must be given",
        ),
        (
            "prune",
            {**PRUNING, "pruning_interval": one_of(5, 100)},
            "pruning_interval must not exceed the 11 steps of 1 epochs, got 100",
        ),
    ],
)
def test_a_space_with_a_trial_that_cannot_run_is_refused(
    small_data: Path, tmp_path: Path, method: str, parameters: dict[str, Any], line: str
) -> None:
    loss = {"loss": "none"} if method == "prune" else {}
    config = SweepConfig("night", method, "small", epochs=1, **loss)
    with pytest.raises(UserError) as caught:
        plan_sweep(config, Places(small_data, tmp_path / "runs"), space_of(method, parameters))
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_a_first_point_that_cannot_run_is_refused(prepared: PreparedData) -> None:
    document = {
        "method": "none",
        "parameters": {"windows_per_segment": {"type": "int", "low": 1, "high": 500}},
        "first_points": [{"source": "mine", "values": {"windows_per_segment": 51}}],
    }
    sizes = StudentSizes(SweepConfig("night", "none", "small"), prepared, base=None)
    space = SearchSpace.from_json(document).holding({"windows_per_segment": 50})
    check_space(space, sizes)
    with pytest.raises(ConfigError, match="must not exceed batch_size = 50, got"):
        check_space(SearchSpace.from_json(document), sizes)


@settings(max_examples=60)
@given(
    batches=st.sets(st.integers(1, 600), min_size=1, max_size=3),
    segments=st.sets(st.integers(1, 70), min_size=1, max_size=3),
)
def test_a_space_passes_where_each_of_its_trials_does(
    prepared: PreparedData, batches: set[int], segments: set[int]
) -> None:
    sizes = StudentSizes(SweepConfig("night", "none", "small"), prepared, base=None)
    can_run = True
    for batch, segment in product(batches, segments):
        try:
            check_trial(sizes, {"batch_size": batch, "windows_per_segment": segment})
        except ConfigError:
            can_run = False
    parameters = {"batch_size": one_of(*batches), "windows_per_segment": one_of(*segments)}
    refused = contextlib.nullcontext() if can_run else pytest.raises(ConfigError)
    with refused:
        check_space(space_of("none", parameters), sizes)


@pytest.mark.parametrize(("low", "high"), [(1, 2), (1, 16), (1, 17), (3, 400)], ids=str)
def test_a_range_of_segments_is_judged_from_end_to_end(low: int, high: int) -> None:
    span = {"type": "int", "low": low, "high": high}
    lengths = segment_lengths(space_of("none", {"windows_per_segment": span}))
    assert (lengths[0], lengths[-1]) == (low, high)
    assert lengths == sorted(set(lengths))
    assert len(lengths) == high - low + 1 if high <= SEGMENTS else len(lengths) <= 2 * SEGMENTS
