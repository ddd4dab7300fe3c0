"""Offer a service over HTTP: routes, and one sentence of JSON for every mistake.

Does not listen on a port (``hpo.cli.students.serve`` does) and computes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, Strict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from core.errors import UserError
from hpo.serving import answers, openmetrics
from hpo.serving.guards import BodyLimit, TokenGuard, refusal
from hpo.serving.journal import TimedRow
from hpo.serving.live_service import LiveService, Made

MOST_BYTES = 4 * 2**20
"""Of a request's body: a day of rows of 1,800 sensors, at 8 bytes a reading."""
_PAGE = {
    "/": ("index.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
_OPEN_PATHS = frozenset({*_PAGE, "/report.css", "/health"})
"""Asked without a token: they tell nothing of the readings."""
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
Number = Annotated[float, Strict()]


class PostedRow(BaseModel):
    """A row of readings as it is sent."""

    model_config = ConfigDict(extra="forbid")
    time: str = Field(description="Local time, ISO 8601.", examples=["2012-05-01T08:00"])
    readings: list[Number | None] | dict[str, Number | None] = Field(
        description="In the order of /sensors, or by sensor id; null where nothing was measured."
    )


class PostedRows(BaseModel):
    """What is sent to /rows."""

    model_config = ConfigDict(extra="forbid")
    rows: list[PostedRow] = Field(min_length=1)


def make_app(
    service: LiveService,
    metrics: openmetrics.Metrics,
    export: Path,
    token: str | None = None,
    most_bytes: int = MOST_BYTES,
) -> FastAPI:
    """Return the application.

    Args:
        service: what it offers.
        metrics: of that service.
        export: folder of the export.
        token: what requests must carry; None: nothing.
        most_bytes: largest body.
    """
    # The pages that FastAPI offers about an interface load scripts from elsewhere.
    app = FastAPI(title="stgcn-student-search", docs_url=None, redoc_url=None)
    _add_refusals(app)
    _add_data_routes(app, service, export)
    _add_watching_routes(app, service, metrics)
    _add_page(app)
    if token is not None:
        app.add_middleware(TokenGuard, token=token, open_paths=_OPEN_PATHS)
    app.add_middleware(BodyLimit, most_bytes=most_bytes)
    return app


def _add_data_routes(app: FastAPI, service: LiveService, export: Path) -> None:
    edges = answers.edges(export)
    as_json = _Kept(service, lambda: JSONResponse(answers.forecast(service)).body)
    as_arrow = _Kept(service, lambda: answers.forecast_arrow(service))

    @app.post("/rows", summary="Add rows of readings, all or none.")
    def post_rows(posted: PostedRows) -> dict[str, Any]:
        rows = [TimedRow(_time(row.time), service.in_order(row.readings)) for row in posted.rows]
        return {"added": service.add(rows), **answers.health(service)}

    @app.get("/forecast", summary="The newest forecast, as JSON or as an Arrow stream.")
    def get_forecast(accept: Annotated[str, Header()] = "") -> Response:
        if answers.ARROW in accept:
            return Response(as_arrow(), media_type=answers.ARROW)
        return Response(as_json(), media_type="application/json")

    @app.get("/sensors", summary="All sensors: newest reading, forecasts, errors; the graph.")
    def get_sensors() -> dict[str, Any]:
        return {**answers.sensors(service), "edges": edges}

    @app.get("/sensors/{sensor}", summary="A sensor's last day, and what was forecast for it.")
    def get_sensor(sensor: str) -> dict[str, Any]:
        return answers.sensor(service, sensor)


class _Kept:
    """Keeps an answer about the newest row until the next row comes."""

    def __init__(self, service: LiveService, make: Callable[[], bytes | memoryview]) -> None:
        self._service, self._make = service, make
        self._answer: tuple[Made | None, bytes] | None = None

    def __call__(self) -> bytes:
        newest, kept = self._service.newest, self._answer
        if newest is None or kept is None or kept[0] is not newest:
            self._answer = kept = (newest, bytes(self._make()))
        return kept[1]


def _add_watching_routes(app: FastAPI, service: LiveService, metrics: openmetrics.Metrics) -> None:
    @app.get("/errors", summary="Errors of the last day, beside those of the test days.")
    def get_errors() -> dict[str, Any]:
        return answers.errors(service)

    @app.get("/health", summary="Whether there is a forecast, and the newest row.")
    def get_health() -> dict[str, Any]:
        return answers.health(service)

    @app.get("/metrics", summary="OpenMetrics, for Prometheus.")
    def get_metrics() -> Response:
        return Response(metrics.text(), headers={"Content-Type": openmetrics.CONTENT_TYPE})


def _add_page(app: FastAPI) -> None:
    """Add the page, whose colours are the report's."""
    own = files("hpo.serving").joinpath("page")
    for path, (name, kind) in _PAGE.items():
        _add_file(app, path, own.joinpath(name).read_bytes(), kind)
    style = files("hpo.report").joinpath("page.css").read_bytes()
    _add_file(app, "/report.css", style, "text/css")


def _add_file(app: FastAPI, path: str, content: bytes, kind: str) -> None:
    @app.get(path, include_in_schema=False)
    def get_file() -> Response:
        return Response(content, media_type=kind, headers=_HEADERS)


def _add_refusals(app: FastAPI) -> None:
    """Answer every error by one sentence."""

    def said(status: int) -> Callable[[Request, Exception], Response]:
        return lambda _, error: refusal(status, str(error))

    app.add_exception_handler(UserError, said(422))
    app.add_exception_handler(answers.UnknownSensorError, said(404))
    app.add_exception_handler(answers.NotReadyError, said(409))
    app.add_exception_handler(RequestValidationError, _wrong_body)
    app.add_exception_handler(HTTPException, _wrong_route)
    app.add_exception_handler(OSError, _broken_disk)


def _wrong_body(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Of a value that could be of several kinds, the mistake is the one deepest inside.
    found = max(error.errors(), key=lambda one: len(one["loc"]))
    where = ".".join(map(str, found["loc"]))
    return refusal(
        422,
        'a body must be JSON such as {"rows": [{"time": "2012-05-01T08:00", "readings": [61.2, '
        f"null]}}]}}, but at {where}: {found['msg']}; correct it",
    )


def _wrong_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    asked = f"{request.method} {request.url.path}"
    return refusal(
        error.status_code,
        f"a request must be for one of the routes in /openapi.json, got {asked}: {error.detail}",
    )


def _broken_disk(_: Request, error: Exception) -> Response:
    reason = error.strerror if isinstance(error, OSError) else error
    return refusal(507, f"rows must be kept on the disk, but {reason}; none of these was added")


def _time(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(
            f"a time must be as 2012-05-01T08:00, got {text!r}; write it in ISO 8601"
        ) from error
