"""Read and check the ``manifest.json`` of an export folder.

``manifest.schema.json`` beside this file defines its contents. Does not read weights and needs no
torch; ``core.export.verify`` checks that the files agree with the manifest.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file

from core.datasets.dataset import DatasetCard
from core.errors import DatasetError, ExportError
from core.evaluation.intervals import HOURS, Intervals
from core.files import sha256_of_file
from core.preprocessing.gaps import CausalFill, causal_fill

MANIFEST_VERSION = 2
"""Increased whenever readers of older manifests could fail."""
SCHEMA_FILE = Path(__file__).with_name("manifest.schema.json")
FORECASTERS = ("model.onnx", "live.onnx", "model.pt2")
MANIFEST_FILE, MODEL_FILE = "manifest.json", "model.safetensors"
USUAL_DAY_FILE = "usual_day.safetensors"
INTERVALS_FILE = "intervals.safetensors"
LATER_FILES = (USUAL_DAY_FILE, INTERVALS_FILE)
"""Exports from before these were written have none."""
FILES = (*FORECASTERS, MODEL_FILE, "config.json", "graph.safetensors", *LATER_FILES)
AGAIN = "export the student again"
Manifest = dict[str, Any]


def read_manifest(folder: Path) -> Manifest:
    """Read and check the manifest of an export folder, without reading its other files.

    Raises:
        ExportError: it is missing, damaged, of another version or does not follow the schema.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = json.loads(path.read_text())
        version = manifest["version"]
    except (OSError, UnicodeError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ExportError(
            f"{folder} must be an export folder with a manifest.json: {error}; check the path, "
            f"or {AGAIN}"
        ) from error
    if version != MANIFEST_VERSION:
        raise ExportError(
            f"{path} must be of version {MANIFEST_VERSION}, got version {version}; {AGAIN}"
        )
    check_schema(manifest, str(path))
    return dict(manifest)


def check_schema(manifest: Manifest, name: str) -> None:
    """Raise ``ExportError`` unless ``manifest``, called ``name``, follows the schema."""
    error = best_match(_validator().iter_errors(manifest))
    if error is not None:
        what = error.message if len(error.message) < 200 else f"{error.message[:200]} ..."
        raise ExportError(
            f"{name} must be as core/export/manifest.schema.json says, but at {error.json_path}: "
            f"{what}; {AGAIN}"
        )


def check_files(folder: Path, manifest: Manifest, names: tuple[str, ...] = FILES) -> None:
    """Raise ``ExportError`` unless the files ``names`` exist and match their checksums."""
    for name in names:
        if name in LATER_FILES and name not in manifest["files"]:
            continue
        path = folder / name
        if not path.is_file():
            raise ExportError(f"an export must hold {name}, but {folder} has none; {AGAIN}")
        if sha256_of_file(path) != manifest["files"][name]:
            raise ExportError(
                f"{path} must be the file that was exported, but its checksum differs from the "
                f"manifest's; {AGAIN}"
            )


def card_of(manifest: Manifest, folder: Path) -> DatasetCard:
    """Return the card of the dataset that the student was trained on.

    Raises:
        ExportError: its fields do not fit together.
    """
    card = dict(manifest["dataset"])
    del card["fingerprint"]
    card["split"], card["sensor_ids"] = tuple(card["split"]), tuple(card["sensor_ids"])
    card["notes"] = tuple(card.get("notes", ()))
    try:
        return DatasetCard(**card)
    except (TypeError, DatasetError) as error:
        raise ExportError(f"{folder} must be a whole export: {error}; {AGAIN}") from error


def fill_of(manifest: Manifest, card: DatasetCard, folder: Path) -> CausalFill:
    """Return what fills gaps in readings for the student: earlier readings, else a usual day.

    Of an export without a usual day, the mean of its training readings stands for every value.

    Raises:
        ExportError: the file cannot be read or is of another shape.
    """
    shape = (card.steps_per_day, card.num_sensors)
    usual = np.full(shape, manifest["scaler"]["mean"], dtype=np.float32)
    if USUAL_DAY_FILE in manifest["files"]:
        usual = _array(folder / USUAL_DAY_FILE, "usual", shape)
    return causal_fill(card.day_kind, usual)


def intervals_of(manifest: Manifest, card: DatasetCard, folder: Path) -> Intervals | None:
    """Return the intervals around the student's forecasts; None of exports without any.

    Raises:
        ExportError: the file cannot be read or is of another shape.
    """
    if INTERVALS_FILE not in manifest["files"]:
        return None
    shape = (int(manifest["horizon_steps"]), card.num_sensors)
    path = folder / INTERVALS_FILE
    overall, by_hour = _array(path, "overall", shape), _array(path, "by_hour", (HOURS, *shape))
    return Intervals(manifest["intervals"]["coverage"], overall, by_hour)


def _array(path: Path, name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Read one array of an export's file."""
    try:
        found: NDArray[np.float32] = load_file(path)[name]
    except (OSError, KeyError, SafetensorError) as error:
        raise ExportError(f"{path.parent} must be a whole export: {error}; {AGAIN}") from error
    if found.shape != shape:
        raise ExportError(f"{path} must have shape {list(shape)}, got {list(found.shape)}; {AGAIN}")
    return found


def errors_look_ahead(manifest: Manifest) -> bool:
    """Return whether the errors of the manifest were measured on windows that knew later readings.

    Exports from before there were two rules for gaps were made by the one that looks ahead.
    """
    told = manifest.get("gaps")
    if told is None:
        return bool(manifest["dataset"]["missing_share"])
    return bool(told["errors_look_ahead"])


def plain_numbers(values: Mapping[str, float]) -> dict[str, float | None]:
    """Return ``values`` for JSON, which has no NaN: None instead."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}


@cache
def _validator() -> Draft202012Validator:
    return Draft202012Validator(json.loads(SCHEMA_FILE.read_text()))
