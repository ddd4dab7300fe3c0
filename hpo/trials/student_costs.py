"""Compute a student's costs from its settings, before it is trained, and check them against limits.

Costs are parameters, FLOPs and latency. Latency is the processor time of one forecast over the
dataset's whole horizon from one window: a fresh network of the student's shape on one CPU thread
of the driver's machine, the shortest of many rounds
(``core.evaluation.profiling.forecast_latency``). It depends on the shape alone, so each shape is
timed once in a sweep and recorded in its ledger: equal shapes have equal latency, and a sweep that
resumes, also on another machine, times none of them again. Latencies of different machines do not
compare.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from core.evaluation.profiling import forecast_latency
from core.experiments import new_network
from core.families import NetworkConfig
from core.preprocessing.prepare import PreparedData
from core.stgcn_config import STGCNConfig
from hpo.records.ledger import Ledger
from hpo.space.objectives import LATENCY
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import Settings, StudentSizes

Constraints = dict[str, float]
"""Cost -> how much of it is too much; 0 or less fits."""
LatencyOf = Callable[[NetworkConfig], float]
"""Shape -> milliseconds of one forecast."""

_LIMITS = {
    "parameters": ("max_parameters", "{:.0f} parameters", "--max-parameters {}"),
    LATENCY: ("max_latency_ms", "{:.4g} ms", "--max-latency-ms {}"),
}


def shape_latency(shape: NetworkConfig, data: PreparedData) -> float:
    """Time one forecast of a fresh network of this shape, in milliseconds."""
    return forecast_latency(new_network(shape, data.graph_kernel, seed=0), data.horizon_steps)


def timed_once(data: PreparedData) -> LatencyOf:
    """Return ``shape_latency`` on ``data`` that remembers each shape it has timed."""
    return cache(lambda shape: shape_latency(shape, data))


class StudentCosts:
    """The costs of a sweep's students; of latencies those that the sweep asks for."""

    def __init__(self, sizes: StudentSizes, ledger: Ledger, latency: LatencyOf | None = None):
        """Reuse the latencies already in the ledger.

        Args:
            sizes: of the sweep's students.
            ledger: records latencies; may be read-only if it has all that will be needed.
            latency: times a shape; None: ``shape_latency``.
        """
        self._sizes, self._ledger = sizes, ledger
        self._time = latency or timed_once(sizes.data)

    def of(self, settings: Settings) -> dict[str, float]:
        """Return ``parameters`` and ``flops``, and ``latency_ms`` where the sweep asks for it.

        Raises:
            ConfigError: these settings give no valid student.
        """
        costs: dict[str, float] = {**self._sizes.of(settings)}
        if asks_for_latency(self._sizes.config):
            costs[LATENCY] = self._latency(self._sizes.shape(settings))
        return costs

    def excess(self, settings: Settings) -> Constraints:
        """Return by how much the student exceeds each of the sweep's limits; empty without any.

        Raises:
            ConfigError: these settings give no valid student.
        """
        config = self._sizes.config
        return excess_over(config, self.of(settings)) if limits_of(config) else {}

    def note_latency(self, shape: NetworkConfig, milliseconds: float) -> None:
        """Record a shape's latency in the ledger, unless it has one."""
        widths = self._widths(shape)
        if widths not in self._ledger.state.latencies:
            measured = {"latency_ms": milliseconds, "machine": platform.node()}
            self._ledger.append("timed", widths=widths, **measured)

    def _latency(self, shape: NetworkConfig) -> float:
        widths = self._widths(shape)
        known = self._ledger.state.latencies
        if widths not in known:
            self.note_latency(shape, self._time(shape))
        return known[widths]

    @staticmethod
    def _widths(shape: NetworkConfig) -> tuple[int, ...]:
        # All else, also what the channels of a pruned student were, is the same within a sweep.
        widths = tuple(len(kept) for kept in shape.kept_channels)
        rank: tuple[int, ...] = ()
        if isinstance(shape, STGCNConfig) and shape.norm == "low_rank":
            rank = (shape.sensor_rank,)
        ahead = (shape.steps_ahead,) if shape.steps_ahead else ()
        mask = (shape.input_channels,) if shape.missing_mask else ()
        return (*widths, *rank, *ahead, *mask)


def asks_for_latency(config: SweepConfig) -> bool:
    """Whether a sweep minimises or limits latency."""
    return LATENCY in config.objectives or config.max_latency_ms is not None


def limits_of(config: SweepConfig) -> dict[str, float]:
    """Return what a student of the sweep may cost at most."""
    values = {cost: getattr(config, name) for cost, (name, _, _) in _LIMITS.items()}
    return {cost: most for cost, most in values.items() if most is not None}


def excess_over(config: SweepConfig, costs: Mapping[str, float]) -> Constraints:
    """Return by how much known costs exceed the sweep's limits; 0 or less fits."""
    limits = limits_of(config)
    return {name: float(costs[name] - most) for name, most in limits.items() if name in costs}


def limits_in_words(config: SweepConfig) -> str:
    """Return the limits as ``at most 400 parameters and 3 ms``."""
    return "at most " + " and ".join(
        _LIMITS[name][1].format(most) for name, most in limits_of(config).items()
    )


def why_too_much(config: SweepConfig, costs: Mapping[str, Any]) -> str:
    """Return in words which limits a student's costs exceed."""
    return "; ".join(
        f"{_LIMITS[name][1].format(costs[name])} exceed {_LIMITS[name][2].format(most)}"
        for name, most in limits_of(config).items()
        if costs[name] > most
    )
