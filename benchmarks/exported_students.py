"""Time an exported student in ONNX Runtime against its teacher in PyTorch, nine steps, in turns.

The teacher forecasts twice: as this project rolls out, computing only the newest column of every
layer, and by whole passes over the window, as a published STGCN does. Networks are untrained, since
the cost of a pass does not depend on training.

``python -m benchmarks.exported_students EXPORT DATA`` measures the errors of a real export with
8-bit weights, over the validation windows of its dataset below the folder DATA.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import Tensor

from benchmarks.measuring import compared
from benchmarks.problem import make_data, make_network
from core.datasets.dataset import open_dataset
from core.export.export_folder import Export, filling_of, open_export
from core.families.networks import SingleNetwork
from core.forecasters.modules import Forecaster
from core.forecasters.onnx_export import to_onnx
from core.forecasters.onnx_runtime import WINDOWS_PER_RUN, forecast_windows, open_session
from core.forms import find_form
from core.preprocessing.gaps import causal_fill
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import window_rows
from core.stgcn import TEACHER_CHANNELS

STEPS = 9


def speed(folder: Path, windows: int, threads: int, form: str = "paper") -> dict[str, Any]:
    """Compare the paper's teacher and a student over ``windows`` windows on ``threads`` threads.

    Args:
        folder: empty.
        windows: forecast in one run.
        threads: of both.
        form: of the student, whose widths are the usual ones of that form.

    Returns:
        ``ratio``: the teacher's roll-out / the student; ``passes_ratio``: the teacher by whole
        passes / the student; seconds of each.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return _speed(folder, windows, threads, form)
    finally:
        torch.set_num_threads(before)


def _speed(folder: Path, windows: int, threads: int, form: str) -> dict[str, Any]:
    data = make_data(folder, training_days=1, validation_days=1)
    student = make_network(data, find_form(form).student, form)
    teacher = make_network(data, TEACHER_CHANNELS).eval()
    filling = filling_of(causal_fill(data.card.day_kind, data.usual), data.card)
    widths = np.ones((STEPS, data.card.num_sensors), dtype=np.float32)
    content = to_onnx(student, data.scaler, STEPS, filling, widths)["model.onnx"]
    session = open_session(content, threads)
    scaled = torch.randn(windows, data.history_steps, data.card.num_sensors)
    readings = data.scaler.unscale(scaled)
    forecaster = Forecaster(teacher, data.scaler, STEPS, filling).eval()
    run = functools.partial(_run_student, session, readings.numpy())
    rolled = compared(run, functools.partial(_in_parts, forecaster, readings), repetitions=3)
    passes = functools.partial(_by_whole_passes, teacher)
    plain = compared(run, functools.partial(_in_parts, passes, scaled), repetitions=1)
    return {
        "student_seconds": rolled["base_seconds"],
        "teacher_seconds": rolled["other_seconds"],
        "ratio": rolled["ratio"],
        "ratio_spread": rolled["ratio_spread"],
        "passes_seconds": plain["other_seconds"],
        "passes_ratio": plain["ratio"],
    }


def quantised_errors(export: Export, data: PreparedData) -> dict[str, Any]:
    """Compare a student with its 8-bit version over the validation windows of its ``data``."""
    rows = window_rows(data.stretches("validation"), data.window_steps)
    windows = data.scaler.unscale(data.readings[rows[:, None] + torch.arange(data.history_steps)])
    ahead = torch.arange(data.history_steps, data.window_steps)
    truth = data.truth[rows[:, None] + ahead].numpy()
    content = (export.folder / "model.onnx").read_bytes()
    small = quantised(content)
    base = functools.partial(forecast_windows, content, windows.numpy())
    other = functools.partial(forecast_windows, small, windows.numpy())
    plain, eight = base(), other()
    return {
        "mae": float(np.nanmean(np.abs(plain - truth))),
        "mae_8_bits": float(np.nanmean(np.abs(eight - truth))),
        "mean_difference": float(np.abs(plain - eight).mean()),
        "max_difference": float(np.abs(plain - eight).max()),
        "bytes": len(content),
        "bytes_8_bits": len(small),
        "ratio": compared(base, other, repetitions=5)["ratio"],
    }


def quantised(content: bytes) -> bytes:
    """Return ``model.onnx`` with 8-bit weights, one scale per channel."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        proto = onnx.load_from_string(content)
        quantize_dynamic(proto, path, weight_type=QuantType.QInt8, per_channel=True)
        return path.read_bytes()


def _run_student(session: Any, readings: np.ndarray) -> None:
    for at in range(0, len(readings), WINDOWS_PER_RUN):
        session.run(["forecast"], {"readings": readings[at : at + WINDOWS_PER_RUN]})


@torch.inference_mode()
def _in_parts(forecaster: Any, readings: Tensor) -> None:
    # The layers of this many windows fit the cache of a core, which speeds up the teacher too.
    for part in torch.split(readings, WINDOWS_PER_RUN):
        forecaster(part)


def _by_whole_passes(model: SingleNetwork, scaled: Tensor) -> Tensor:
    """Forecast like Fig. 2: append each prediction, drop the oldest reading, start over."""
    forecasts = []
    for _ in range(STEPS):
        newest, _ = model(scaled[:, None])
        forecasts.append(newest)
        scaled = torch.cat([scaled[:, 1:], newest], dim=1)
    return torch.cat(forecasts, dim=1)


def main(arguments: list[str]) -> int:
    """Print the errors of an export with 8-bit weights as JSON and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.exported_students")
    parser.add_argument("export", type=Path)
    parser.add_argument("data", type=Path)
    given = parser.parse_args(arguments)
    export = open_export(given.export)
    data = prepare(open_dataset(given.data / export.card.name), export.manifest["history_steps"])
    sys.stdout.write(json.dumps(quantised_errors(export, data), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
