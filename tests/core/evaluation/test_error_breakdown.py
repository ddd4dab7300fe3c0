from __future__ import annotations

import numpy as np
import pytest
import torch

from core.ensemble import Ensemble
from core.evaluation.error_breakdown import hidden_representations, judge
from core.evaluation.forecasting import evaluate
from core.experiments import network_shape, new_network
from core.families import FAMILIES
from core.forms import find_form
from core.preprocessing.prepare import PreparedData, prepare
from tests.oracles.forecasting_oracle import plain_roll_out
from tests.small_students import ROWS_PER_DAY, WINDOWS_PER_DAY, make_dataset, make_student

HISTORY = 12


@pytest.fixture(scope="module", params=["weekdays", "consecutive"])
def data(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    return prepare(make_dataset(tmp_path_factory.mktemp("data") / "small", request.param))


def test_errors_equal_those_of_every_window_by_itself(data: PreparedData) -> None:
    model = make_student(data, seed=3)
    found = judge(model, data, "test")
    rows = found.rows.tolist()
    per_day = 2 * WINDOWS_PER_DAY if data.card.day_kind == "weekdays" else 2 * ROWS_PER_DAY - 14
    assert len(rows) == per_day
    windows = torch.stack([data.readings[row : row + HISTORY] for row in rows])
    plain = data.scaler.unscale(plain_roll_out(model, windows, 3))
    torch.testing.assert_close(found.forecasts, plain, rtol=1e-4, atol=1e-3)

    truth, cells = data.truth.numpy(), []
    for row, forecast in zip(rows, plain.numpy(), strict=True):
        for step in range(3):
            at = row + HISTORY + step
            for sensor in range(5):
                if not np.isnan(truth[at, sensor]):
                    error = abs(float(forecast[step, sensor]) - float(truth[at, sensor]))
                    cells.append((at % ROWS_PER_DAY // 4, step, sensor, error))
    table = np.array(cells)
    for axis, name, size in ((0, "hour", 24), (1, "step", 3), (2, "sensor", 5)):
        for which in range(size):
            errors = table[table[:, axis] == which, 3]
            mae, rmse = found.errors.mae(name)[which], found.errors.rmse(name)[which]
            if len(errors) == 0:
                assert mae.isnan()
                assert rmse.isnan()
                continue
            assert mae.item() == pytest.approx(errors.mean(), rel=1e-4)
            assert rmse.item() == pytest.approx((errors**2).mean() ** 0.5, rel=1e-4)
    late = table[(table[:, 1] == 2) & (table[:, 2] == 4), 3]
    chosen = found.errors.mae("sensor", slice(2, 3))[4]
    assert chosen.item() == pytest.approx(late.mean(), rel=1e-4)


def test_errors_by_step_are_those_of_an_evaluation(data: PreparedData) -> None:
    model = make_student(data)
    by_step, known = judge(model, data, "validation").errors, evaluate(model, data, "validation")
    for step, minutes in enumerate((15, 30, 45)):
        assert by_step.mae("step")[step].item() == pytest.approx(known[f"mae_{minutes}"])
        assert by_step.rmse("step")[step].item() == pytest.approx(known[f"rmse_{minutes}"])


def test_without_a_network_the_last_reading_is_repeated(data: PreparedData) -> None:
    found = judge(None, data, "validation")
    row = found.rows[7].item()
    last = data.scaler.unscale(data.readings[row + HISTORY - 1])
    torch.testing.assert_close(found.forecasts[7], last.expand(3, -1))


def test_hidden_representations_are_the_last_block_of_each_window(data: PreparedData) -> None:
    model, rows = make_student(data), torch.tensor([300, 17])
    found = hidden_representations(model, data, rows)
    for at, row in enumerate(rows.tolist()):
        _, features = model(data.readings[None, None, row : row + HISTORY])
        newest = features.temporal[-1][0, :, -1].flatten()
        torch.testing.assert_close(found[at], newest)
    assert not torch.allclose(found[0], found[1])


def test_networks_of_two_families_have_no_last_block_together(data: PreparedData) -> None:
    form, widths = find_form("direct").network, ((1, 2, 2), (2, 2, 2))
    shapes = [network_shape(data, widths, form, family) for family in FAMILIES]
    both = Ensemble([new_network(shape, data.graph_kernel, seed=0) for shape in shapes])
    assert hidden_representations(both, data, torch.tensor([300, 17])) is None
