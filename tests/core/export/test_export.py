from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import core.export.export_folder
from core.errors import ExportError
from core.evaluation.forecasting import evaluate, repeat_last
from core.export.evaluate import evaluate_export
from core.export.export_folder import Export, export_student, open_export
from core.export.manifest import FILES, FORECASTERS, read_manifest
from core.forecasters.onnx_runtime import forecast_live, forecast_windows, open_session
from core.forecasters.parity import TOLERANCE, Parity, measure_parity, validation_stretches
from core.stgcn import STGCN
from tests.oracles import forecasting_oracle as oracle
from tests.oracles import gaps_oracle
from tests.small_exports import FACTS, Exported
from tests.small_students import (
    ROWS_PER_DAY,
    SENSORS,
    WINDOWS_PER_DAY,
    make_student,
    stand_in_forecasters,
)


@pytest.fixture
def opened(exported: Exported) -> Export:
    return open_export(exported.folder)


@pytest.fixture
def copied(exported: Exported, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported.folder, tmp_path / "export"))


def forecasters(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FORECASTERS}


def parity_with(exported: Exported, model: STGCN) -> dict[str, Parity]:
    data = exported.data
    stretches = validation_stretches(data)
    return dict(measure_parity(forecasters(exported.folder), model, data.scaler, 3, stretches))


@pytest.fixture
def ready_made(exported: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the conversion where only the comparison with PyTorch is tested."""
    content = (exported.folder / "model.onnx").read_bytes()
    monkeypatch.setattr(
        core.export.export_folder, "make_forecasters", lambda *_: {"model.onnx": content}
    )


@pytest.mark.timeout(300)
def test_the_folder_holds_what_the_manifest_lists(exported: Exported) -> None:
    assert {path.name for path in exported.folder.iterdir()} == {*FILES, "manifest.json"}
    assert exported.said == ""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("batch", [1, 5])
def test_onnx_forecasts_what_each_window_gives_by_itself(exported: Exported, batch: int) -> None:
    session = onnxruntime.InferenceSession(exported.folder / "model.onnx")
    scaler = exported.data.scaler
    rows = range(400, 400 + 7 * batch, 7)
    windows = torch.stack([exported.data.readings[row : row + 12] for row in rows])
    expected = scaler.unscale(oracle.plain_roll_out(exported.model, windows, 3))
    readings = scaler.unscale(windows).numpy()
    names = ["forecast", "filled", "lower", "upper"]
    forecast, filled, lower, upper = session.run(names, {"readings": readings})
    assert not filled.any()
    widths = open_export(exported.folder).intervals.overall
    np.testing.assert_allclose(forecast - lower, np.broadcast_to(widths, lower.shape), atol=1e-4)
    np.testing.assert_allclose(upper - forecast, np.broadcast_to(widths, lower.shape), atol=1e-4)
    assert forecast.dtype == np.float32
    np.testing.assert_allclose(forecast, expected, atol=TOLERANCE)
    # Not by luck: forecasts differ between windows, and from the scaled ones.
    assert np.ptp(forecast, axis=2).min() > 0.1
    assert forecast.mean() > 10


@pytest.mark.parametrize(("name", "kind"), [("model.onnx", "onnx"), ("live.onnx", "live")])
def test_onnx_says_what_goes_in_and_out(exported: Exported, name: str, kind: str) -> None:
    graph = onnx.load(exported.folder / name)
    onnx.checker.check_model(graph)
    facts = read_manifest(exported.folder)[kind]
    assert [opset.version for opset in graph.opset_import if opset.domain == ""] == [facts["opset"]]
    ends = {"input": graph.graph.input, "output": graph.graph.output}
    for end, values in ends.items():
        dims = {
            value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
            for value in values
        }
        assert dims == facts[end]


@pytest.mark.parametrize("name", FORECASTERS)
def test_a_forecaster_says_nothing_of_the_machine(exported: Exported, name: str) -> None:
    content = (exported.folder / name).read_bytes()
    if zipfile.is_zipfile(exported.folder / name):
        with zipfile.ZipFile(exported.folder / name) as archive:
            content = b"".join(archive.read(entry) for entry in archive.namelist())
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[3]).encode() not in content


def test_manifest_tells_everything(exported: Exported) -> None:
    manifest = read_manifest(exported.folder)
    card = exported.data.card
    assert manifest["settings"] == FACTS.settings
    assert manifest["lineage"] == FACTS.lineage
    assert manifest["metrics"] == {
        "validation": {"val_mae": 2.5, "val_mape": None},
        "test": {
            "student": pytest.approx(evaluate(exported.model, exported.data, "test")),
            "repeat_last": pytest.approx(repeat_last(exported.data, "test")),
            "teacher": {"mae": 1.5},
        },
        "over_seeds": FACTS.over_seeds,
    }
    assert (manifest["history_steps"], manifest["horizon_steps"]) == (12, 3)
    assert manifest["horizon_minutes"] == [15, 30, 45]
    assert manifest["parameters"] == sum(one.numel() for one in exported.model.parameters())
    assert manifest["flops"] > 0
    assert manifest["dataset"]["fingerprint"] == exported.data.fingerprint
    assert manifest["gaps"] == {"rule": "causal", "errors_look_ahead": False}
    assert manifest["dataset"]["sources"] == card.sources
    assert manifest["dataset"]["sensor_ids"] == list(SENSORS)
    assert manifest["dataset"]["unit"] == "mph"
    for kind in ("onnx", "live", "program"):
        parity = manifest[kind]["parity"]
        assert parity["windows"] == WINDOWS_PER_DAY
        assert 0 <= parity["mean_difference"] <= parity["max_difference"] <= parity["tolerance"]
    for taken in manifest["latency"]["milliseconds"].values():
        assert 0 < taken["p10"] <= taken["p50"] <= taken["p90"]


def test_opened_it_is_the_same_student(exported: Exported, opened: Export) -> None:
    assert opened.card == exported.data.card
    assert opened.scaler == exported.data.scaler
    history = torch.randn(2, 1, 12, 5)
    assert torch.equal(opened.model(history)[0], exported.model(history)[0])


def test_without_a_teacher_there_are_no_errors_of_one(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_forecasters(monkeypatch)
    facts = replace(FACTS, teacher_test=None)
    manifest = export_student(
        tmp_path / "export", exported.model, exported.data, exported.dataset.adjacency, facts
    )
    assert set(manifest["metrics"]["test"]) == {"student", "repeat_last"}


def test_another_student_is_no_match(exported: Exported) -> None:
    same = parity_with(exported, exported.model)
    other = parity_with(exported, make_student(exported.data, seed=1))
    assert set(same) == set(other) == set(FORECASTERS)
    assert all(one.holds for one in same.values())
    assert not any(one.holds for one in other.values())


@pytest.mark.parametrize(
    ("difference", "rounding", "holds"),
    [
        (1e-3, 0.0, True),
        (1.1e-3, 1e-5, False),
        (3.9e-2, 1e-2, True),
        (4.1e-2, 1e-2, False),
        (float("nan"), 0.0, False),
    ],
)
def test_tolerance_follows_what_float32_can_do(
    difference: float, rounding: float, holds: bool
) -> None:
    assert Parity(difference, 0.0, rounding, windows=1).holds is holds


@pytest.mark.parametrize("before", [False, True], ids=["nothing there", "an older export there"])
def test_refused_without_a_trace_where_onnx_differs(
    exported: Exported, ready_made: None, tmp_path: Path, before: bool
) -> None:
    folder = tmp_path / "export"
    if before:
        shutil.copytree(exported.folder, folder)
    other = make_student(exported.data, seed=1)
    with pytest.raises(
        ExportError, match=r"within 0\.00\S+ mph of PyTorch, but model.onnx of export is"
    ):
        export_student(folder, other, exported.data, exported.dataset.adjacency, FACTS)
    assert list(tmp_path.iterdir()) == ([folder] if before else [])
    if before:
        assert torch.equal(open_export(folder).model.output.weight, exported.model.output.weight)


def test_nothing_half_written_where_writing_fails(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in_forecasters(monkeypatch)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(core.export.export_folder, "write_json", fail)
    with pytest.raises(OSError, match="No space left"):
        export_student(
            tmp_path / "export", exported.model, exported.data, exported.dataset.adjacency, FACTS
        )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file_is_seen(copied: Path, name: str) -> None:
    content = bytearray((copied / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copied / name).write_bytes(content)
    with pytest.raises(ExportError, match=rf"{name} must be the file that was exported.*again"):
        open_export(copied)
    (copied / name).unlink()
    with pytest.raises(ExportError, match=rf"an export must hold {name}, but .* has none"):
        open_export(copied)


def edit(copied: Path, change: Callable[[dict], object]) -> None:
    manifest = read_manifest(copied)
    change(manifest)
    (copied / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda manifest: manifest.update(version=1),
            "must be of version 2, got version 1",
        ),
        (lambda manifest: manifest.pop("dataset"), r"schema.json says.*at \$: 'dataset' is a req"),
        (lambda manifest: manifest["dataset"].pop("unit"), r"at \$\.dataset: 'unit' is a required"),
        (lambda manifest: manifest["dataset"].update(split=[1, 1, 1]), "must be a whole export"),
        (lambda manifest: manifest["scaler"].pop("std"), r"at \$\.scaler: 'std' is a required"),
        (lambda manifest: manifest["scaler"].update(std=0), r"at \$\.scaler\.std: 0 is less than"),
        (lambda manifest: manifest["files"].update({"model.onnx": "?"}), r"'\?' does not match"),
        (lambda manifest: manifest.update(colour="red"), r"\('colour' was unexpected\)"),
    ],
)
def test_a_manifest_of_something_else_is_seen(
    copied: Path, change: Callable[[dict], object], message: str
) -> None:
    edit(copied, change)
    with pytest.raises(ExportError, match=message):
        open_export(copied)


@pytest.mark.parametrize("content", [None, "{", "[]", "{}"])
def test_a_folder_without_a_manifest_is_no_export(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ExportError, match=r"must be an export folder with a manifest\.json"):
        open_export(tmp_path)


def by_metric(summary: dict[str, float]) -> dict[str, object]:
    return {
        metric: pytest.approx(
            {str(minutes): summary[f"{metric}_{minutes}"] for minutes in (15, 30, 45)}, rel=1e-6
        )
        for metric in ("mae", "mape", "rmse")
    }


def test_evaluating_the_test_days_gives_the_test_errors(exported: Exported, opened: Export) -> None:
    found = evaluate_export(opened, exported.dataset.readings, (4, 5), SENSORS)
    expected = by_metric(evaluate(exported.model, exported.data, "test"))
    last = by_metric(repeat_last(exported.data, "test"))
    told = opened.manifest["intervals"]
    assert found == {
        **expected,
        "windows": 2 * WINDOWS_PER_DAY,
        "repeat_last": last,
        "intervals": {"coverage": 0.9, **told["test"]},
    }
    assert all(0.85 < share < 0.97 for share in told["validation"]["share"].values())


def test_no_window_crosses_a_midnight_between_weekdays(exported: Exported, opened: Export) -> None:
    assert evaluate_export(opened, exported.dataset.readings)["windows"] == 6 * WINDOWS_PER_DAY


def consecutive(opened: Export) -> Export:
    return replace(opened, card=replace(opened.card, day_kind="consecutive"))


def test_consecutive_days_are_one_stretch(exported: Exported, opened: Export) -> None:
    readings = exported.dataset.readings
    export = consecutive(opened)
    data = replace(exported.data, card=export.card)
    found = evaluate_export(export, readings, (4, 5))
    windows = 2 * ROWS_PER_DAY - 14
    assert found == {
        **by_metric(evaluate(exported.model, data, "test")),
        "windows": windows,
        "repeat_last": by_metric(repeat_last(data, "test")),
        "intervals": found["intervals"],
    }
    assert evaluate_export(export, readings[:100])["windows"] == 86
    assert evaluate_export(export, readings[:15])["windows"] == 1


def test_gaps_are_never_scored(exported: Exported, opened: Export) -> None:
    readings = np.array(exported.dataset.readings[: 2 * ROWS_PER_DAY])
    # What lies only in horizons: the last three rows of a single window.
    readings[12:15] = np.nan
    found = evaluate_export(consecutive(opened), readings[:15])
    assert found["mae"] == {"15": None, "30": None, "45": None}
    json.dumps(found, allow_nan=False)


def test_new_readings_are_scaled_as_the_training_days(exported: Exported, opened: Export) -> None:
    readings = np.array(exported.dataset.readings[:ROWS_PER_DAY]) + 5
    filled = gaps_oracle.carried(readings, exported.data.usual)
    scaled = exported.data.scaler.scale(filled.astype(np.float32))
    windows = torch.stack(
        [torch.from_numpy(scaled[row : row + 12]) for row in range(WINDOWS_PER_DAY)]
    )
    forecasts = oracle.plain_roll_out(exported.model, windows, 3)
    unscaled = exported.data.scaler.unscale(forecasts).double().numpy()
    truths = [readings[row + 12 : row + 15].astype(np.float64) for row in range(WINDOWS_PER_DAY)]
    naive = oracle.errors(list(unscaled), truths, {15: 1, 30: 2, 45: 3})
    found = evaluate_export(opened, readings)
    assert found["mae"]["45"] == pytest.approx(naive["mae_45"], rel=1e-5)
    assert found["rmse"]["15"] == pytest.approx(naive["rmse_15"], rel=1e-5)


@pytest.mark.parametrize(
    ("cut", "days", "ids", "message"),
    [
        (np.s_[:, :4], None, None, r"each of the 5 sensors .*got shape \[576, 4\]"),
        (np.s_[:, 0], None, None, r"each of the 5 sensors .*got shape \[576\]"),
        (np.s_[:], None, [*SENSORS[:4], "moon"], r"column 4 is 'moon' instead of 'middle'.*same"),
        (np.s_[:100], None, None, r"whole days of 96 rows, got 100 rows = 1 days and 4 rows"),
        (np.s_[:0], None, None, r"every sensor needs at least one reading, but 'north'"),
        (np.s_[:], (4, 6), None, r"within the 6 days of the readings, counted from 0, got 4-6"),
        (np.s_[:], (5, 4), None, r"within the 6 days"),
        (np.s_[:], (-1, 4), None, r"within the 6 days"),
    ],
)
def test_readings_that_do_not_fit_are_refused(
    exported: Exported,
    opened: Export,
    cut: slice | tuple,
    days: tuple[int, int] | None,
    ids: list[str] | None,
    message: str,
) -> None:
    with pytest.raises(ExportError, match=message):
        evaluate_export(opened, np.array(exported.dataset.readings[cut]), days, ids)


def test_too_few_rows_for_a_window_are_refused(exported: Exported, opened: Export) -> None:
    with pytest.raises(ExportError, match=r"a window needs 15 rows .* but the readings have 14"):
        evaluate_export(consecutive(opened), np.array(exported.dataset.readings[:14]))


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "but 'west' has none here"), (np.inf, "must be finite")]
)
def test_a_sensor_without_a_number_is_refused(
    exported: Exported, opened: Export, value: float, message: str
) -> None:
    readings = np.array(exported.dataset.readings)
    readings[:, 3] = value
    with pytest.raises(ExportError, match=message):
        evaluate_export(opened, readings)


def test_positions_are_no_ids_to_compare(exported: Exported, opened: Export) -> None:
    export = replace(opened, card=replace(opened.card, sensor_ids=tuple("01234")))
    readings = exported.dataset.readings
    assert evaluate_export(export, readings, (4, 5), SENSORS) == evaluate_export(
        opened, readings, (4, 5)
    )


def test_too_long_a_gap_spoils_its_own_windows_and_sensor_alone(exported: Exported) -> None:
    """The ONNX files say NaN where they cannot know, and nowhere else."""
    sensors = exported.data.card.num_sensors
    readings = np.full((40, sensors), 60, np.float32)
    readings += np.arange(40, dtype=np.float32)[:, None] % 7
    windows = np.lib.stride_tricks.sliding_window_view(readings, 12, axis=0).transpose(0, 2, 1)
    batch = np.ascontiguousarray(windows)
    content = (exported.folder / "model.onnx").read_bytes()
    whole = forecast_windows(content, batch)
    batch[3, 5:7, 1] = np.nan  # half an hour, of which 15 minutes are filled
    spoilt = forecast_windows(content, batch)
    assert np.isnan(spoilt[3, :, 1]).all()
    assert np.isfinite(np.delete(spoilt[3], 1, axis=1)).all()
    others = [at for at in range(len(batch)) if at != 3]
    assert np.isfinite(spoilt[others]).all()
    np.testing.assert_allclose(spoilt[others], whole[others], atol=1e-4)

    content = (exported.folder / "live.onnx").read_bytes()
    whole = forecast_live(content, readings)
    readings[14:16, 1] = np.nan
    spoilt = forecast_live(content, readings)
    assert np.isnan(spoilt[15:27, :, 1]).all()
    assert np.isfinite(np.delete(spoilt[11:], 1, axis=2)).all()
    np.testing.assert_allclose(spoilt[27:], whole[27:], atol=1e-4)


@pytest.mark.parametrize("kind", [np.float64, np.int32])
def test_readings_of_another_type_are_refused(exported: Exported, kind: type[np.number]) -> None:
    windows = np.full((1, 12, exported.data.card.num_sensors), 60, kind)
    session = open_session((exported.folder / "model.onnx").read_bytes())
    with pytest.raises(Exception, match=r"Unexpected input data type.*expected: \(tensor\(float\)"):
        session.run(["forecast"], {"readings": windows})
