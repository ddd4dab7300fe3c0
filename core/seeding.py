"""Derive independent random seeds from the seed of a run and a purpose.

Adding a random choice in one place therefore never changes another. Does not touch the global
random state.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for ``purpose``, the same on every machine and Python version."""
    text = "/".join([str(seed), *map(str, purpose)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU generator seeded for ``purpose``."""
    return torch.Generator().manual_seed(derived_seed(seed, *purpose))
