"""Score how much each filter matters to the loss, from the gradients of training steps.

The score is KDIS, Eq. 13-14; with the plain loss it is that of Molchanov et al. (CVPR 2019). Uses
the gradients that the training step computes anyway. Does not decide which filters are removed
(``algorithm`` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor, nn

from core.families.networks import SingleNetwork
from core.stgcn_config import LayerShape

FilterScores = Float[Tensor, " C"]
"""One score for each filter that a layer still has."""


def filter_scores(model: SingleNetwork) -> list[FilterScores]:
    """Return KDIS of every filter, layer by layer: the sum of (gradient x weight)^2 (Eq. 13-14).

    The weights of a filter are those that compute its channel: its rows of the convolution with
    their biases, both the value's and the gate's for GLU, and its row of the residual's 1x1 map.
    Weights that read the channel, and layer norm's scale and shift with their maps, are removed
    with it but do not count.

    Args:
        model: after a backward pass, before the optimiser's step. Weights without a gradient
            count as zero.
    """
    return [_layer_scores(model, layer) for layer in model.config.layers]


def _layer_scores(model: SingleNetwork, layer: LayerShape) -> FilterScores:
    own = model.get_submodule(layer.name)
    rows = [_row_scores(own.get_parameter(name)) for name in ("weight", "bias")]
    # The gate's rows follow the value's: [2 C] -> [2, C].
    scores = torch.stack(rows).sum(dim=0).view(-1, len(layer.outgoing)).sum(dim=0)
    if layer.projected:
        scores = scores + _row_scores(own.get_parameter("residual"))
    return scores


def _row_scores(weight: nn.Parameter) -> Float[Tensor, " R"]:
    gradient = weight.grad
    if gradient is None:
        return weight.new_zeros(len(weight))
    return (gradient * weight.detach()).square().reshape(len(weight), -1).sum(dim=1)


@dataclass
class RunningScores:
    """The mean of filter scores over training steps, kept on the device to avoid synchronising."""

    steps: int = 0
    sums: list[Tensor] = field(default_factory=list)

    def add(self, scores: Sequence[Tensor]) -> None:
        """Add the scores of one step."""
        self.sums = [*map(torch.add, self.sums, scores)] if self.sums else list(scores)
        self.steps += 1

    def means(self) -> list[Tensor]:
        """Return the mean score of every filter, layer by layer."""
        return [total / self.steps for total in self.sums]
