"""Choose the module that computes the correlation terms of a student's tensor.

``torch``, the reference, runs anywhere and in any precision; ``numba`` (CPU) and ``triton`` (CUDA)
are compiled, many times faster and need less memory, for float32. By default a tensor gets the
fastest that fits; a missing package costs speed only and is logged once. Computes no term itself.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
from types import ModuleType
from typing import Final

import torch
from torch import Tensor

from core.errors import ConfigError, UnknownNameError

logger = logging.getLogger(__name__)

BACKENDS: Final = ("torch", "numba", "triton")

_DEVICES: Final = {"numba": "cpu", "triton": "cuda"}


def compiled_terms(student: Tensor, backend: str | None) -> ModuleType | None:
    """Return the compiled terms that ``backend`` and the student's tensor select; None: torch.

    Raises:
        UnknownNameError: no such backend.
        ConfigError: the backend does not run on this tensor or machine.
    """
    if backend is not None and backend not in BACKENDS:
        raise UnknownNameError("backend", backend, BACKENDS)
    chosen = backend or _fastest_for(student)
    if chosen == "torch":
        return None
    if not _fits(student, chosen):
        raise ConfigError(
            f"backend {chosen} needs float32 on the {_DEVICES[chosen]}, got "
            f"{student.dtype} on {student.device}; use backend torch"
        )
    compiled = import_compiled_terms(chosen)
    if compiled is None and backend is not None:
        raise ConfigError(
            f"backend {chosen} needs the package {chosen}, found none; pip install {chosen}"
        )
    return compiled


def check_samples(backend: str | None) -> None:
    """Raise ``ConfigError`` unless ``backend`` supports sampled pairs."""
    if backend not in (None, "torch"):
        raise ConfigError(
            f"sampled pairs need backend torch, got {backend}; leave the backend or the pairs out"
        )


@functools.cache
def import_compiled_terms(backend: str = "numba") -> ModuleType | None:
    """Import the compiled terms at first use, since it is slow; None where a package is missing."""
    try:
        return importlib.import_module(f"{__package__}.{_DEVICES[backend]}")
    except ImportError:
        logger.warning(
            "correlation terms run many times faster with %s: pip install %s", backend, backend
        )
        return None


def _fastest_for(student: Tensor) -> str:
    by_device = {device: backend for backend, device in _DEVICES.items()}
    fits = student.dtype == torch.float32
    return by_device.get(student.device.type, "torch") if fits else "torch"


def _fits(student: Tensor, backend: str) -> bool:
    # Triton's interpreter runs its kernels on the CPU.
    interpreted = backend == "triton" and os.environ.get("TRITON_INTERPRET") == "1"
    devices = {_DEVICES[backend], "cpu" if interpreted else _DEVICES[backend]}
    return student.dtype == torch.float32 and student.device.type in devices
