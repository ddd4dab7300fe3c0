from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.evaluation.metrics import ForecastErrors
from tests.oracles import forecasting_oracle as oracle

STEPS = {15: 1, 30: 2, 45: 4}


def draw(seed: int, windows: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = np.random.default_rng(seed)
    truth = generator.normal(3, 2, (windows, 4, 3))
    truth[generator.random(truth.shape) < 0.2] = np.nan
    truth[generator.random(truth.shape) < 0.2] = 0.0
    return torch.from_numpy(generator.normal(3, 2, truth.shape)), torch.from_numpy(truth)


@given(seed=st.integers(0, 1000), windows=st.integers(2, 6), cut=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_equals_the_naive_errors_however_split_into_batches(
    seed: int, windows: int, cut: int
) -> None:
    forecast, truth = draw(seed, windows)
    errors = ForecastErrors(list(STEPS), list(STEPS.values()))
    for part in (slice(None, cut), slice(cut, None)):
        errors.add(forecast[part], truth[part])
    naive = oracle.errors(list(forecast.numpy()), list(truth.numpy()), STEPS)
    assert errors.summary() == pytest.approx(naive, rel=1e-12, nan_ok=True)
    assert errors.windows == windows


def test_a_truth_of_zero_counts_but_not_for_mape() -> None:
    errors = ForecastErrors([15], [1])
    errors.add(torch.tensor([[[3.0, 12.0]]]), torch.tensor([[[0.0, 10.0]]]))
    summary = errors.summary()
    assert summary["mae_15"] == 2.5
    assert summary["mape_15"] == pytest.approx(20.0)
    assert summary["rmse_15"] == pytest.approx((13 / 2) ** 0.5)


def test_unknown_truth_counts_for_nothing() -> None:
    errors = ForecastErrors([15], [1])
    errors.add(torch.tensor([[[3.0, 12.0]]]), torch.tensor([[[float("nan"), 10.0]]]))
    assert errors.summary()["mae_15"] == 2.0


def test_nothing_to_judge_gives_nan() -> None:
    errors = ForecastErrors([15], [1])
    errors.add(torch.ones(1, 1, 1), torch.full((1, 1, 1), float("nan")))
    assert np.isnan(list(errors.summary().values())).all()
