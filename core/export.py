"""A trained student in, a folder that anyone can take away out, and back.

    model.onnx            the forecaster (``core.onnx_forecaster``), for any ONNX runtime
    model.safetensors     the weights, for this project
    graph.safetensors     the adjacency between its sensors [N, N]
    manifest.json         what it is, how good it is, where it comes from, checksums of the others

This is the one place where test days are looked at. Which students are worth it is decided
elsewhere; judging an export on new readings is in ``core.export_evaluation``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from core.checkpoint import load_file, load_model, save_file, save_model
from core.datasets.dataset import DatasetCard
from core.errors import ExportError, UserError
from core.files import folder_written_aside, sha256_of_file, write_bytes, write_json
from core.forecasting import evaluate, repeat_last
from core.graph import chebyshev_stack
from core.onnx_forecaster import OPSET, Parity, measure_parity, to_onnx
from core.preprocessing.prepare import HORIZON_MINUTES, PreparedData
from core.preprocessing.scaling import Scaler
from core.profiling import count_flops, count_parameters
from core.stgcn import STGCN

MANIFEST_VERSION = 1
FILES = ("model.onnx", "model.safetensors", "graph.safetensors")
_AGAIN = "export the student again"
Manifest = dict[str, Any]


@dataclass(frozen=True)
class StudentFacts:
    """What a manifest tells of a student beside what is measured at its export."""

    settings: Mapping[str, Any]
    """The method, what the search chose, epochs and seed."""
    validation: Mapping[str, float]
    """Its validation errors, as recorded."""
    lineage: Mapping[str, Any]
    """Where it comes from: sweep, trial, teacher, versions, command."""
    teacher_test: Mapping[str, float] | None = None
    """Its teacher's test errors, for comparison."""


@dataclass(frozen=True)
class Export:
    """An export folder, opened and found whole."""

    folder: Path
    manifest: Manifest
    card: DatasetCard
    """Of the dataset it was trained on."""
    scaler: Scaler
    model: STGCN

    @property
    def horizon_steps(self) -> int:
        """Steps of a whole forecast."""
        return int(self.manifest["horizon_steps"])


def export_student(
    folder: Path,
    model: STGCN,
    data: PreparedData,
    adjacency: NDArray[np.float32],
    facts: StudentFacts,
) -> Manifest:
    """Write the export folder, whole or not at all, and return its manifest.

    Args:
        folder: where it goes; an older export there is replaced.
        model: the student.
        data: what it was trained on; its test days are looked at here, and only here.
        adjacency: [N, N], what the graph kernel of ``data`` was made of.
        facts: what is known of it.

    Raises:
        ExportError: ONNX Runtime forecasts something else than PyTorch.
    """
    content = to_onnx(model, data.scaler, data.horizon_steps)
    parity = measure_parity(content, model, data)
    if not parity.holds:
        raise ExportError(
            f"an exported forecaster must be within {parity.tolerance:.2g} {data.card.unit} of "
            f"PyTorch, but {folder.name} is {parity.max_difference:.2g} away; export another trial"
        )
    with folder_written_aside(folder) as aside:
        write_bytes(aside / "model.onnx", content)
        save_model(aside / "model.safetensors", model, {})
        graph = {"adjacency": torch.from_numpy(np.array(adjacency))}
        save_file(aside / "graph.safetensors", graph, {"graph": data.card.graph})
        manifest = _manifest(model, data, facts, parity)
        manifest["files"] = {name: sha256_of_file(aside / name) for name in FILES}
        write_json(aside / "manifest.json", manifest)
    return read_manifest(folder)


def open_export(folder: Path) -> Export:
    """Open an export folder after checking every file in it.

    Raises:
        ExportError: it is incomplete, damaged or of another version.
    """
    manifest = read_manifest(folder)
    _check_files(folder, manifest)
    try:
        card = dict(manifest["dataset"])
        del card["fingerprint"]
        card["split"], card["sensor_ids"] = tuple(card["split"]), tuple(card["sensor_ids"])
        adjacency = load_file(folder / "graph.safetensors")[0]["adjacency"].numpy()
        kernel = chebyshev_stack(adjacency, manifest["network"]["chebyshev_order"])
        model, _ = load_model(folder / "model.safetensors", kernel)
        scaler = Scaler(**manifest["scaler"])
        return Export(folder, manifest, DatasetCard(**card), scaler, model)
    except (KeyError, TypeError, UserError) as error:
        raise ExportError(f"{folder} must be a whole export: {error}; {_AGAIN}") from error


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest of an export folder, without checking the files beside it.

    Raises:
        ExportError: there is none, or it is damaged or of another version.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text())
        version = manifest["version"]
    except (OSError, UnicodeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ExportError(
            f"{folder} must be an export folder with a manifest.json: {error}; check the path, "
            f"or {_AGAIN}"
        ) from error
    if version != MANIFEST_VERSION:
        raise ExportError(
            f"{path} must be of version {MANIFEST_VERSION}, got version {version}; {_AGAIN}"
        )
    return dict(manifest)


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return ``values`` for JSON, which knows no NaN: None where nothing could be judged."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _check_files(folder: Path, manifest: Manifest) -> None:
    recorded = manifest.get("files", {})
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise ExportError(f"an export must hold {name}, but {folder} has none; {_AGAIN}")
        if sha256_of_file(path) != recorded.get(name):
            raise ExportError(
                f"{path} must be the file that was exported, but its checksum differs from the "
                f"manifest's; {_AGAIN}"
            )


def _manifest(model: STGCN, data: PreparedData, facts: StudentFacts, parity: Parity) -> Manifest:
    test = {
        "student": plain_numbers(evaluate(model, data, "test")),
        "repeat_last": plain_numbers(repeat_last(data, "test")),
    }
    if facts.teacher_test is not None:
        test["teacher"] = plain_numbers(facts.teacher_test)
    return {
        "version": MANIFEST_VERSION,
        "history_steps": data.history_steps,
        "horizon_steps": data.horizon_steps,
        "horizon_minutes": list(HORIZON_MINUTES),
        "settings": dict(facts.settings),
        "network": model.config.to_json(),
        "parameters": count_parameters(model),
        "flops": count_flops(model),
        "scaler": asdict(data.scaler),
        "dataset": {**asdict(data.card), "fingerprint": data.fingerprint},
        "metrics": {"validation": plain_numbers(facts.validation), "test": test},
        "onnx": _onnx_facts(data, parity),
        "lineage": dict(facts.lineage),
    }


def _onnx_facts(data: PreparedData, parity: Parity) -> dict[str, Any]:
    sensors = data.card.num_sensors
    return {
        "opset": OPSET,
        "input": {"readings": ["batch", data.history_steps, sensors]},
        "output": {"forecast": ["batch", data.horizon_steps, sensors]},
        "note": f"float32, both in {data.card.unit}; fill gaps before",
        "parity": {**asdict(parity), "tolerance": parity.tolerance},
    }
