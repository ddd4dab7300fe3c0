"""Save and load a student's forecaster as a ``torch.export`` program.

The program maps readings [batch, history_steps, N] to forecasts [batch, horizon_steps, N], both in
their own unit, and fills gaps like ``model.onnx``. A ``.pt2`` file is a ZIP of a JSON graph and raw
weights; torch would add the example it was traced with as a pickle, and reads weights of unusual
layouts from pickles. Ours contain none, and a file with one is refused before torch reads it.
"""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable

import torch
from torch import Tensor

from core.errors import ExportError
from core.families.networks import SingleNetwork
from core.forecasters.gap_filling import GapFilling
from core.forecasters.modules import Forecaster
from core.preprocessing.scaling import Scaler

Program = Callable[[Tensor], Tensor]
_PATHS_OF_THIS_MACHINE = ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node")


def to_program(
    model: SingleNetwork, scaler: Scaler, horizon_steps: int, filling: GapFilling
) -> bytes:
    """Return the forecaster as the bytes of a program for ``torch.export.load``."""
    forecaster = Forecaster(model, scaler, horizon_steps, filling).eval()
    config = model.config
    example = torch.full((2, config.history_steps, config.num_sensors), scaler.mean)
    with warnings.catch_warnings():
        # torch warns of its own deprecations.
        warnings.simplefilter("ignore")
        program = torch.export.export(
            forecaster,
            (example,),
            dynamic_shapes={"readings": {0: torch.export.Dim("batch")}},
        )
        program.example_inputs = None
        for node in program.graph.nodes:
            for name in _PATHS_OF_THIS_MACHINE:
                node.meta.pop(name, None)
        stream = io.BytesIO()
        torch.export.save(program, stream)
    return stream.getvalue()


def load_program(content: bytes) -> Program:
    """Load a program written by ``to_program``.

    Raises:
        ExportError: not a program, or one that needs pickle to be read.
    """
    try:
        _refuse_pickles(content)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(io.BytesIO(content)).module()
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ExportError(
            f"model.pt2 must be a torch.export program without pickles: {reason}; "
            "export the student again"
        ) from error


def _refuse_pickles(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        for entry in archive.infolist():
            if "/sample_inputs/" in entry.filename and entry.file_size:
                raise ValueError(f"{entry.filename} is a pickle")
            if entry.filename.endswith("_config.json"):
                _refuse_pickled_weights(json.loads(archive.read(entry))["config"])


def _refuse_pickled_weights(payloads: dict[str, dict[str, object]]) -> None:
    for name, payload in payloads.items():
        if payload["use_pickle"]:
            raise ValueError(f"{name} is a pickle")
