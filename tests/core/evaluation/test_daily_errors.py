from __future__ import annotations

import pytest
import torch

from core.evaluation.daily_errors import errors_by_day
from core.evaluation.forecasting import evaluate, repeat_last
from core.preprocessing.prepare import PreparedData, prepare
from tests.oracles.forecasting_oracle import plain_roll_out
from tests.small_students import ROWS_PER_DAY, make_dataset, make_student

HISTORY = 12


@pytest.fixture(scope="module", params=["weekdays", "consecutive"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(make_dataset(tmp_path_factory.mktemp("data") / "small", request.param))


def test_days_add_up_to_the_whole_part(data: PreparedData) -> None:
    model = make_student(data, seed=3)
    for found, whole in (
        (errors_by_day(model, data, "test"), evaluate(model, data, "test")),
        (errors_by_day(None, data, "test"), repeat_last(data, "test")),
    ):
        first, *others = found.values()
        for one in others:
            first.sums = first.sums + one.sums
        assert first.summary() == pytest.approx(whole)


def test_a_window_belongs_to_the_day_that_it_forecasts_first(data: PreparedData) -> None:
    model = make_student(data, seed=3)
    found = errors_by_day(model, data, "test")
    first_day = sum(data.card.split[:2])
    assert sorted(found) == [first_day, first_day + 1]
    rows = torch.cat(
        [torch.arange(one.start, one.stop - HISTORY - 2) for one in data.stretches("test")]
    )
    for day, errors in found.items():
        own = [row for row in rows.tolist() if (row + HISTORY) // ROWS_PER_DAY == day]
        assert errors.windows == len(own)
        windows = torch.stack([data.readings[row : row + HISTORY] for row in own])
        plain = data.scaler.unscale(plain_roll_out(model, windows, 3))
        truth = torch.stack([data.truth[row + HISTORY : row + HISTORY + 3] for row in own])
        naive = (plain - truth).abs().nanmean(dim=(0, 2))
        shown = [errors.summary()[f"mae_{minutes}"] for minutes in (15, 30, 45)]
        assert shown == pytest.approx(naive.tolist(), rel=1e-4)
