"""Compute the kernel of the graph convolution from distances between sensors.

distances [N, N] in kilometres -> Gaussian adjacency (Eq. 16) -> scaled Laplacian -> Chebyshev
stack. Does not read files and has no learned weights.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from core.errors import ConfigError, ShapeError
from core.shapes import GraphKernel

FloatMatrix = NDArray[np.floating]


def gaussian_adjacency(
    distances: FloatMatrix, sigma_squared: float = 10.0, epsilon: float = 0.5
) -> NDArray[np.float64]:
    """Return W_ij = exp(-d_ij^2 / sigma^2) where that is at least ``epsilon``, else 0 (Eq. 16).

    Args:
        distances: [N, N] in kilometres; infinity where no road joins two sensors.
        sigma_squared: width of the kernel, square kilometres.
        epsilon: threshold below which two sensors are not neighbours.

    Returns:
        [N, N] weights in [0, 1] with a zero diagonal.
    """
    if sigma_squared <= 0:
        raise ConfigError(f"sigma_squared must be positive, got {sigma_squared}")
    weights = np.exp(-np.square(_square_matrix(distances)) / sigma_squared)
    weights[weights < epsilon] = 0.0
    np.fill_diagonal(weights, 0.0)
    return weights


def scaled_laplacian(adjacency: FloatMatrix) -> NDArray[np.float64]:
    """Return 2 L / lambda_max - I for the normalised Laplacian L = I - D^-1/2 W D^-1/2.

    Its eigenvalues lie in [-1, 1]. A sensor without neighbours is only connected to itself.
    """
    weights = _square_matrix(adjacency)
    degree = weights.sum(axis=1)
    inverse_root = np.divide(1.0, np.sqrt(degree), out=np.zeros_like(degree), where=degree > 0)
    identity = np.eye(len(weights))
    laplacian = identity - inverse_root[:, None] * weights * inverse_root[None, :]
    largest = float(np.linalg.eigvalsh(laplacian)[-1])
    scaled: NDArray[np.float64] = 2.0 * laplacian / largest - identity
    return scaled


def chebyshev_stack(adjacency: FloatMatrix, order: int = 3) -> GraphKernel:
    """Return T_0 .. T_{order-1} of the scaled Laplacian, [order, N, N] in float32.

    T_0 = I, T_1 = X, T_k = 2 X T_{k-1} - T_{k-2}.
    """
    if order < 1:
        raise ConfigError(f"chebyshev_order must be at least 1, got {order}")
    operator = scaled_laplacian(adjacency)
    stack = [np.eye(len(operator)), operator]
    while len(stack) < order:
        stack.append(2.0 * operator @ stack[-1] - stack[-2])
    return torch.from_numpy(np.stack(stack[:order])).float()


def _square_matrix(matrix: FloatMatrix) -> NDArray[np.float64]:
    values = np.array(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] != values.shape[1]:
        raise ShapeError(f"a graph needs a square matrix [N, N], got shape {list(values.shape)}")
    return values
