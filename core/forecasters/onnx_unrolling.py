"""Join the ONNX graphs of a first and a following step into one graph of a whole forecast.

The nodes of the following step are repeated; its weights are stored once, and those that the first
step has too are not stored again. Does not know the network, only the names of values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from core.preprocessing.scaling import Scaler

Names = Mapping[str, str]


def unrolled(
    first: onnx.ModelProto,
    following: onnx.ModelProto | None,
    steps: int,
    scaler: Scaler,
    added: str,
    kept: Sequence[str],
    squeezed: bool = False,
) -> onnx.ModelProto:
    """Return a model whose output ``forecast`` is the unscaled predictions of all steps.

    Args:
        first: its first output is a scaled prediction [B, 1, N]; others are named like inputs of
            ``following``.
        following: maps a prediction and its tails to the next prediction and tails, in the same
            order; None where ``first`` predicts all steps [B, H, N].
        steps: H, of the whole forecast.
        scaler: to unscale with.
        added: an output of ``first`` to add to the forecast.
        kept: outputs of ``first`` that become outputs of the model too.
        squeezed: the forecast is of a single window and loses its first axis.
    """
    model = onnx.ModelProto()
    model.CopyFrom(first)
    graph = model.graph
    predictions = [graph.output[0].name]
    if following is not None:
        shared = _add_weights(graph, following.graph)
        carried = {one.name: one.name for one in following.graph.input}
        for step in range(1, steps):
            carried = _add_step(graph, following.graph, {**shared, **carried}, f"step_{step}")
            predictions.append(next(iter(carried.values())))
    _finish(graph, predictions, scaler, added, squeezed)
    shape = _forecast_shape(first.graph, steps, windows=not squeezed)
    outputs = [one for one in first.graph.output if one.name in kept]
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("forecast", TensorProto.FLOAT, shape))
    graph.output.extend(outputs)
    return model


def with_interval(model: onnx.ModelProto, half_widths: Float[np.ndarray, "H N"]) -> onnx.ModelProto:
    """Return ``model`` with outputs ``lower`` and ``upper``, so far from its ``forecast``."""
    wider = onnx.ModelProto()
    wider.CopyFrom(model)
    graph = wider.graph
    widths = numpy_helper.from_array(half_widths.astype(np.float32), "interval.half_widths")
    graph.initializer.append(widths)
    forecast = next(one for one in graph.output if one.name == "forecast")
    for name, operation in (("lower", "Sub"), ("upper", "Add")):
        graph.node.append(helper.make_node(operation, ["forecast", "interval.half_widths"], [name]))
        end = graph.output.add()
        end.CopyFrom(forecast)
        end.name = name
    return wider


def _add_weights(graph: onnx.GraphProto, following: onnx.GraphProto) -> dict[str, str]:
    """Add the weights of ``following`` that ``graph`` lacks; return the name of each there."""
    known = {_identity(weight): weight.name for weight in graph.initializer}
    names = {}
    for weight in following.initializer:
        if _identity(weight) not in known:
            added = graph.initializer.add()
            added.CopyFrom(weight)
            added.name = known[_identity(weight)] = f"following.{weight.name}"
        names[weight.name] = known[_identity(weight)]
    return names


def _identity(weight: onnx.TensorProto) -> bytes:
    nameless = onnx.TensorProto()
    nameless.CopyFrom(weight)
    nameless.name = nameless.doc_string = ""
    del nameless.metadata_props[:]
    return bytes(nameless.SerializeToString())


def _add_step(
    graph: onnx.GraphProto, following: onnx.GraphProto, known: Names, label: str
) -> dict[str, str]:
    """Append the nodes of ``following`` under new names; return the inputs of the next step."""

    def named(value: str) -> str:
        # An omitted optional input has an empty name.
        return known.get(value, f"{label}.{value}" if value else "")

    for node in following.node:
        copied = graph.node.add()
        copied.CopyFrom(node)
        copied.name = f"{label}.{node.name}"
        copied.input[:] = [named(value) for value in node.input]
        copied.output[:] = [named(value) for value in node.output]
    pairs = zip(following.input, following.output, strict=True)
    return {given.name: named(made.name) for given, made in pairs}


def _finish(
    graph: onnx.GraphProto, predictions: Sequence[str], scaler: Scaler, added: str, squeezed: bool
) -> None:
    for name, value in (("forecast.std", scaler.std), ("forecast.mean", scaler.mean)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [], [value]))
    last = "forecast.windows" if squeezed else "forecast"
    nodes = [
        helper.make_node("Concat", predictions, ["forecast.scaled"], axis=1),
        helper.make_node("Mul", ["forecast.scaled", "forecast.std"], ["forecast.spread"]),
        helper.make_node("Add", ["forecast.spread", "forecast.mean"], ["forecast.whole"]),
        helper.make_node("Add", ["forecast.whole", added], [last]),
    ]
    if squeezed:
        axes = helper.make_tensor("forecast.axes", TensorProto.INT64, [1], [0])
        graph.initializer.append(axes)
        nodes.append(helper.make_node("Squeeze", [last, "forecast.axes"], ["forecast"]))
    graph.node.extend(nodes)


def _forecast_shape(first: onnx.GraphProto, steps: int, windows: bool) -> list[int | str]:
    given = first.input[0].type.tensor_type.shape.dim
    sensors = given[-1].dim_value
    return [given[0].dim_param, steps, sensors] if windows else [steps, sensors]
