"""A small STGCN whose weights, graph and input are waves, not random: the same for ever.

``python -m tests.golden.wave_network`` writes ``wave_network.json``: what the oracle, not the
network, makes of them. Only a change of the method itself is a reason to write it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.stgcn import STGCN, STGCNConfig
from tests.oracles import stgcn_oracle as oracle

GOLDEN_FILE = Path(__file__).with_name("wave_network.json")
CONFIG = STGCNConfig(num_sensors=3, channels=((1, 2, 4), (4, 2, 3)), history_steps=11)


def wave(*shape: int) -> Tensor:
    """The sine of a ramp in memory order, float64: no entry equals another."""
    ramp = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64)
    return torch.sin(ramp).reshape(shape)


def wave_network() -> STGCN:
    """The network in float64: every weight tensor, scales and biases too, is a wave."""
    identity = torch.eye(3, dtype=torch.float64)[None]
    model = STGCN(CONFIG, torch.cat([identity, wave(2, 3, 3)])).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(wave(*parameter.shape))
    return model


def wave_history() -> Tensor:
    """Two windows, [2, 1, 11, 3]."""
    return wave(2, 1, 11, 3)


def golden_values() -> list[dict[str, Any]]:
    """Whole tensors of every window, by the oracle."""
    model = wave_network()
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    found = []
    for window in wave_history()[:, 0].numpy():
        prediction, layers = oracle.predict(weights, model.graph_kernel.numpy(), 2, window[None])
        found.append(
            {
                "prediction": prediction.tolist(),
                "temporal": [layer.tolist() for layer in layers.temporal],
                "spatial": [layer.tolist() for layer in layers.spatial],
            }
        )
    return found


if __name__ == "__main__":
    rounded = json.loads(
        json.dumps(golden_values()), parse_float=lambda text: round(float(text), 9)
    )
    GOLDEN_FILE.write_text(json.dumps(rounded) + "\n")
