"""Forecast with an exported student; needs numpy and onnxruntime, nothing of this project."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime

folder, readings = Path(sys.argv[1]), sys.argv[2]  # an export; a CSV, a column per sensor, no gaps
manifest = json.loads((folder / "manifest.json").read_text())
rows = np.genfromtxt(readings, delimiter=",", dtype=np.float32)[-manifest["history_steps"] :]
session = onnxruntime.InferenceSession(folder / "model.onnx")
(forecast,) = session.run(["forecast"], {"readings": rows[None]})
minutes = manifest["dataset"]["interval_minutes"] * np.arange(1, 1 + forecast.shape[1])
np.savetxt(sys.stdout, np.column_stack([minutes, forecast[0]]), "%.2f", ",", header="minutes ahead")
