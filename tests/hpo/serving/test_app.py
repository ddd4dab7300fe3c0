"""What a client sees: forecasts, errors, metrics, and a sentence for every mistake."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from fastapi.testclient import TestClient
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from core.export.export_folder import open_export
from core.export.live_forecaster import LiveForecaster
from core.export.manifest import INTERVALS_FILE, MANIFEST_FILE
from hpo.serving.app import make_app
from hpo.serving.live_service import LiveService
from hpo.serving.openmetrics import Metrics
from tests.small_exports import Exported
from tests.small_students import SENSORS

START, QUARTER = datetime(2012, 5, 1), timedelta(minutes=15)
Rows = list[dict[str, Any]]


class Served(TestClient):
    """A client of a service in this process, and the service itself."""

    def __init__(self, export: Path, state: Path, **guards: Any) -> None:
        metrics = Metrics()
        self.service = LiveService(export, state, metrics.observe)
        metrics.watch(self.service)
        super().__init__(make_app(self.service, metrics, export, **guards))

    def send_rows(self, rows: Rows) -> Any:
        return self.post("/rows", json={"rows": rows})


@pytest.fixture
def served(exported: Exported, tmp_path: Path) -> Iterator[Served]:
    served = Served(exported.folder, tmp_path / "state")
    yield served
    served.service.close()


@pytest.fixture
def readings(exported: Exported) -> np.ndarray:
    """Four days with gaps."""
    return exported.data.truth[: 4 * 96].numpy().copy()


def posted(readings: np.ndarray, first: int, stop: int) -> Rows:
    return [
        {
            "time": (START + at * QUARTER).isoformat(),
            "readings": [None if math.isnan(one) else float(one) for one in readings[at]],
        }
        for at in range(first, stop)
    ]


def test_a_forecast_is_the_live_forecasters(
    served: Served, exported: Exported, readings: np.ndarray
) -> None:
    live = LiveForecaster(open_export(exported.folder), 15)
    expected = [live.push(readings[at], START + at * QUARTER) for at in range(40)][-1]
    assert served.send_rows(posted(readings, 0, 39)).json()["added"] == 39
    last = posted(readings, 39, 40)
    last[0]["readings"] = dict(zip(SENSORS, last[0]["readings"], strict=True))
    assert served.send_rows(last).json()["rows_missing"] == 0
    found = served.get("/forecast").json()
    as_null = [[None if math.isnan(one) else one for one in row] for row in expected.tolist()]
    assert [len(row) for row in found["forecast"]] == [5, 5, 5]
    for row, wanted in zip(found["forecast"], as_null, strict=True):
        assert row == pytest.approx(wanted, abs=2e-3)
    assert found["times"] == ["2012-05-01T10:00:00", "2012-05-01T10:15:00", "2012-05-01T10:30:00"]
    assert (found["sensors"], found["unit"], found["minutes"]) == ([*SENSORS], "mph", [15, 30, 45])
    # The bounds are those of live.onnx but for the hour of the day, which only the service knows.
    intervals, hours = open_export(exported.folder).intervals, np.array([[10, 10, 10]])
    assert intervals is not None
    widths = intervals.around(hours)[0]
    assert found["coverage"] == intervals.coverage
    for bound, sign in (("lower", -1), ("upper", 1)):
        for row, own in zip(found[bound], expected + sign * widths, strict=True):
            assert row == pytest.approx([None if math.isnan(one) else one for one in own], abs=2e-3)
    arrow = served.get("/forecast", headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    ends = [f"{sensor}.{end}" for end in ("lower", "upper") for sensor in SENSORS]
    assert table.column_names == ["time", *SENSORS, *ends]
    assert table["time"].to_pylist()[0] == datetime(2012, 5, 1, 10)
    for what, end in (("forecast", ""), ("lower", ".lower"), ("upper", ".upper")):
        for sensor, values in zip(SENSORS, zip(*found[what], strict=True), strict=True):
            assert table[sensor + end].to_pylist() == pytest.approx(list(values), abs=1e-3)
    about = {b"at": b"2012-05-01T09:45:00", b"unit": b"mph", b"coverage": b"0.9"}
    assert table.schema.metadata == about


def test_an_export_without_intervals_answers_without_them(
    exported: Exported, readings: np.ndarray, tmp_path: Path
) -> None:
    older = tmp_path / exported.folder.name
    shutil.copytree(exported.folder, older)
    (older / INTERVALS_FILE).unlink()
    manifest = json.loads((older / MANIFEST_FILE).read_text())
    del manifest["files"][INTERVALS_FILE], manifest["intervals"]
    (older / MANIFEST_FILE).write_text(json.dumps(manifest))
    served = Served(older, tmp_path / "state")
    served.send_rows(posted(readings, 0, 12))
    assert not {"coverage", "lower", "upper"} & served.get("/forecast").json().keys()
    arrow = served.get("/forecast", headers={"Accept": "application/vnd.apache.arrow.stream"})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table.column_names == ["time", *SENSORS]
    assert b"coverage" not in table.schema.metadata
    served.service.close()


def test_a_restart_changes_nothing(
    served: Served, exported: Exported, readings: np.ndarray, tmp_path: Path
) -> None:
    """Also once old rows were dropped, and with a gap that began before them."""
    readings[50:, 3] = np.nan
    begun = {}
    for first in range(0, 380, 20):
        served.send_rows(posted(readings, first, first + 20))
        if first == 360:
            begun = answers(served)
    served.service.close()
    again = Served(exported.folder, tmp_path / "state")
    assert answers(again) == begun
    again.send_rows(posted(readings, 380, 384))
    again.service.close()
    whole = Served(exported.folder, tmp_path / "other")
    whole.send_rows(posted(readings, 0, 384))
    third = Served(exported.folder, tmp_path / "state")
    assert answers(third) == answers(whole)
    whole.service.close()
    third.service.close()


def answers(served: Served) -> dict[str, Any]:
    paths = ("/forecast", "/errors", "/sensors", "/sensors/north")
    return {path: served.get(path).json() for path in paths}


def test_rows_sent_again_are_known(served: Served, readings: np.ndarray) -> None:
    served.send_rows(posted(readings, 0, 14))
    assert served.send_rows(posted(readings, 10, 16)).json()["added"] == 2
    assert served.send_rows(posted(readings, 15, 16)).json()["added"] == 0
    readings[15] += 1
    answer = served.send_rows(posted(readings, 15, 16))
    assert answer.status_code == 422
    assert "15 minutes apart" in answer.json()["error"]


def test_errors_stand_beside_what_the_manifest_promises(
    served: Served, exported: Exported, readings: np.ndarray
) -> None:
    served.send_rows(posted(readings, 0, 100))
    found = served.get("/errors").json()
    manifest = json.loads((exported.folder / "manifest.json").read_text())
    tested = manifest["metrics"]["test"]
    assert found["test_days"]["student"] == [tested["student"][f"mae_{at}"] for at in (15, 30, 45)]
    assert all(value > 0 for who in found["last_day"].values() for value in who)
    metrics = served.get("/metrics")
    assert metrics.headers["content-type"].startswith("application/openmetrics-text")
    families = {one.name: one for one in text_string_to_metric_families(metrics.text)}
    errors = {
        tuple(sample.labels[name] for name in ("days", "of", "minutes")): sample.value
        for sample in families["stgcn_mae"].samples
    }
    assert errors["last_day", "student", "30"] == found["last_day"]["student"][1]
    assert errors["test", "repeat_last", "45"] == found["test_days"]["repeat_last"][2]
    assert families["stgcn_rows"].samples[0].value == 100


def test_before_the_first_forecast(served: Served, readings: np.ndarray) -> None:
    assert served.get("/health").json()["status"] == "waiting"
    assert served.get("/sensors").json()["readings"] == [None] * 5
    assert served.get("/sensors/east").json()["ahead"]["forecast"] == []
    served.send_rows(posted(readings, 0, 11))
    answer = served.get("/forecast")
    assert answer.status_code == 409
    assert "needs 12 rows without a break, and 1 more must come" in answer.json()["error"]
    assert served.get("/errors").json()["last_day"]["student"] == [None] * 3
    served.send_rows(posted(readings, 11, 12))
    assert served.get("/health").json()["status"] == "ok"
    # After a missing row a forecast needs whole twelve again.
    assert served.send_rows(posted(readings, 13, 14)).json()["rows_missing"] == 11


ROW = [60.0] * 5


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"time": "2012-05-01T00:15", "readings": [1.0] * 4}], "each of the 5 sensors, got shape"),
        ([{"time": "2012-05-01T00:15", "readings": ["1"] * 5}], "should be a valid number"),
        ([{"time": "2012-05-01T00:15", "readings": [1e60] * 5}], "must be finite"),
        ([{"time": "2012-05-01T00:15", "readings": {"nort": 1}}], "export's sensors, got 'nort'"),
        (
            [{"time": "2012-05-01T00:00", "readings": ROW}],
            "follows 2012-05-01T00:00:00; leave it out",
        ),
        (
            [{"time": "2012-04-30T23:45", "readings": ROW}],
            "follows 2012-05-01T00:00:00; leave it out",
        ),
        ([{"time": "2012-05-01T00:20", "readings": ROW}], "whole multiples of 15 minutes"),
        ([{"time": "2012-05-01T00:15Z", "readings": ROW}], "must all have a time zone or none"),
        ([{"time": "noon", "readings": ROW}], "must be as 2012-05-01T08:00, got 'noon'"),
        ([{"readings": ROW}], "at body.rows.0.time: Field required"),
        ([], "at body.rows: List should have at least 1 item"),
        (
            [
                {"time": "2012-05-01T00:15", "readings": ROW},
                {"time": "2012-05-01T00:15", "readings": ROW},
            ],
            "follows 2012-05-01T00:15:00; leave it out",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_adds_nothing(served: Served, rows: Rows, says: str) -> None:
    served.send_rows([{"time": "2012-05-01T00:00", "readings": [61.0] * 5}])
    answer = served.send_rows(rows)
    assert answer.status_code == 422
    assert list(answer.json()) == ["error"]
    assert says in answer.json()["error"]
    assert served.get("/health").json()["rows_missing"] == 11


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/nothing", 404, "got GET /nothing: Not Found"),
        ("DELETE", "/rows", 405, "Method Not Allowed"),
        ("GET", "/sensors/nort", 404, "has no 'nort'; did you mean 'north'?"),
        ("GET", "/page/../app.py", 404, "got GET /app.py"),
    ],
)
def test_a_wrong_route(served: Served, method: str, path: str, status: int, says: str) -> None:
    answer = served.request(method, path)
    assert answer.status_code == status
    assert says in answer.json()["error"]


def test_nan_is_a_missing_reading(served: Served) -> None:
    body = '{"rows": [{"time": "2012-05-01T00:00", "readings": [NaN, 1, 2, 3, 4]}]}'
    assert served.post("/rows", content=body, headers=JSON).json()["added"] == 1
    assert served.get("/sensors").json()["readings"][:2] == [None, 1.0]


JSON = {"Content-Type": "application/json"}


def test_a_disk_that_is_full(
    served: Served, readings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("hpo.serving.journal.os.fsync", full)
        answer = served.send_rows(posted(readings, 0, 2))
    assert answer.status_code == 507
    assert "No space left on device; none of these was added" in answer.json()["error"]
    assert served.send_rows(posted(readings, 0, 2)).json()["added"] == 2


def test_a_token_is_asked_for(exported: Exported, tmp_path: Path) -> None:
    served = Served(exported.folder, tmp_path, token="open sesame".replace(" ", "-"))
    right = {"Authorization": "Bearer open-sesame"}
    for path in ("/forecast", "/sensors", "/metrics", "/errors", "/openapi.json", "/nothing"):
        for headers in ({}, {"Authorization": "Bearer open-sesam"}, {"Authorization": "Bearer é"}):
            encoded = {name: value.encode("latin-1") for name, value in headers.items()}
            answer = served.get(path, headers=encoded)
            assert (answer.status_code, list(answer.json())) == (401, ["error"])
    assert served.get("/errors", headers=right).status_code == 200
    assert served.get("/health").status_code == served.get("/").status_code == 200
    served.service.close()


@pytest.mark.parametrize("told", [True, False])
def test_a_large_body_is_refused(exported: Exported, tmp_path: Path, told: bool) -> None:
    served = Served(exported.folder, tmp_path, most_bytes=1000)
    body = b" " * 1001
    content = body if told else iter([body[:600], body[600:]])
    answer = served.post("/rows", content=content, headers=JSON)
    assert (answer.status_code, "at most 1000 bytes" in answer.json()["error"]) == (413, True)
    rows = {"rows": [{"time": "2012-05-01T00:00", "readings": ROW}]}
    assert served.post("/rows", json=rows).json()["added"] == 1
    served.service.close()


def test_the_page_loads_only_what_is_served(served: Served) -> None:
    page = served.get("/")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("page.css", "page.js", "report.css"):
        assert name in page.text
        assert served.get(f"/{name}").status_code == 200
    assert "http://" not in page.text + served.get("/page.css").text


def test_serving_loads_no_torch(exported: Exported, tmp_path: Path) -> None:
    code = f"""
import sys
from datetime import datetime
from pathlib import Path
import hpo.cli.main, hpo.cli.students.serve
from hpo.serving.app import make_app
from hpo.serving.journal import TimedRow
from hpo.serving.live_service import LiveService
from hpo.serving.openmetrics import Metrics
export = Path({str(exported.folder)!r})
service = LiveService(export, Path({str(tmp_path / "state")!r}))
make_app(service, Metrics(), export)
service.add([TimedRow(datetime(2012, 5, 1), service.in_order([60.0] * 5))])
unwanted = {{"torch", "ray", "optuna", "onnx", "onnxscript", "pandas", "scipy"}}
print(service.rows_received, sorted(unwanted & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.split(maxsplit=1) == ["1", "[]\n"], run.stderr
