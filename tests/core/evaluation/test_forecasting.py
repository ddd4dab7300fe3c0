from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import ConfigError
from core.evaluation.forecasting import WINDOWS_PER_PASS, evaluate, repeat_last, roll_out
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STGCN, STGCNConfig
from tests.core.small_networks import each_mixture
from tests.oracles import forecasting_oracle as oracle
from tests.small_students import ROWS_PER_DAY, WINDOWS_PER_DAY, make_dataset, make_student

STEPS = {15: 1, 30: 2, 45: 3}


@pytest.fixture(scope="module", params=["weekdays", "consecutive"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(make_dataset(tmp_path_factory.mktemp("data") / "small", request.param))


def windows_of(data: PreparedData) -> list[int]:
    """First rows of the test windows: days 4 and 5, apart or as one."""
    first, rows = 4 * ROWS_PER_DAY, 2 * ROWS_PER_DAY
    if data.card.day_kind == "consecutive":
        return list(range(first, first + rows - 14))
    second = first + ROWS_PER_DAY
    return [*range(first, first + WINDOWS_PER_DAY), *range(second, second + WINDOWS_PER_DAY)]


def truths_of(data: PreparedData) -> list[oracle.Array]:
    truth = data.truth.double().numpy()
    return [truth[row + 12 : row + 15] for row in windows_of(data)]


@each_mixture
@pytest.mark.parametrize(
    ("temporal_kernel_size", "history_steps", "channels"),
    [
        (3, 12, ((1, 2, 4), (4, 2, 8))),
        (3, 9, ((1, 2, 4), (4, 3, 2))),  # an output kernel of one step
        (1, 4, ((1, 3, 2),)),  # layers that look back at nothing
        (2, 5, ((1, 3, 2), (2, 2, 3))),
    ],
)
def test_roll_out_equals_that_of_every_window_by_itself(
    temporal_kernel_size: int,
    history_steps: int,
    channels: tuple[tuple[int, int, int], ...],
    mixture: dict[str, Any],
) -> None:
    torch.manual_seed(3)
    shape = 4, channels, history_steps, temporal_kernel_size, 2
    config = STGCNConfig(*shape, **{**mixture, "horizon_steps": 9})
    kernel = torch.stack([torch.eye(4), torch.randn(4, 4) / 4])
    model = STGCN(config, kernel.double()).double()
    readings = torch.randn(20, 4, dtype=torch.float64)
    missing = torch.randint(2, (20, 4), dtype=torch.float64)
    found = roll_out(model, readings, steps=7, missing=missing)
    channels_of = torch.stack([readings, missing])[: config.input_channels]
    windows = channels_of.unfold(1, history_steps, 1).permute(1, 0, 3, 2)
    assert len(windows) == 20 - history_steps + 1
    expected = oracle.plain_roll_out(model, windows, 7)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_a_horizon_head_forecasts_no_further_than_it_predicts() -> None:
    config = STGCNConfig(3, ((1, 2, 4), (4, 2, 8)), chebyshev_order=1, head="horizon")
    model = STGCN(config, torch.eye(3)[None])
    assert roll_out(model, torch.randn(14, 3), steps=9).shape == (3, 9, 3)
    text = "no more than the 9 steps it predicts, got 10; ask for fewer"
    with pytest.raises(ConfigError, match=text):
        roll_out(model, torch.randn(14, 3), steps=10)


def test_one_window_is_enough() -> None:
    config = STGCNConfig(3, ((1, 2, 4), (4, 2, 8)), chebyshev_order=1)
    model = STGCN(config, torch.eye(3)[None])
    assert roll_out(model, torch.randn(12, 3), steps=9).shape == (1, 9, 3)


@pytest.mark.parametrize("form", FORMS)
def test_evaluate_equals_the_naive_errors(data: PreparedData, form: str) -> None:
    model = make_student(data, form=form)
    windows = torch.stack([data.readings[row : row + 12] for row in windows_of(data)])
    forecasts = data.scaler.unscale(oracle.plain_roll_out(model, windows, 3)).double().numpy()
    naive = oracle.errors(list(forecasts), truths_of(data), STEPS)
    assert np.isnan(np.stack(truths_of(data))).any()
    assert evaluate(model, data, "test") == pytest.approx(naive, rel=1e-5)


def test_repeat_last_equals_the_naive_errors(data: PreparedData) -> None:
    filled = data.scaler.unscale(data.readings).double().numpy()
    forecasts = [np.repeat(filled[None, row + 11], 3, axis=0) for row in windows_of(data)]
    naive = oracle.errors(forecasts, truths_of(data), STEPS)
    assert repeat_last(data, "test") == pytest.approx(naive, rel=1e-6)


def test_batches_of_windows_change_nothing(
    data: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make_student(data, seed=1)
    whole = evaluate(model, data, "test")
    monkeypatch.setitem(WINDOWS_PER_PASS, "cpu", 37)
    assert evaluate(model, data, "test") == pytest.approx(whole, rel=1e-5)


def test_parts_are_judged_apart(tmp_path: Path) -> None:
    data = prepare(make_dataset(tmp_path / "small"))
    data.truth[4 * ROWS_PER_DAY :] = float("nan")
    assert np.isnan(repeat_last(data, "test")["mae"])
    assert repeat_last(data, "validation")["mae"] > 0
