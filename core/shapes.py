"""Name the axes of the project's arrays and define the array types written with them.

``B`` windows in a batch, ``C`` channels, ``T`` time steps, ``N`` sensors, ``K`` Chebyshev order,
``H`` time steps ahead. Signals are ``B C T N``. The annotations cost nothing at run time; only the
tests check them.
"""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

Signal = Float[Tensor, "B C T N"]
"""The input or output of a layer."""

OtherSignal = Float[Tensor, "_ _ _ _"]
"""A signal whose sizes need not be those of the other signals in the same call."""

WindowValues = Float[Tensor, "B *H N"]
"""A prediction or its target: one value per window and sensor [B, N], or, of networks that predict
H time steps in one pass, one per window, time step and sensor [B, H, N]."""

GraphKernel = Float[Tensor, "K N N"]
"""Chebyshev polynomials T_0 .. T_{K-1} of the scaled Laplacian."""

Scalar = Float[Tensor, ""]
"""A loss."""

Rows = Int[Tensor, " W"]
"""First row indices of windows: the only key that joins windows and teacher targets."""
