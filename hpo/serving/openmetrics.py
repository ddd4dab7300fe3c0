"""Offer what a service knows as OpenMetrics, to be scraped by Prometheus.

Does not decide when errors are too high; alerts on these metrics do (docs/export.md has one).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from hpo.serving import answers
from hpo.serving.live_service import LiveService

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)


class Metrics:
    """The metrics of one service."""

    def __init__(self) -> None:
        """Begin with none observed."""
        self._registry = CollectorRegistry()
        self._seconds = Histogram(
            "stgcn_row_seconds",
            "Time that a row took: journal, forecast and errors.",
            registry=self._registry,
            buckets=_SECONDS,
        )

    def observe(self, seconds: float) -> None:
        """Count one row that took so many seconds."""
        self._seconds.observe(seconds)

    def watch(self, service: LiveService) -> None:
        """Add what the service knows to every later ``text``."""
        self._registry.register(_ServiceCollector(service))

    def text(self) -> bytes:
        """Return all metrics as OpenMetrics."""
        content: bytes = generate_latest(self._registry)  # type: ignore[no-untyped-call]
        return content


class _ServiceCollector(Collector):
    """Reads the service whenever metrics are asked for."""

    def __init__(self, service: LiveService) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """Yield rows, readiness and errors."""
        service, known = self._service, answers.health(self._service)
        yield CounterMetricFamily(
            "stgcn_rows", "Rows received since the start.", value=service.rows_received
        )
        yield GaugeMetricFamily(
            "stgcn_rows_missing", "Rows until there is a forecast.", value=known["rows_missing"]
        )
        newest = service.newest
        if newest is not None:
            reading = newest.row.reading
            yield GaugeMetricFamily(
                "stgcn_missing_readings",
                "Sensors without a reading in the newest row.",
                value=int(np.isnan(reading).sum()),
            )
        yield self._errors()

    def _errors(self) -> Metric:
        found = answers.errors(self._service)
        family = GaugeMetricFamily(
            "stgcn_mae",
            f"Mean absolute error in {found['unit']}, of the last day or the manifest's test days.",
            labels=["minutes", "of", "days"],
        )
        for days in ("last_day", "test_days"):
            for who, values in found[days].items():
                for minutes, value in zip(found["minutes"], values, strict=True):
                    if value is not None:
                        family.add_metric([str(minutes), who, days.removesuffix("_days")], value)
        return family
