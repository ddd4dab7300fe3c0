"""Remove channels from a network and from the state of its optimiser.

Nothing is masked: the weights of removed channels, and all weights that read them, are sliced away.
Does not decide which channels to keep (``importance`` and ``algorithm`` do).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from core.errors import ConfigError
from core.families import NetworkConfig, read_config
from core.families.astgcn_config import ASTGCNConfig
from core.families.networks import SingleNetwork, build
from core.stgcn_config import Kept, LayerShape

Axes = tuple[Kept | None, ...]
"""The positions to keep along each axis of a weight; None, or no entry for the last ones: all."""


def shrink(model: SingleNetwork, kept: tuple[Kept, ...]) -> SingleNetwork:
    """Return a new network with only the channels ``kept``; ``model`` is unchanged.

    Its outputs are those of ``model`` with all other channels set to zero after every layer and
    layer norm taken over the kept channels.

    Args:
        model: may have been shrunk before.
        kept: the channels to keep of each prunable layer (``layers`` of a config), by their index
            in the unpruned network; all of them must exist in ``model``.

    Raises:
        ConfigError: a layer would be empty, or a channel does not exist.
    """
    config = _narrowed(model.config, kept)
    with torch.random.fork_rng(devices=[]):
        # The initial weights are replaced below: drawing them must not advance the random state.
        smaller = build(config, model.graph_kernel.cpu())
    smaller.to(model.graph_kernel)
    axes = _axes(model.config, config)
    with torch.no_grad():
        for name, weight in smaller.named_parameters():
            weight.copy_(_sliced(model.get_parameter(name), axes[name]))
    return smaller


def shrink_optimizer(
    optimizer: torch.optim.Optimizer, model: SingleNetwork, smaller: SingleNetwork
) -> None:
    """Replace the weights of ``model`` in ``optimizer`` by those of ``smaller``.

    The state of each weight (running squares, moments, steps) is kept, sliced like the weight.

    Args:
        optimizer: RMSProp or Adam; holds the weights of ``model``.
        model: the network that ``smaller`` was shrunk from.
        smaller: the result of ``shrink``.
    """
    axes = _axes(model.config, smaller.config)
    names: dict[Tensor, str] = {weight: name for name, weight in model.named_parameters()}
    state = dict(optimizer.state)
    optimizer.state.clear()
    for group in optimizer.param_groups:
        group["params"] = [smaller.get_parameter(names[weight]) for weight in group["params"]]
    for weight, slots in state.items():
        name = names[weight]
        optimizer.state[smaller.get_parameter(name)] = {
            slot: _sliced(value, axes[name]) if _is_per_weight(value, weight) else value
            for slot, value in slots.items()
        }


def _is_per_weight(value: object, weight: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == weight.shape


def _narrowed(config: NetworkConfig, kept: tuple[Kept, ...]) -> NetworkConfig:
    narrowed = read_config({**config.to_json(), "kept": kept})
    pairs = zip(narrowed.kept_channels, config.layers, strict=True)
    for stays, layer in pairs:
        gone = sorted(set(stays) - set(layer.outgoing))
        if gone:
            raise ConfigError(
                f"what stays must still be there, but channel {gone[0]} of {layer.name} was pruned "
                "before; keep some of config.kept_channels"
            )
    return narrowed


def _axes(config: NetworkConfig, narrowed: NetworkConfig) -> dict[str, Axes]:
    """Return for every weight, by name, the positions to keep along each axis."""
    if isinstance(config, ASTGCNConfig):
        return _astgcn_axes(config, narrowed)
    # Biases per sensor or step ahead and the table of sensors have no axis of channels.
    axes: dict[str, Axes] = {"output.bias": (None,), "sensors": (None,)}
    for layer, smaller in zip(config.layers, narrowed.layers, strict=True):
        axes |= dict(_layer_axes(layer, smaller))
    heads = _positions(config.kept_channels[-1], narrowed.kept_channels[-1])
    axes["output.weight"] = (None, heads) if config.head == "horizon" else (heads,)
    return axes


def _astgcn_axes(config: ASTGCNConfig, narrowed: NetworkConfig) -> dict[str, Axes]:
    heads = _positions(config.kept_channels[-1], narrowed.kept_channels[-1])
    axes: dict[str, Axes] = {"head": (None, None, heads), "head_bias": (None,)}
    taken: Kept = ()
    for layer, smaller in zip(config.layers, narrowed.layers, strict=True):
        axes |= dict(_layer_axes(layer, smaller))
        if layer.kind == "graph":  # the block's first: what it takes, all of the block takes
            taken = _positions(layer.incoming, smaller.incoming)
            block = layer.name.rsplit(".", 1)[0]
            for attention in ("steps", "sensors"):
                for name in ("first", "weight", "bias"):
                    axes[f"{block}.{attention}.{name}"] = (None,)
                for name in ("second", "third"):
                    axes[f"{block}.{attention}.{name}"] = (taken,)
        else:
            axes[f"{layer.name}.residual"] = (axes[f"{layer.name}.bias"][0], taken)
    return axes


def _layer_axes(layer: LayerShape, smaller: LayerShape) -> Iterator[tuple[str, Axes]]:
    incoming = _positions(layer.incoming, smaller.incoming)
    outgoing = _positions(layer.outgoing, smaller.outgoing)
    rows = outgoing
    if layer.kind == "glu":  # the gate's rows follow the value's
        rows = outgoing + tuple(len(layer.outgoing) + position for position in outgoing)
    graph = layer.kind == "graph"
    yield f"{layer.name}.weight", (rows, incoming, None) if graph else (rows, None, incoming)
    yield f"{layer.name}.bias", (rows,)
    if layer.projected:
        yield f"{layer.name}.residual", (outgoing, incoming)
    if layer.normed:
        norm = layer.name.rsplit(".", 1)[0] + ".norm"
        for name in ("scale", "shift", "scale_map", "shift_map"):  # maps of low-rank norms alone
            yield f"{norm}.{name}", (outgoing,)


def _positions(channels: Kept, stays: Kept) -> Kept:
    return tuple(position for position, channel in enumerate(channels) if channel in set(stays))


def _sliced(values: Tensor, axes: Axes) -> Tensor:
    for axis, positions in enumerate(axes):
        if positions is not None:
            values = values.index_select(axis, torch.tensor(positions, device=values.device))
    return values
