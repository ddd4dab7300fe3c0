"""Write a trained student as a self-contained folder, and open such a folder.

    model.onnx            the forecaster (``core.forecasters.onnx_export``), for any ONNX runtime
    live.onnx             the same, one new row of readings at a time
    model.pt2             the same as ``model.onnx``, as a ``torch.export`` program
    model.safetensors     the weights, to train on
    config.json           the shape of the network they belong to, and its scaler
    graph.safetensors     the adjacency between its sensors [N, N]
    usual_day.safetensors what each sensor usually reads at each time step of a day [D, N]
    intervals.safetensors half-widths of prediction intervals [H, N], and by hour [24, H, N]
    manifest.json         settings, errors, lineage, and checksums of the files above
    README.md, Dockerfile what it is, for people; how to serve it (``core.export.model_card``)

This is the only module of ``core`` that evaluates on test days. Does not choose which students to
export, and does not evaluate an export on new readings (``core.export.evaluate`` does).
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray

from core.checkpoint import load_file, load_model, save_file, save_model
from core.datasets.dataset import DatasetCard
from core.errors import ExportError, UserError
from core.evaluation.coverage import fit_intervals, measure_coverage
from core.evaluation.forecasting import evaluate, repeat_last
from core.evaluation.intervals import Intervals
from core.evaluation.profiling import count_flops, count_parameters
from core.export.manifest import (
    AGAIN,
    FILES,
    INTERVALS_FILE,
    MANIFEST_FILE,
    MANIFEST_VERSION,
    MODEL_FILE,
    USUAL_DAY_FILE,
    Manifest,
    card_of,
    check_files,
    fill_of,
    intervals_of,
    plain_numbers,
    read_manifest,
)
from core.export.model_card import CARD_FILE, DOCKER_FILE, docker_file, model_card
from core.export.sensors import MAX_GAP_MINUTES
from core.families.networks import SingleNetwork
from core.files import folder_written_aside, sha256_of_file, write_bytes, write_json
from core.forecasters.gap_filling import GapFilling, gap_filling
from core.forecasters.modules import new_state, state_rows
from core.forecasters.onnx_export import OPSET, to_onnx
from core.forecasters.onnx_runtime import measure_speed
from core.forecasters.parity import Parity, measure_parity, validation_stretches
from core.forecasters.torch_program import to_program
from core.graph import chebyshev_stack
from core.preprocessing.gaps import CausalFill, causal_fill
from core.preprocessing.horizons import HORIZON_MINUTES
from core.preprocessing.prepare import PreparedData
from core.preprocessing.scaling import Scaler

_PACKAGES = ("stgcn-student-search", "torch", "onnx", "onnxruntime", "numpy")


@dataclass(frozen=True)
class StudentFacts:
    """The facts in a manifest that are not measured during the export."""

    settings: Mapping[str, Any]
    """The method, what the search chose, epochs and seed."""
    validation: Mapping[str, float]
    """Its validation errors, as recorded."""
    lineage: Mapping[str, Any]
    """Its origin: sweep, trial, teacher, versions, command."""
    teacher_test: Mapping[str, float] | None = None
    """Its teacher's test errors, for comparison."""
    over_seeds: Mapping[str, Mapping[str, float | None]] | None = None
    """Mean and spread of every validation error over fresh seeds, where it was confirmed."""


@dataclass(frozen=True)
class Export:
    """An opened export folder whose files were all checked."""

    folder: Path
    manifest: Manifest
    card: DatasetCard
    """Of the dataset it was trained on."""
    scaler: Scaler
    model: SingleNetwork
    fill: CausalFill
    """Fills gaps in new readings."""
    intervals: Intervals | None
    """Around its forecasts; None: it was exported before there were any."""

    @property
    def horizon_steps(self) -> int:
        """Time steps of a whole forecast."""
        return int(self.manifest["horizon_steps"])


def export_student(
    folder: Path,
    model: SingleNetwork,
    data: PreparedData,
    adjacency: NDArray[np.float32],
    facts: StudentFacts,
) -> Manifest:
    """Write the export folder, complete or not at all, and return its manifest.

    Args:
        folder: where it goes; an older export there is replaced.
        model: the student.
        data: what it was trained on; the student is evaluated on its test days.
        adjacency: [N, N], from which the graph kernel of ``data`` was computed.
        facts: its settings, validation errors and lineage.

    Raises:
        ExportError: the forecasts of a file differ from PyTorch's.
    """
    began = time.perf_counter()
    filling = filling_of(causal_fill(data.card.day_kind, data.usual), data.card)
    intervals = fit_intervals(model, data, "validation")
    widths = intervals.overall
    forecasters = make_forecasters(model, data.scaler, data.horizon_steps, filling, widths)
    parity = _checked_parity(forecasters, model, data, folder.name)
    manifest = _manifest(model, data, facts, parity)
    manifest["intervals"] = _interval_facts(model, data, intervals)
    manifest["latency"] = measure_speed(
        forecasters["model.onnx"], data.history_steps, data.card.num_sensors
    )
    with folder_written_aside(folder) as aside:
        for name, content in forecasters.items():
            write_bytes(aside / name, content)
        save_model(aside / MODEL_FILE, model, {})
        config = {"network": model.config.to_json(), "scaler": asdict(data.scaler)}
        write_json(aside / "config.json", config)
        graph = {"adjacency": torch.from_numpy(np.array(adjacency))}
        save_file(aside / "graph.safetensors", graph, {"graph": data.card.graph})
        save_file(aside / USUAL_DAY_FILE, {"usual": torch.from_numpy(data.usual)}, {})
        widths_of = {"overall": intervals.overall, "by_hour": intervals.by_hour}
        tensors = {name: torch.from_numpy(one) for name, one in widths_of.items()}
        save_file(aside / INTERVALS_FILE, tensors, {})
        manifest["files"] = {name: sha256_of_file(aside / name) for name in FILES}
        manifest["exported"]["seconds"] = round(time.perf_counter() - began, 1)
        write_json(aside / MANIFEST_FILE, manifest)
        write_bytes(aside / CARD_FILE, model_card(manifest, folder.name).encode())
        write_bytes(aside / DOCKER_FILE, docker_file().encode())
        return read_manifest(aside)


def make_forecasters(
    model: SingleNetwork,
    scaler: Scaler,
    horizon_steps: int,
    filling: GapFilling,
    half_widths: Float[np.ndarray, "H N"],
) -> dict[str, bytes]:
    """Return the standalone forecaster files, by name."""
    program = to_program(model, scaler, horizon_steps, filling)
    graphs = to_onnx(model, scaler, horizon_steps, filling, half_widths)
    return {**graphs, "model.pt2": program}


def filling_of(fill: CausalFill, card: DatasetCard) -> GapFilling:
    """Return how forecasters of this data fill gaps: up to ``MAX_GAP_MINUTES``."""
    return gap_filling(fill, MAX_GAP_MINUTES // card.interval_minutes)


def open_export(folder: Path) -> Export:
    """Check every file in an export folder and open it.

    Raises:
        ExportError: it is incomplete, damaged or of another version.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest)
    card = card_of(manifest, folder)
    try:
        adjacency = load_file(folder / "graph.safetensors")[0]["adjacency"].numpy()
        kernel = chebyshev_stack(adjacency, manifest["network"]["chebyshev_order"])
        model, _ = load_model(folder / MODEL_FILE, kernel)
    except (KeyError, UserError) as error:
        raise ExportError(f"{folder} must be a whole export: {error}; {AGAIN}") from error
    _check_sensors(folder, card, model)
    fill, intervals = fill_of(manifest, card, folder), intervals_of(manifest, card, folder)
    return Export(folder, manifest, card, Scaler(**manifest["scaler"]), model, fill, intervals)


def _check_sensors(folder: Path, card: DatasetCard, model: SingleNetwork) -> None:
    named, trained = card.num_sensors, model.config.num_sensors
    if named != trained:
        raise ExportError(
            f"{folder} must name every sensor that its weights are for, but its manifest has "
            f"{named} sensor_ids and {MODEL_FILE} is for {trained}; {AGAIN}"
        )


def _checked_parity(
    forecasters: Mapping[str, bytes], model: SingleNetwork, data: PreparedData, name: str
) -> dict[str, Parity]:
    stretches, found = validation_stretches(data), {}
    for file, one in measure_parity(forecasters, model, data.scaler, data.horizon_steps, stretches):
        if not one.holds:
            raise ExportError(
                f"an exported forecaster must be within {one.tolerance:.2g} {data.card.unit} of "
                f"PyTorch, but {file} of {name} is {one.max_difference:.2g} away; "
                "export another trial"
            )
        found[file] = one
    return found


def _manifest(
    model: SingleNetwork, data: PreparedData, facts: StudentFacts, parity: Mapping[str, Parity]
) -> Manifest:
    seeds = facts.over_seeds
    return {
        "version": MANIFEST_VERSION,
        "history_steps": data.history_steps,
        "horizon_steps": data.horizon_steps,
        "horizon_minutes": list(HORIZON_MINUTES),
        "max_gap_minutes": MAX_GAP_MINUTES,
        "gaps": {"rule": data.gaps, "errors_look_ahead": data.looks_ahead},
        "units": _units(data.card.unit),
        "settings": dict(facts.settings),
        "network": model.config.to_json(),
        "parameters": count_parameters(model),
        "flops": count_flops(model),
        "scaler": asdict(data.scaler),
        "dataset": {**asdict(data.card), "fingerprint": data.fingerprint},
        "metrics": {
            "validation": plain_numbers(facts.validation),
            "test": _test_errors(model, data, facts),
            "over_seeds": None if seeds is None else {name: dict(seeds[name]) for name in seeds},
        },
        **_forecaster_facts(model, data, parity),
        "lineage": dict(facts.lineage),
        "exported": _exported(),
    }


def _interval_facts(
    model: SingleNetwork, data: PreparedData, intervals: Intervals
) -> dict[str, Any]:
    """Return what intervals promise, and what they cover on the test days."""
    found = {}
    for part in ("validation", "test"):
        covered = measure_coverage(model, data, data.stretches(part), intervals)
        found[part] = covered.to_json()
    return {"coverage": intervals.coverage, "fitted_on": "validation", **found}


def _units(unit: str) -> dict[str, str]:
    return {"readings": unit, "mae": unit, "rmse": unit, "mape": "%", "latency": "ms"}


def _test_errors(model: SingleNetwork, data: PreparedData, facts: StudentFacts) -> dict[str, Any]:
    test = {
        "student": plain_numbers(evaluate(model, data, "test")),
        "repeat_last": plain_numbers(repeat_last(data, "test")),
    }
    if facts.teacher_test is not None:
        test["teacher"] = plain_numbers(facts.teacher_test)
    return test


def _exported() -> dict[str, Any]:
    versions = {name: version(name) for name in _PACKAGES}
    versions["python"] = platform.python_version()
    return {"at": datetime.now(UTC).isoformat(timespec="seconds"), "versions": versions}


def _forecaster_facts(
    model: SingleNetwork, data: PreparedData, parity: Mapping[str, Parity]
) -> dict[str, Any]:
    N, unit = data.card.num_sensors, data.card.unit
    state = list(new_state(model).shape)
    measured = {name: {**asdict(one), "tolerance": one.tolerance} for name, one in parity.items()}
    windows = {
        "input": {"readings": ["batch", data.history_steps, N]},
        "output": {"forecast": ["batch", data.horizon_steps, N]},
    }
    ends = {name: ["batch", data.horizon_steps, N] for name in ("lower", "upper")}
    batch = {"output": {**windows["output"], "filled": ["batch", N], **ends}}
    ahead = [data.horizon_steps, N]
    live = {
        "input": {"reading": [N], "state": state},
        "output": {
            "forecast": ahead,
            "next_state": state,
            "filled": [N],
            "lower": ahead,
            "upper": ahead,
        },
        "note": f"float32, readings in {unit}; {_gaps_in_words()}; the state starts as zeros, "
        f"forecasts are NaN until {data.history_steps} rows have come",
        "state": [asdict(rows) for rows in state_rows(model)],
        "parity": measured["live.onnx"],
    }
    note = f"float32, both in {unit}; {_gaps_in_words()}"
    return {
        "onnx": {
            "opset": OPSET,
            **windows,
            **batch,
            "note": note,
            "parity": measured["model.onnx"],
        },
        "live": {"opset": OPSET, **live},
        "program": {"torch": torch.__version__, **windows, "parity": measured["model.pt2"]},
    }


def _gaps_in_words() -> str:
    return (
        "NaN where nothing was measured: it is filled with the sensor's last reading, and filled "
        "says how many in a row; a sensor with more than max_gap_minutes of them has NaN"
    )
