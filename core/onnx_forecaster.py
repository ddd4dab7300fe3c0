"""A student and its scaler in, one ONNX forecaster out, and how far the two are apart.

The forecaster takes readings in their own unit and answers in that unit: scaling, graph kernel and
roll-out are inside, so whoever runs it needs no code of this project. Gaps are not: it is fed
readings without. Writes no files.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
import onnx
import onnxruntime
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from onnxscript import optimizer
from torch import Tensor, nn

from core.forecasting import roll_out
from core.preprocessing.prepare import PreparedData
from core.preprocessing.scaling import Scaler
from core.preprocessing.windows import window_rows
from core.stgcn import STGCN

OPSET = 20
TOLERANCE = 1e-3
"""How far ONNX may be from PyTorch, in the readings' unit."""
ROUNDING_FACTOR = 4.0
"""Where float32 itself is coarser than that: how many times its own rounding error."""
_WINDOWS_PER_RUN = 256


class Forecaster(nn.Module):
    """Readings in their own unit in, the whole forecast in the same unit out."""

    def __init__(self, model: STGCN, scaler: Scaler, horizon_steps: int) -> None:
        """Copy ``model`` to the CPU."""
        super().__init__()
        self.model = copy.deepcopy(model).cpu()
        self.scaler, self.horizon_steps = scaler, horizon_steps

    def forward(self, readings: Float[Tensor, "B M N"]) -> Float[Tensor, "B H N"]:
        """Map [B, history_steps, N] to [B, horizon_steps, N], computing only newest columns."""
        columns, tails = self.scaler.scale(readings)[:, None], None
        forecasts = []
        for _ in range(self.horizon_steps):
            newest, _, inputs = self.model.stream(columns, tails)
            tails = self.model.last_tails(inputs)
            forecasts.append(newest)
            columns = newest[:, None]
        return self.scaler.unscale(torch.cat(forecasts, dim=1))


@dataclass(frozen=True)
class Parity:
    """How far an ONNX forecaster is from PyTorch, over all validation windows."""

    max_difference: float
    """In the readings' unit, over all windows, steps and sensors."""
    mean_difference: float
    rounding: float
    """The largest difference that float32 alone makes in PyTorch, against float64."""
    windows: int

    @property
    def tolerance(self) -> float:
        """What ``max_difference`` may be.

        A roll-out can magnify the last bit of float32, now and then a thousandfold; two runs in
        float32 agree no better than that, even within PyTorch.
        """
        return max(TOLERANCE, ROUNDING_FACTOR * self.rounding)

    @property
    def holds(self) -> bool:
        """Whether both forecast the same; NaN never does."""
        return self.max_difference <= self.tolerance


def to_onnx(model: STGCN, scaler: Scaler, horizon_steps: int) -> bytes:
    """Return the forecaster as one ONNX file.

    Its input ``readings`` is float32 [batch, history_steps, N], its output ``forecast`` float32
    [batch, horizon_steps, N]; ``batch`` may be any number.
    """
    config = model.config
    example = torch.full((2, config.history_steps, config.num_sensors), scaler.mean)
    with _silence():
        program = torch.onnx.export(
            Forecaster(model, scaler, horizon_steps).eval(),
            (example,),
            input_names=["readings"],
            output_names=["forecast"],
            dynamic_shapes={"readings": {0: torch.export.Dim("batch")}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            # The full optimiser takes as long as the export, and saves no run time on a CPU.
            optimize=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        proto = program.model_proto
    _strip_traces(proto)
    content: bytes = proto.SerializeToString()
    return content


def measure_parity(content: bytes, model: STGCN, data: PreparedData) -> Parity:
    """Compare an ONNX forecaster with PyTorch's roll-out over all validation windows."""
    data, model = data.to(torch.device("cpu")), copy.deepcopy(model).cpu()
    rows = window_rows(data.stretches("validation"), data.window_steps)
    reference, actual = _torch_forecasts(model, data), _onnx_forecasts(content, data, rows)
    precise = replace(data, readings=data.readings.double())
    rounding = np.abs(_torch_forecasts(model.double(), precise) - reference).max()
    difference = np.abs(actual.astype(np.float64) - reference)
    return Parity(
        float(difference.max()), float(difference.mean()), float(rounding), windows=len(rows)
    )


def _torch_forecasts(model: STGCN, data: PreparedData) -> NDArray[np.floating]:
    """Return the forecasts of all validation windows, in order [W, H, N]."""
    forecasts = []
    for stretch in data.stretches("validation"):
        last = stretch.stop - data.horizon_steps
        for start in range(stretch.start, last - data.history_steps + 1, _WINDOWS_PER_RUN):
            stop = min(start + _WINDOWS_PER_RUN + data.history_steps - 1, last)
            seen = data.readings[start:stop]
            forecasts.append(data.scaler.unscale(roll_out(model, seen, data.horizon_steps)))
    return torch.cat(forecasts).numpy()


def _onnx_forecasts(content: bytes, data: PreparedData, rows: Tensor) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    readings = data.scaler.unscale(data.readings)
    steps = torch.arange(data.history_steps)
    return np.concatenate(
        [
            session.run(["forecast"], {"readings": readings[some[:, None] + steps].numpy()})[0]
            for some in torch.split(rows, _WINDOWS_PER_RUN)
        ]
    )


@contextmanager
def _silence() -> Iterator[None]:
    # The exporter warns of its own deprecations and of packages it could use; none concern a user.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Drop the exporter's stack traces: a third of the file, and paths of this machine."""
    graph = proto.graph
    for part in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
