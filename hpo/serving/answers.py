"""Turn what a service knows into JSON values and Arrow tables; NaN becomes null.

Does not know routes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import load_file

from core.datasets.formats.sensor_ids import suggestion
from core.errors import ExportError
from core.export.stream_rows import Row
from hpo.serving.live_service import LiveService, Made
from hpo.serving.rolling_errors import expected_mae

ARROW = "application/vnd.apache.arrow.stream"


class NotReadyError(ExportError):
    """Too few rows have come for a forecast."""


class UnknownSensorError(ExportError):
    """The export has no sensor of that id."""


def health(service: LiveService) -> dict[str, Any]:
    """Return whether the service forecasts, and what it has received."""
    newest = service.newest
    return {
        "status": "ok" if newest is not None and newest.forecast is not None else "waiting",
        "export": service.name,
        "last_row": None if newest is None else newest.row.time.isoformat(),
        "rows_received": service.rows_received,
        "rows_missing": service.stream.rows.rows_missing,
    }


def forecast(service: LiveService) -> dict[str, Any]:
    """Return the newest forecast, steps by sensors."""
    made, values = _forecast(service)
    minutes = _minutes(service, len(values))
    return {
        "at": made.row.time.isoformat(),
        "unit": service.card.unit,
        "minutes": minutes,
        "times": [time.isoformat() for time in _times(made.row.time, minutes)],
        "sensors": list(service.card.sensor_ids),
        "forecast": [numbers(row) for row in values],
        **_interval(service, made.row.time, values),
    }


def forecast_arrow(service: LiveService) -> bytes:
    """Return the newest forecast as an Arrow stream, a row per step.

    Columns are ``time``, one per sensor, then ``ID.lower`` and ``ID.upper`` of every sensor where
    the export has intervals. The schema's metadata has ``at``, ``unit`` and ``coverage`` as texts.
    """
    made, values = _forecast(service)
    bounds, sensors = _bounds(service, made.row.time, values), service.card.sensor_ids
    known = {"": values, **{f".{name}": bound for name, bound in bounds.items()}}
    # As lists: of two columns of one name, a dictionary would lose one.
    names = ["time", *(sensor + what for what in known for sensor in sensors)]
    times = _times(made.row.time, _minutes(service, len(values)))
    steps = (pa.array(one, from_pandas=True) for table in known.values() for one in table.T)
    about = {"at": made.row.time.isoformat(), "unit": service.card.unit}
    if bounds:
        about["coverage"] = str(service.manifest["intervals"]["coverage"])
    table = pa.Table.from_arrays([pa.array(times), *steps], names, metadata=about)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def errors(service: LiveService) -> dict[str, Any]:
    """Return the errors of the last day beside those that the manifest promises."""
    minutes, rolling = service.manifest["horizon_minutes"], service.mean_errors()
    test = service.manifest["metrics"]["test"]
    return {
        "unit": service.card.unit,
        "minutes": minutes,
        "rows": service.rows_judged,
        "last_day": {
            "student": numbers(rolling.student),
            "repeat_last": numbers(rolling.repeat_last),
        },
        "test_days": {who: expected_mae(test[who], minutes) for who in ("student", "repeat_last")},
    }


def sensors(service: LiveService) -> dict[str, Any]:
    """Return every sensor with its newest reading, forecast and errors, and the graph's edges."""
    card, newest = service.card, service.newest
    nothing = [None] * card.num_sensors
    by_sensor = service.mean_errors_by_sensor()
    judged = by_sensor.student.ndim == 2
    steps = _judged_steps(service)
    ahead = None if newest is None else newest.forecast
    return {
        "unit": card.unit,
        "minutes": service.manifest["horizon_minutes"],
        "at": None if newest is None else newest.row.time.isoformat(),
        "sensors": list(card.sensor_ids),
        "places": [asdict(place) for place in card.places] or None,
        "readings": nothing if newest is None else numbers(newest.row.reading),
        "forecast": [nothing if ahead is None else numbers(ahead[step - 1]) for step in steps],
        "mae": [numbers(row) for row in by_sensor.student] if judged else [nothing] * len(steps),
    }


def sensor(service: LiveService, name: str) -> dict[str, Any]:
    """Return one sensor's readings of the last day, the forecasts made for them, and the newest.

    Raises:
        UnknownSensorError: the export has no such sensor.
    """
    ids = service.card.sensor_ids
    if name not in ids:
        raise UnknownSensorError(
            f"the export must have the sensor, but has no {name!r}{suggestion(name, ids)}; see "
            "/sensors"
        )
    at, made, horizon = ids.index(name), service.recent(), service.manifest["horizon_steps"]
    times = [one.row.time for one in made]
    made_at = {one.row.time: one.forecast for one in made}
    ahead = made[-1].forecast if made else None
    interval = timedelta(minutes=service.card.interval_minutes)
    return {
        "sensor": name,
        "unit": service.card.unit,
        "times": [time.isoformat() for time in times],
        "readings": numbers([one.row.reading[at] for one in made]),
        "forecast_before": {
            str(step * service.card.interval_minutes): numbers(
                _one(made_at.get(time - step * interval), step - 1, at) for time in times
            )
            for step in _judged_steps(service)
        },
        "ahead": {
            "times": [] if ahead is None else _iso_ahead(service, times[-1], horizon),
            "forecast": [] if ahead is None else numbers(ahead[:, at]),
            **({} if ahead is None else _interval(service, times[-1], ahead, at)),
        },
    }


def edges(folder: Path) -> list[list[int]]:
    """Return the pairs of sensors, by position, that the graph of an export joins."""
    adjacency = load_file(folder / "graph.safetensors")["adjacency"]
    pairs: list[list[int]] = np.argwhere(np.triu(adjacency, 1) > 0).tolist()
    return pairs


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return plain numbers of three decimals; NaN becomes None."""
    rounded = np.round(np.fromiter(values, np.float64), 3)
    plain: list[float | None] = rounded.tolist()
    for at in np.flatnonzero(np.isnan(rounded)):
        plain[at] = None
    return plain


def _forecast(service: LiveService) -> tuple[Made, Row]:
    made = service.newest
    if made is None or made.forecast is None:
        missing = service.stream.rows.rows_missing
        raise NotReadyError(
            f"a forecast needs {service.manifest['history_steps']} rows without a break, and "
            f"{missing} more must come; POST them to /rows"
        )
    return made, made.forecast


def _interval(
    service: LiveService, time: datetime, values: Row, sensor: int | None = None
) -> dict[str, Any]:
    """Return the bounds around a forecast, of all sensors or of one; nothing where none are."""
    bounds = _bounds(service, time, values)
    if not bounds:
        return {}
    plain = {
        name: [numbers(row) for row in bound] if sensor is None else numbers(bound[:, sensor])
        for name, bound in bounds.items()
    }
    return {"coverage": service.manifest["intervals"]["coverage"], **plain}


def _bounds(service: LiveService, time: datetime, values: Row) -> dict[str, Row]:
    """Return ``lower`` and ``upper`` [steps, N] around a forecast; of older exports neither."""
    widths = service.stream.half_widths(time)
    return {} if widths is None else {"lower": values - widths, "upper": values + widths}


def _judged_steps(service: LiveService) -> list[int]:
    interval = service.card.interval_minutes
    return [minutes // interval for minutes in service.manifest["horizon_minutes"]]


def _minutes(service: LiveService, steps: int) -> list[int]:
    return [service.card.interval_minutes * step for step in range(1, steps + 1)]


def _times(at: datetime, minutes: list[int]) -> list[datetime]:
    return [at + timedelta(minutes=after) for after in minutes]


def _iso_ahead(service: LiveService, at: datetime, steps: int) -> list[str]:
    return [time.isoformat() for time in _times(at, _minutes(service, steps))]


def _one(forecast: Row | None, step: int, sensor: int) -> float:
    return math.nan if forecast is None else float(forecast[step, sensor])
