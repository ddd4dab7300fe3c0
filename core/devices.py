"""Choose the torch device that a name stands for, and refuse one that does not exist.

Does not move tensors and does not set torch's default device.
"""

from __future__ import annotations

import torch

from core.errors import ConfigError


def choose_device(name: str = "auto") -> torch.device:
    """Return the device called ``name``; ``auto`` takes a GPU if there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in {"cpu", "cuda"}:
        raise ConfigError(f"the device must be auto, cpu, cuda or cuda:INDEX, got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(f"device {name!r} needs a GPU that torch can see; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ConfigError(
            f"the device must be cuda:0 to cuda:{count - 1}, got {name!r}; choose one"
        )
    return device
