"""A sweep's settings: what cannot run is refused in one line, JSON leads there and back."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, UnknownNameError
from hpo.space.objectives import OBJECTIVES
from hpo.sweep_config import SweepConfig

NEEDED = {"name": "night", "method": "ord", "dataset": "synthetic"}

configs = st.builds(
    SweepConfig,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", fullmatch=True),
    method=st.text(max_size=10),
    dataset=st.text(max_size=10),
    trials=st.integers(1, 10**6),
    epochs=st.integers(1, 10**6),
    sampler=st.text(max_size=10),
    objective=st.sampled_from(OBJECTIVES),
    seed=st.integers(0, 2**32 - 1),
    teacher=st.none() | st.text(max_size=16),
    gpus_per_trial=st.none() | st.just("auto") | st.floats(0, 1) | st.integers(2, 8).map(float),
    max_concurrent=st.none() | st.integers(1, 100),
    pairs=st.none() | st.integers(1, 10**6),
    cuda_graphs=st.booleans(),
)


@given(config=configs)
def test_json_leads_there_and_back(config: SweepConfig) -> None:
    assert SweepConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_objectives_are_the_means_and_every_horizon() -> None:
    expected = {
        f"val_{metric}{horizon}"
        for metric in ("mae", "mape", "rmse")
        for horizon in ("", "_15", "_30", "_45")
    }
    assert set(OBJECTIVES) == expected
    assert SweepConfig(**NEEDED).objective == "val_mae"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"trials": 0}, r"--trials must be at least 1, got 0"),
        ({"epochs": -3}, r"--epochs must be at least 1, got -3"),
        ({"cpus_per_trial": 0}, r"--cpus-per-trial must be at least 1, got 0"),
        ({"max_concurrent": 0}, r"--max-concurrent must be at least 1, got 0"),
        ({"pairs": 0}, r"--pairs must be at least 1, got 0"),
        ({"seed": -1}, r"--seed must be from 0 to 4294967295, got -1"),
        ({"seed": 2**32}, r"--seed must be from 0 to 4294967295, got 4294967296"),
        ({"gpus_per_trial": -1.0}, r"--gpus-per-trial must be auto, or not negative .*got -1\.0"),
        ({"gpus_per_trial": math.nan}, r"--gpus-per-trial must be auto, or not negative .*got nan"),
        ({"gpus_per_trial": math.inf}, r"--gpus-per-trial must be .*infinite, got inf"),
        ({"gpus_per_trial": 1.5}, r"at most 1 or a whole number, got 1\.5; a trial cannot share"),
        ({"name": "../night"}, r"a sweep name must start .*got '\.\./night'; choose another"),
        ({"name": ""}, r"a sweep name must start .*got ''"),
        ({"name": ".hidden"}, r"got '\.hidden'"),
        ({"name": "a/b"}, r"got 'a/b'"),
        ({"name": "a\n"}, r"got 'a\\n'"),
        ({"name": "x" * 81}, r"at most 80 letters"),
        ({"objective": "val_mea"}, r"unknown objective 'val_mea'; did you mean 'val_mae'\?"),
        ({"objective": "test_mae"}, r"unknown objective 'test_mae'"),
        ({"method": "prune", "cuda_graphs": True}, r"--cuda-graphs .* which prune changes; leave"),
    ],
)
def test_what_cannot_run_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigError, UnknownNameError), match=message) as caught:
        SweepConfig(**{**NEEDED, **wrong})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("gpus", [0, 0.0, 0.3, 1, 1.0, 2.0, 8])
def test_shares_of_a_gpu_and_whole_gpus_are_fine(gpus: float) -> None:
    assert SweepConfig(**NEEDED, gpus_per_trial=gpus).gpus_per_trial == gpus


def test_unknown_and_missing_keys_are_errors() -> None:
    with pytest.raises(UnknownNameError, match=r"sweep setting 'trails'; did you mean 'trials'\?"):
        SweepConfig.from_json({**NEEDED, "trails": 3})
    with pytest.raises(ConfigError, match="needs name, method and dataset"):
        SweepConfig.from_json({"name": "night"})
