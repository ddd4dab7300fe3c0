"""Measure Table 1: parameters, FLOPs and the time of a pass over 1,140 windows, on this machine.

Times depend on shapes alone, so the networks are not trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from core.evaluation.profiling import Timing, measure_latency
from core.experiments import network_shape, new_network
from core.families import NetworkConfig
from core.forms import find_form
from core.preprocessing.prepare import PreparedData
from core.stgcn import PRUNING_BASE_CHANNELS
from hpo.trials.trial_settings import shape_flops

WINDOWS = 1140
"""As in Table 1."""
ROUNDS = 10
SECONDS = 30.0


@dataclass(frozen=True)
class Sizes:
    """Sizes and times of the networks of Table 1."""

    shapes: Mapping[str, NetworkConfig]
    """By row: ``teacher``, ``base`` and ``none``, the student."""
    timing: Timing
    """Of one pass over ``WINDOWS`` windows, in the order of the rows."""

    def flops(self, row: str) -> int:
        """Return the operations of one pass over one window."""
        return shape_flops(self.shapes[row])


def measure_sizes(data: PreparedData, form: str) -> Sizes:
    """Time the networks of a form in turns, on one CPU thread."""
    own = find_form(form)
    teacher = network_shape(data, own.teacher, own.with_rank(own.teacher_rank))
    shapes = {
        "teacher": teacher,
        "base": replace(teacher, channels=PRUNING_BASE_CHANNELS),
        "none": network_shape(data, own.student, own.network),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        models = [new_network(shape, data.graph_kernel, seed=0) for shape in shapes.values()]
        timing = measure_latency(models, WINDOWS, ROUNDS, SECONDS)
    finally:
        torch.set_num_threads(threads)
    return Sizes(shapes, timing)
