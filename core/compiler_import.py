"""Keep PyTorch's compiler from being imported by processes that compile nothing.

Optimizers and the counter of FLOPs import ``torch._dynamo`` when they are first called, and with it
SymPy and the ONNX exporter, only to say what is not to be compiled. That takes as long as importing
PyTorch itself, in every worker of a sweep. Changes no number, and nothing at all in a program that
has imported the compiler before.
"""

from __future__ import annotations

import inspect
import sys
from typing import Final

import torch
from torch.optim import Optimizer
from torch.utils.flop_counter import _FlopCounterMode

_COMPILER: Final = "torch._dynamo"
_MARKED_WHEN_CALLED: Final = (
    Optimizer.add_param_group,
    Optimizer.zero_grad,
    Optimizer.state_dict,
    Optimizer.load_state_dict,
    _FlopCounterMode.__torch_dispatch__,
)
"""Wrapped by ``torch._compile._disable_dynamo``, which looks for the mark below first."""
_MARK: Final = "__dynamo_disable"


def leave_compiler_out() -> None:
    """Let the functions that would import the compiler call what they wrap right away."""
    if _COMPILER in sys.modules:
        return
    for function in _MARKED_WHEN_CALLED:
        wrapped = getattr(function, "__wrapped__", None)
        if wrapped is not None and not hasattr(wrapped, _MARK):
            setattr(wrapped, _MARK, wrapped)


def step_optimizer(optimizer: Optimizer) -> None:
    """Take one step, without the wrapper of ``step`` that tells the compiler of it.

    The wrapper also calls hooks, so an optimizer with hooks keeps it.
    """
    hooks = optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks
    if _COMPILER in sys.modules or any(hooks):
        optimizer.step()
        return
    with torch.no_grad():
        inspect.unwrap(type(optimizer).step)(optimizer)
