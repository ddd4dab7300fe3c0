"""Write a page that runs an exported student in the browser: one file, opened from the folder.

It holds the student, ONNX Runtime and some readings, so it loads nothing and sends nothing. It
shows what ``hpo serve`` shows, by the same script: ``web/local.js`` answers what a service would.
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from core.datasets.dataset import DatasetCard
from core.export.manifest import Manifest, card_of, check_files, read_manifest
from core.files import write_bytes
from hpo.serving.web_runtime import WebRuntime

PAGE_FILE = "browser.html"
EXAMPLE_HOURS = 24
"""Readings that a page comes with: the last day of the dataset."""


def write_web_page(folder: Path, readings: NDArray[np.float32], runtime: WebRuntime) -> Path:
    """Write ``browser.html`` into an export folder and return it.

    Args:
        folder: the export.
        readings: those of the dataset that it was trained on [T, N], NaN where missing.
        runtime: runs the student.

    Raises:
        ExportError: the folder is no whole export.
    """
    manifest = read_manifest(folder)
    check_files(folder, manifest, ("model.onnx", "graph.safetensors"))
    card = card_of(manifest, folder)
    own = files("hpo.serving")
    styles = (files("hpo.report").joinpath("page.css"), own.joinpath("page/page.css"))
    page = Template(own.joinpath("web/index.html").read_text(encoding="utf-8")).substitute(
        name=folder.name,
        css="\n".join(style.read_text(encoding="utf-8") for style in styles),
        export=_in_script(_facts(folder, manifest, card, readings)),
        wasm=_packed(runtime.wasm),
        model=_packed((folder / "model.onnx").read_bytes()),
        runtime=runtime.script,
        local=own.joinpath("web/local.js").read_text(encoding="utf-8"),
        page=own.joinpath("page/page.js").read_text(encoding="utf-8"),
    )
    write_bytes(folder / PAGE_FILE, page.encode())
    return folder / PAGE_FILE


def _facts(
    folder: Path, manifest: Manifest, card: DatasetCard, readings: NDArray[np.float32]
) -> dict[str, Any]:
    rows = min(len(readings), EXAMPLE_HOURS * 60 // card.interval_minutes)
    shown = np.ascontiguousarray(readings[len(readings) - rows :], dtype="<f4")
    adjacency = load_file(folder / "graph.safetensors")["adjacency"]
    test = manifest["metrics"]["test"]
    minutes = list(manifest["horizon_minutes"])
    return {
        "name": folder.name,
        "unit": card.unit,
        "sensors": list(card.sensor_ids),
        "places": [asdict(place) for place in card.places] or None,
        "edges": np.argwhere(np.triu(adjacency, 1) > 0).tolist() if card.places else [],
        "interval_minutes": card.interval_minutes,
        "history_steps": manifest["history_steps"],
        "horizon_steps": manifest["horizon_steps"],
        "minutes": minutes,
        "test_days": {
            who: [test[who].get(f"mae_{at}") for at in minutes]
            for who in ("student", "repeat_last")
        },
        "example": {
            "first_row": len(readings) - rows,
            "readings": base64.b64encode(shown.tobytes()).decode(),
        },
    }


def _in_script(values: dict[str, Any]) -> str:
    """Return JSON that ends no script element, whatever sensors are called."""
    return json.dumps(values, allow_nan=False).replace("<", "\\u003c")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
