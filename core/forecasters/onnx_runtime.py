"""Run the ONNX files of forecasters with ONNX Runtime on the CPU, and time them.

Does not import torch, so that a forecast starts fast.
"""

from __future__ import annotations

import functools
import os
import platform
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from core.errors import ExportError

Forecasts = NDArray[np.float32]
WINDOWS_PER_RUN = 64
"""The layers of this many windows fit the cache of a core; more are slower per window."""
TIMED_WINDOWS = (1, 1140)
"""One window is the case of a forecaster in service; 1,140 measure the arithmetic alone."""
_ROUNDS = {1: 50, 1140: 5}


def open_session(content: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """Open an ONNX file on ``threads`` threads of the CPU.

    Raises:
        ExportError: ONNX Runtime cannot run it.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"a forecaster must run in ONNX Runtime, but: {reason}; export the student again"
        ) from error


def forecast_windows(content: bytes, windows: Forecasts) -> Forecasts:
    """Forecast after every window [W, M, N] with a ``model.onnx``: [W, H, N]."""
    session = open_session(content)
    parts = [
        session.run(["forecast"], {"readings": windows[at : at + WINDOWS_PER_RUN]})[0]
        for at in range(0, len(windows), WINDOWS_PER_RUN)
    ]
    return np.concatenate(parts)


def forecast_live(content: bytes, readings: Forecasts) -> Forecasts:
    """Forecast after every row of readings [T, N] with a ``live.onnx``: [T, H, N].

    NaN after the first rows, until a whole window has been received.
    """
    session = open_session(content)
    state = np.zeros(session.get_inputs()[1].shape, dtype=np.float32)
    forecasts = []
    for row in readings:
        forecast, state = session.run(["forecast", "next_state"], {"reading": row, "state": state})
        forecasts.append(forecast)
    return np.stack(forecasts)


def measure_speed(content: bytes, history_steps: int, num_sensors: int) -> dict[str, Any]:
    """Time whole forecasts of a ``model.onnx`` on one thread.

    Returns:
        Machine, versions and threads, and for 1 and 1,140 windows the 10th, 50th and 90th
        percentile in milliseconds.
    """
    session = open_session(content)
    generator = np.random.default_rng(0)
    found = {}
    for windows in TIMED_WINDOWS:
        shape = (windows, history_steps, num_sensors)
        readings = generator.normal(0, 1, shape).astype(np.float32)
        run = functools.partial(session.run, ["forecast"], {"readings": readings})
        found[str(windows)] = _milliseconds(run, _ROUNDS[windows])
    return {
        "measured": "whole forecasts of model.onnx, after one that does not count",
        "runtime": f"onnxruntime {onnxruntime.__version__}",
        "threads": 1,
        "machine": platform.node(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "milliseconds": found,
    }


def _milliseconds(work: Callable[[], object], rounds: int) -> dict[str, Any]:
    work()
    taken = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        taken.append((time.perf_counter() - started) * 1e3)
    values = np.quantile(taken, (0.1, 0.5, 0.9))
    quantiles = zip(("p10", "p50", "p90"), map(float, values), strict=True)
    return {"rounds": rounds, **dict(quantiles)}
