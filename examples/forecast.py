"""Forecast with an exported student; needs numpy and onnxruntime, nothing of this project."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, readings = Path(sys.argv[1]), sys.argv[2]  # an export; a CSV, a column per sensor
manifest = json.loads((folder / "manifest.json").read_text())
steps, sensors = manifest["history_steps"], len(manifest["dataset"]["sensor_ids"])
rows = np.genfromtxt(readings, np.float32, delimiter=",", ndmin=2, invalid_raise=False)
if rows.shape[1] != sensors or len(rows) < steps:
    sys.exit(f"{readings} must have {steps} rows of {sensors} readings, got {rows.shape}")
session = onnxruntime.InferenceSession(folder / "model.onnx")  # fills gaps, if they are short
(forecast,) = session.run(["forecast"], {"readings": rows[None, -steps:]})
minutes = manifest["dataset"]["interval_minutes"] * np.arange(1, 1 + forecast.shape[1])
np.savetxt(sys.stdout, np.column_stack([minutes, forecast[0]]), "%.2f", ",", header="minutes ahead")
