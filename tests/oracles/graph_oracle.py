"""The graph equations restated naively in float64: loops, and eigenvectors instead of recursion."""

from __future__ import annotations

import math

import numpy as np


def adjacency(distances, sigma_squared, epsilon):
    """Eq. 16, entry by entry."""
    size = len(distances)
    weights = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            weight = math.exp(-(float(distances[i][j]) ** 2) / sigma_squared)
            if i != j and weight >= epsilon:
                weights[i, j] = weight
    return weights


def scaled_laplacian(weights):
    """2 L / lambda_max - I with L_ij = delta_ij - w_ij / sqrt(d_i d_j), entry by entry."""
    size = len(weights)
    degrees = [sum(weights[i][j] for j in range(size)) for i in range(size)]
    laplacian = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            joined = weights[i][j] > 0
            scaled = weights[i][j] / math.sqrt(degrees[i] * degrees[j]) if joined else 0.0
            laplacian[i, j] = (i == j) - scaled
    largest = max(np.linalg.eigvals(laplacian).real)
    return 2 * laplacian / largest - np.eye(size)


def chebyshev_filter(operator, coefficients, signal):
    """sum_k c_k T_k(X) s through the eigenvectors of X, where T_k(x) = cos(k arccos x)."""
    values, vectors = np.linalg.eigh(operator)
    angles = np.arccos(np.clip(values, -1.0, 1.0))
    response = sum(c * np.cos(k * angles) for k, c in enumerate(coefficients))
    return vectors @ (response * (vectors.T @ signal))
