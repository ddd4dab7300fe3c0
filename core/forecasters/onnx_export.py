"""Convert a student and its scaler to ONNX files of its forecasters.

Both files read and return values in the unit of the readings: scaling, graph kernel and roll-out
are inside, so running them needs no code of this project, and so is what fills gaps. Each file is
assembled from one step that reads readings and one that reads the prediction before, so the
converter traces the network twice instead of once per step; a horizon head needs the first step
alone. Does not write files and does not compare them with PyTorch (``core.forecasters.parity``
does).
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from jaxtyping import Float
from onnxscript import optimizer
from torch import nn

from core.errors import ConfigError
from core.families.networks import SingleNetwork
from core.forecasters.gap_filling import GapFilling
from core.forecasters.modules import FirstStep, LiveStep, NextStep, new_state, new_tails, state_rows
from core.forecasters.onnx_unrolling import unrolled, with_interval
from core.preprocessing.scaling import Scaler

OPSET = 20
_UNLESS_READY = "unless_ready"
_BATCH = torch.export.Dim("batch")


def to_onnx(
    model: SingleNetwork,
    scaler: Scaler,
    horizon_steps: int,
    filling: GapFilling,
    half_widths: Float[np.ndarray, "H N"],
) -> dict[str, bytes]:
    """Return the forecaster as ONNX files: name -> content.

    ``model.onnx``: ``readings`` float32 [batch, history_steps, N] to ``forecast`` float32
    [batch, horizon_steps, N] and ``filled`` [batch, N]; ``batch`` is dynamic.

    ``live.onnx``: one new row ``reading`` [N] and ``state`` [S, N] to ``forecast``
    [horizon_steps, N], ``next_state`` [S, N] and ``filled`` [N], as in
    ``core.forecasters.modules.LiveStep``.

    Readings are NaN where nothing was measured; ``filled`` says how many of a sensor, in a row and
    up to the newest, were filled. Its forecast is NaN where more were than the limit. ``lower`` and
    ``upper``, shaped like ``forecast``, are ``half_widths`` below and above it.

    Raises:
        ConfigError: a horizon head predicts another number of steps.
    """
    if model.config.steps_ahead not in {None, horizon_steps}:
        raise ConfigError(
            f"a horizon head is exported with the {model.config.steps_ahead} steps it predicts, "
            f"got {horizon_steps}"
        )
    model = copy.deepcopy(model).cpu().eval()
    N, after = model.config.num_sensors, _tail_names(model)
    following = _following(model) if model.config.steps_ahead is None else None
    window = torch.full((2, model.config.history_steps, N), scaler.mean)
    first = _convert(
        FirstStep(model, scaler, filling),
        (window,),
        {"readings": {0: _BATCH}},
        ["readings"],
        ["newest", *after, _UNLESS_READY, "filled"],
    )
    live = _convert(
        LiveStep(model, scaler, filling),
        (window[0, 0], new_state(model)),
        None,
        ["reading", "state"],
        ["newest", *after, "next_state", _UNLESS_READY, "filled"],
    )
    batch = unrolled(first, following, horizon_steps, scaler, _UNLESS_READY, ["filled"])
    kept = ["next_state", "filled"]
    stream = unrolled(live, following, horizon_steps, scaler, _UNLESS_READY, kept, squeezed=True)
    files = {"model.onnx": batch, "live.onnx": stream}
    return {name: _content(with_interval(proto, half_widths)) for name, proto in files.items()}


def _following(model: SingleNetwork) -> onnx.ModelProto:
    """Convert the step that sees the prediction before."""
    after = _tail_names(model)
    return _convert(
        NextStep(model),
        (torch.zeros(2, 1, model.config.num_sensors), new_tails(model, windows=2)),
        {"newest": {0: _BATCH}, "tails": [{0: _BATCH}] * len(after)},
        ["newest", *after],
        ["following", *(f"next_{name}" for name in after)],
    )


def _tail_names(model: SingleNetwork) -> list[str]:
    return [f"tail_{index}" for index in range(len(state_rows(model)))]


def _convert(
    module: nn.Module,
    example: tuple[Any, ...],
    dynamic_shapes: dict[str, Any] | None,
    inputs: list[str],
    outputs: list[str],
) -> onnx.ModelProto:
    with _silence(), torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            example,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
            # The full optimiser takes as long as the rest and saves no inference time on a CPU.
            optimize=False,
        )
        if program is None:
            raise RuntimeError("torch.onnx.export returned nothing")
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        return program.model_proto


def _content(proto: onnx.ModelProto) -> bytes:
    optimizer.remove_unused_nodes(proto)
    _strip_traces(proto)
    onnx.checker.check_model(proto, full_check=True)
    content: bytes = proto.SerializeToString()
    return content


@contextmanager
def _silence() -> Iterator[None]:
    # The exporter warns of its own deprecations and of optional packages; none concern a user.
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip_traces(proto: onnx.ModelProto) -> None:
    """Remove the exporter's stack traces: a third of the file, and paths of this machine."""
    graph = proto.graph
    for part in [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]:
        del part.metadata_props[:]
        part.doc_string = ""
    del graph.metadata_props[:]
    del graph.value_info[:]
