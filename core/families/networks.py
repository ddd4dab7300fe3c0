"""Make the network of a config of any family, with fresh weights. Reads no files."""

from __future__ import annotations

from core.families import NetworkConfig
from core.families.astgcn import ASTGCN
from core.families.astgcn_config import ASTGCNConfig
from core.shapes import GraphKernel
from core.stgcn import STGCN

SingleNetwork = STGCN | ASTGCN
"""A network of any family."""


def build(config: NetworkConfig, graph_kernel: GraphKernel) -> SingleNetwork:
    """Return a network of this shape with weights from torch's generator.

    Args:
        config: of any family.
        graph_kernel: [chebyshev_order, N, N], T_0 = I first (``core.graph.chebyshev_stack``).
    """
    if isinstance(config, ASTGCNConfig):
        return ASTGCN(config, graph_kernel)
    return STGCN(config, graph_kernel)
