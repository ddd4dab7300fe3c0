"""An exported ASTGCN: every file against PyTorch, whole and pruned, and what a live state holds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.evaluation.forecasting import evaluate, roll_out
from core.experiments import network_shape, new_network
from core.export.evaluate import evaluate_export
from core.export.export_folder import export_student, open_export
from core.export.live_forecaster import LiveForecaster
from core.export.manifest import FORECASTERS
from core.export.verify import verify_export
from core.families.astgcn import ASTGCN, ASTGCNConfig
from core.forecasters.gap_filling import GapFilling
from core.forecasters.modules import Forecaster, LiveStep, new_state, state_rows
from core.forms import FORMS
from core.preprocessing.prepare import prepare
from core.preprocessing.scaling import Scaler
from core.pruning.shrinking import shrink
from tests.core.small_networks import random_astgcn
from tests.small_exports import FACTS
from tests.small_students import ROWS_PER_DAY, make_dataset

SCALER = Scaler(55.0, 12.0)
FILLING = GapFilling(usual=torch.full((5,), 50.0), limit_steps=2)
each_mask = pytest.mark.parametrize("mask", [False, True])


def small(*, mask: bool) -> ASTGCN:
    config = ASTGCNConfig(5, ((1, 2, 3), (3, 2, 2)), 12, horizon_steps=3, missing_mask=mask)
    return random_astgcn(config).float()


@each_mask
def test_forecasters_in_pytorch_forecast_as_the_network(mask):
    model, readings = small(mask=mask), torch.randn(16, 5)
    wanted = SCALER.unscale(roll_out(model, readings, 3))
    measured = SCALER.unscale(readings)
    step, state = LiveStep(model, SCALER, FILLING), new_state(model)
    with torch.inference_mode():
        windows = measured.unfold(0, 12, 1).transpose(1, 2)
        forecast = Forecaster(model, SCALER, 3, FILLING)(windows)
        torch.testing.assert_close(forecast, wanted, rtol=1e-4, atol=1e-3)
        for row, reading in enumerate(measured):
            newest, _, state, added, _ = step(reading, state)
            live = (SCALER.unscale(newest) + added)[0]
            if row < 11:
                assert live.isnan().all()
            else:
                torch.testing.assert_close(live, wanted[row - 11], rtol=1e-4, atol=1e-3)


@each_mask
def test_a_live_state_is_the_window_before_the_newest_row(mask):
    model = small(mask=mask)
    (rows,) = state_rows(model)
    assert (rows.layer, rows.first, rows.steps, rows.channels) == ("input", 0, 11, 1 + mask)
    assert new_state(model).shape == (11 * (1 + mask) + 3, 5)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("pruned", [False, True])
def test_an_export_is_written_verified_evaluated_and_fed_live(pruned, tmp_path):
    dataset = make_dataset(tmp_path / "small")
    data = prepare(dataset)
    shape = network_shape(data, ((1, 3, 6), (6, 3, 8)), FORMS["direct"].network, "astgcn")
    model = new_network(shape, data.graph_kernel, seed=0)
    with torch.no_grad():  # so that the skip does not hide the rest
        model.head.mul_(20)
    if pruned:
        model = shrink(model, ((1, 2), (0, 2, 3, 5), (1, 2), (0, 1, 3, 4, 6)))
    folder = tmp_path / "export"
    manifest = export_student(folder, model, data, dataset.adjacency, FACTS)
    assert manifest["network"]["family"] == "astgcn"
    assert manifest["parameters"] == model.config.parameters
    assert "A student ASTGCN of" in (folder / "README.md").read_text()
    export = open_export(folder)
    assert export.model.config == model.config
    assert set(verify_export(folder).parity) == set(FORECASTERS)
    wanted = evaluate(model, data, "test")
    found = evaluate_export(export, dataset.readings, (4, 5))
    assert found["mae"]["45"] == pytest.approx(wanted["mae_45"], rel=1e-6)
    live, day = LiveForecaster(export), data.readings[:ROWS_PER_DAY]
    pushed = [live.push(row) for row in data.scaler.unscale(day).numpy()]
    assert pushed[:11] == [None] * 11
    forecasts = data.scaler.unscale(roll_out(model, day, 3)).numpy()
    np.testing.assert_allclose(np.stack(pushed[11:]), forecasts, atol=1e-3)
