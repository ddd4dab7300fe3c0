"""Measure a service under load: rows taken and forecasts given a second, and how long they take.

``python -m benchmarks.served_forecasts --sensors 228 2000 --out FILE`` exports untrained students
of the usual widths, starts ``hpo serve`` for each and asks it over connections that stay open:
first one client sends rows and asks for each forecast, then several ask at once while rows come.
Client and service share the machine. The cost of a forecast does not depend on training.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measuring import machine
from benchmarks.problem import make_data, make_network
from core.datasets.dataset import open_dataset
from core.export.export_folder import StudentFacts, export_student
from core.files import write_json
from core.stgcn import STUDENT_CHANNELS

ROWS, READERS, SECONDS = 300, 4, 10.0
FACTS = StudentFacts(
    settings={"method": "none"},
    validation={},
    lineage={
        "dataset": "random",
        "dataset_fingerprint": "0" * 16,
        "teacher_fingerprint": None,
        "sweep": "none",
        "trial": 0,
        "seed": 0,
        "versions": {name: version(name) for name in ("stgcn-student-search", "torch")},
        "command": "python -m benchmarks.served_forecasts",
    },
)


def measure(folder: Path, sensors: int) -> dict[str, Any]:
    """Return figures of a service of ``sensors`` sensors; seconds are of whole requests."""
    export = _export(folder, sensors)
    with _served(export) as port:
        rows = _rows(sensors)
        sent, asked = _one_client(port, rows)
        given, taken, busy = _many_clients(port, rows)
    return {
        "row_milliseconds": _milliseconds(sent),
        "forecast_milliseconds": _milliseconds(asked),
        "rows_and_forecasts_per_second": len(sent) / (sum(sent) + sum(asked)),
        "readers": READERS,
        "forecasts_per_second_under_load": given / SECONDS,
        "forecast_milliseconds_under_load": _milliseconds(busy),
        "rows_per_second_under_load": taken / SECONDS,
    }


def _export(folder: Path, sensors: int) -> Path:
    data = make_data(folder, 1, 1, sensors)
    network = make_network(data, STUDENT_CHANNELS, "direct")
    adjacency = open_dataset(folder / "data").adjacency
    export_student(folder / "export", network, data, adjacency, FACTS)
    return folder / "export"


@contextmanager
def _served(export: Path) -> Iterator[int]:
    """Serve in a process of its own and yield its port."""
    command = [sys.executable, "-m", "hpo", "serve", str(export), "--port", "0"]
    service = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert service.stderr is not None
        found = re.search(r":(\d+),", service.stderr.readline())
        if found is None:
            raise RuntimeError("the service must say its port")
        yield int(found[1])
    finally:
        service.terminate()
        service.wait()


def _rows(sensors: int) -> Iterator[bytes]:
    generator, time_of = np.random.default_rng(0), datetime(2012, 5, 1)
    while True:
        readings = generator.normal(60, 10, sensors).round(1).tolist()
        row = {"time": time_of.isoformat(), "readings": readings}
        yield json.dumps({"rows": [row]}).encode()
        time_of += timedelta(minutes=5)


def _one_client(port: int, rows: Iterator[bytes]) -> tuple[list[float], list[float]]:
    """Return the seconds of every row, and of the forecast after it, once there is one."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(12):
        _send(client, next(rows))
    pairs = [(_send(client, next(rows)), _ask(client)) for _ in range(ROWS)]
    return [sent for sent, _ in pairs], [asked for _, asked in pairs]


def _many_clients(port: int, rows: Iterator[bytes]) -> tuple[int, int, list[float]]:
    """Return the forecasts given, the rows taken, and the seconds of every forecast."""
    until, seconds, sent = time.perf_counter() + SECONDS, list[float](), list[float]()

    def reader() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < until:
            seconds.append(_ask(client))

    def sender() -> None:
        client = http.client.HTTPConnection("127.0.0.1", port)
        while time.perf_counter() < until:
            sent.append(_send(client, next(rows)))
            time.sleep(0.1)

    threads = [threading.Thread(target=work) for work in [*[reader] * READERS, sender]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(seconds), len(sent), seconds


def _send(client: http.client.HTTPConnection, body: bytes) -> float:
    return _timed(client, "POST", "/rows", body)


def _ask(client: http.client.HTTPConnection) -> float:
    return _timed(client, "GET", "/forecast", None)


def _timed(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None) -> float:
    started = time.perf_counter()
    client.request(method, path, body, {"Content-Type": "application/json"})
    answer = client.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{method} {path} must succeed, got {answer.status}: {content[:300]!r}")
    return time.perf_counter() - started


def _milliseconds(seconds: list[float]) -> dict[str, float]:
    values = 1e3 * np.quantile(seconds, (0.5, 0.99))
    return {"p50": float(values[0]), "p99": float(values[1])}


def main(arguments: list[str]) -> int:
    """Measure a service per number of sensors and write all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sensors", type=int, nargs="+", default=[228, 2000])
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    results = {}
    for sensors in options.sensors:
        with tempfile.TemporaryDirectory() as folder:
            results[str(sensors)] = measure(Path(folder), sensors)
        sys.stdout.write(f"{sensors} sensors: {json.dumps(results[str(sensors)])}\n")
        sys.stdout.flush()
    write_json(options.out, {**machine(), "sensors": results})
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
