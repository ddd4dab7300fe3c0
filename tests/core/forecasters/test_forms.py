"""Forecasters of every form of a network against PyTorch, and how much of the network they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from core.errors import ConfigError
from core.evaluation.forecasting import evaluate, roll_out
from core.export.evaluate import evaluate_export
from core.export.export_folder import StudentFacts, export_student, make_forecasters, open_export
from core.export.live_forecaster import LiveForecaster
from core.export.manifest import FORECASTERS
from core.export.verify import verify_export
from core.forecasters.gap_filling import GapFilling
from core.forecasters.modules import Forecaster, LiveStep, NextStep, continue_forecast, new_state
from core.forecasters.onnx_export import to_onnx
from core.forecasters.parity import measure_parity, synthetic_stretches
from core.preprocessing.prepare import prepare
from core.preprocessing.scaling import Scaler
from core.pruning.shrinking import shrink
from core.stgcn import STGCN, STGCNConfig
from tests.core.small_networks import MIXTURES, TWO_BLOCKS, each_mixture, random_network
from tests.small_students import LINEAGE, ROWS_PER_DAY, make_dataset, make_student

SCALER = Scaler(55.0, 12.0)
FILLING = GapFilling(usual=torch.full((5,), 50.0), limit_steps=2)
WIDTHS = np.ones((3, 5), dtype=np.float32)


def small(**form: Any) -> STGCN:
    return random_network(STGCNConfig(5, TWO_BLOCKS, **form)).float()


def windows_of(readings: torch.Tensor) -> torch.Tensor:
    return readings.unfold(0, 12, 1).transpose(1, 2)


@each_mixture
def test_forecasters_in_pytorch_forecast_as_the_roll_out(mixture: dict[str, Any]) -> None:
    model = small(**mixture)
    readings = torch.randn(20, 5)
    wanted = SCALER.unscale(roll_out(model, readings, 3))
    measured = SCALER.unscale(readings)
    step, following, state = LiveStep(model, SCALER, FILLING), NextStep(model), new_state(model)
    with torch.inference_mode():
        forecast = Forecaster(model, SCALER, 3, FILLING)(windows_of(measured))
        torch.testing.assert_close(forecast, wanted, rtol=1e-4, atol=1e-3)
        for row, reading in enumerate(measured):
            newest, tails, state, added, _ = step(reading, state)
            live = SCALER.unscale(continue_forecast(following, newest, tails, 3) + added)[0]
            if row < 11:
                assert live.isnan().all()
            else:
                torch.testing.assert_close(live, wanted[row - 11], rtol=1e-4, atol=1e-3)


def parts_of_direct(mixture: dict[str, Any]) -> int:
    """How many of head, skip and norm are those of the direct form."""
    return (mixture["head"] == "horizon") + mixture["skip"] + (mixture["norm"] == "low_rank")


PAIRS = [one for one in MIXTURES if parts_of_direct(one) % 2 == 0 or "missing_mask" in one]
"""Head, skip and norm in every pair; files of all three together would take minutes to write."""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("mixture", PAIRS, ids=lambda one: "-".join(map(str, one.values())))
def test_every_file_of_a_mixture_forecasts_what_pytorch_does(mixture: dict[str, Any]) -> None:
    check_files(mixture)


@pytest.mark.timeout(600)
def test_every_file_forecasts_what_pytorch_does() -> None:
    check_files({"skip": True, "norm": "low_rank", "sensor_rank": 2, "missing_mask": True})


def check_files(form: dict[str, Any]) -> None:
    model = small(**form)
    files = make_forecasters(model, SCALER, 3, FILLING, WIDTHS)
    found = dict(measure_parity(files, model, SCALER, 3, synthetic_stretches(12, 5)))
    assert set(found) == set(FORECASTERS)
    assert all(one.holds for one in found.values())
    passes = 1 if model.config.head == "horizon" else 3
    for name in ("model.onnx", "live.onnx"):
        nodes = onnx.load_from_string(files[name]).graph.node
        # Three gates and the last layer of each pass over the network.
        assert sum(node.op_type == "Sigmoid" for node in nodes) == 4 * passes


def test_a_forecaster_in_pytorch_gives_the_first_of_its_steps() -> None:
    model = small(head="horizon", skip=True, horizon_steps=4)
    readings = SCALER.unscale(torch.randn(14, 5))
    windows = windows_of(readings)
    wanted = SCALER.unscale(roll_out(model, SCALER.scale(readings), 2))
    with torch.inference_mode():
        torch.testing.assert_close(Forecaster(model, SCALER, 2, FILLING)(windows), wanted)
        with pytest.raises(ConfigError, match="no more than the 4 steps it predicts, got 5"):
            Forecaster(model, SCALER, 5, FILLING)(windows)


def test_a_horizon_is_exported_whole() -> None:
    with pytest.raises(ConfigError, match="exported with the 4 steps it predicts, got 3"):
        to_onnx(small(head="horizon", horizon_steps=4), SCALER, 3, FILLING, WIDTHS)


@pytest.mark.timeout(600)
def test_a_pruned_direct_student_is_exported_verified_and_fed_live(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "small")
    data = prepare(dataset)
    student = make_student(data, form="direct")
    model = shrink(student, student.config.with_widths([1, 2, 3, 2, 1, 5, 6, 4]).kept_channels)
    facts = StudentFacts({"method": "stcd"}, {}, LINEAGE)
    manifest = export_student(tmp_path / "export", model, data, dataset.adjacency, facts)
    assert manifest["network"]["head"] == "horizon"
    assert manifest["parameters"] == model.config.parameters
    assert set(verify_export(tmp_path / "export").parity) == set(FORECASTERS)
    opened = open_export(tmp_path / "export")
    assert opened.model.config == model.config
    wanted = evaluate(model, data, "test")
    found = evaluate_export(opened, dataset.readings, (4, 5))
    assert found["mae"]["45"] == pytest.approx(wanted["mae_45"], rel=1e-6)
    live, day = LiveForecaster(opened), data.readings[:ROWS_PER_DAY]
    pushed = [live.push(row) for row in data.scaler.unscale(day).numpy()]
    assert pushed[:11] == [None] * 11
    forecasts = data.scaler.unscale(roll_out(model, day, 3)).numpy()
    np.testing.assert_allclose(np.stack(pushed[11:]), forecasts, atol=1e-3)
