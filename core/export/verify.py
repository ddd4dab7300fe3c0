"""Verify that an export folder is complete and that all its forecasters agree.

Checks the manifest against its schema, the files against their checksums, the metadata in the files
against the manifest, and every forecaster against PyTorch. Stops at the first defect. Does not
change anything.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from core.errors import ExportError
from core.export.export_folder import Export, open_export
from core.export.manifest import AGAIN, FORECASTERS
from core.forecasters.parity import Parity, Stretches, measure_parity, synthetic_stretches


@dataclass(frozen=True)
class Verified:
    """A verified export and its differences from PyTorch."""

    export: Export
    windows: str
    """The windows that the forecasters were compared on: ``validation`` or ``synthetic``."""
    parity: dict[str, Parity]
    """File name -> parity."""


def verify_export(folder: Path, recorded: Stretches | None = None) -> Verified:
    """Check everything in an export folder.

    Args:
        folder: the export.
        recorded: scaled readings of its validation days (``core.forecasters.parity``); None: not
            available, use synthetic ones.

    Raises:
        ExportError: the first defect.
    """
    export = open_export(folder)
    _check_config(export)
    for name, kind in (("model.onnx", "onnx"), ("live.onnx", "live")):
        _check_graph(folder / name, export.manifest[kind])
    parity = _parity(export, recorded)
    return Verified(export, "synthetic" if recorded is None else "validation", parity)


def _check_config(export: Export) -> None:
    manifest, network = export.manifest, export.model.config.to_json()
    stored = json.loads((export.folder / "config.json").read_text())
    plain = json.loads(json.dumps(network))
    wanted = {"network": plain, "scaler": manifest["scaler"]}
    if plain != manifest["network"] or stored != wanted:
        raise ExportError(
            f"{export.folder} must tell one shape and one scaler in model.safetensors, config.json "
            f"and manifest.json, but they differ; {AGAIN}"
        )
    if export.model.config.parameters != manifest["parameters"]:
        raise ExportError(
            f"{export.folder} must hold the {manifest['parameters']} weights that its manifest "
            f"says, got {export.model.config.parameters}; {AGAIN}"
        )


def _check_graph(path: Path, facts: dict[str, Any]) -> None:
    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ExportError(f"{path} must be an ONNX file: {reason}; {AGAIN}") from error
    opsets = [one.version for one in proto.opset_import if one.domain in {"", "ai.onnx"}]
    found = {
        "opset": opsets[0] if len(opsets) == 1 else opsets,
        "input": _shapes(proto.graph.input),
        "output": _shapes(proto.graph.output),
    }
    for what, value in found.items():
        if value != facts[what]:
            raise ExportError(
                f"{path} must have the {what} {facts[what]} that its manifest says, got {value}; "
                f"{AGAIN}"
            )


def _shapes(values: Any) -> dict[str, list[int | str]]:
    return {
        value.name: [one.dim_param or one.dim_value for one in value.type.tensor_type.shape.dim]
        for value in values
    }


def _parity(export: Export, recorded: Stretches | None) -> dict[str, Parity]:
    config = export.model.config
    stretches = recorded
    if stretches is None:
        stretches = synthetic_stretches(config.history_steps, config.num_sensors)
    files = {name: (export.folder / name).read_bytes() for name in FORECASTERS}
    found = {}
    for name, one in measure_parity(
        files, export.model, export.scaler, export.horizon_steps, stretches
    ):
        if not one.holds:
            raise ExportError(
                f"{export.folder / name} must be within {one.tolerance:.2g} {export.card.unit} of "
                f"PyTorch, but is {one.max_difference:.2g} away; {AGAIN}"
            )
        found[name] = one
    return found
