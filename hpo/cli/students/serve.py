"""Serve the forecasts of an exported student over HTTP: the command ``hpo serve``.

Opens the port and prints where; everything else is in ``hpo.serving``.
"""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hpo.cli.display.output import print_note
from hpo.cli.options import integer

if TYPE_CHECKING:
    from fastapi import FastAPI

    from hpo.serving.live_service import LiveService

_HERE = {"127.0.0.1", "::1", "localhost"}
_PACKAGES = ("fastapi", "prometheus_client", "uvicorn")


def serve(
    folder: Annotated[Path, typer.Argument(metavar="EXPORT", help="Folder of an export.")],
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 for other machines too.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(parser=integer, metavar="PORT", help="0 takes a free one.")
    ] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="HPO_SERVE_TOKEN",
            help="What requests must carry; better given by its variable.",
            show_default="none asked for",
        ),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Where received rows are kept, to go on from after a restart.",
            show_default="hidden beside EXPORT",
        ),
    ] = None,
) -> None:
    """Serve an exported student: rows of readings in, forecasts, errors and a page out.

    hpo serve runs/ord-first/exports/1-trial-0007 --port 8000
    """
    _check_packages()
    from hpo.serving.app import make_app
    from hpo.serving.live_service import LiveService
    from hpo.serving.openmetrics import Metrics

    _check_token(token)
    metrics = Metrics()
    kept = state or _beside(folder.resolve())
    service = LiveService(folder, kept, metrics.observe)
    try:
        metrics.watch(service)
        app = make_app(service, metrics, folder, token)
        with _listening(host, port) as opened:
            _say_where(service, host, opened.getsockname()[1], kept, open_to_all=token is None)
            _run(app, opened)
    finally:
        service.close()


def _beside(export: Path) -> Path:
    # Hidden, so that it is not taken for an export of the same sweep.
    return export.with_name(f".{export.name}.rows")


def _run(app: FastAPI, opened: socket.socket) -> None:
    import uvicorn

    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    uvicorn.Server(config).run(sockets=[opened])


def _listening(host: str, port: int) -> socket.socket:
    from core.errors import ConfigError

    if not 0 <= port <= 65535:
        raise ConfigError(f"--port must be from 0 to 65535, got {port}")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.create_server(found[4][:2], family=found[0])
        # Else an answer's last packet waits up to 40 ms for the client to acknowledge the first.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return opened
    except OSError as error:
        raise ConfigError(
            f"--host and --port must be free to listen on, but {host} port {port}: "
            f"{(error.strerror or str(error)).partition(' (')[0]}; give others"
        ) from error


def _say_where(
    service: LiveService, host: str, port: int, kept: Path, *, open_to_all: bool
) -> None:
    shown = f"[{host}]" if ":" in host else host
    lines = [f"{service.name} on http://{shown}:{port}, rows kept in {kept}"]
    missing = service.stream.rows.rows_missing
    if missing:
        lines.append(f"the first forecast comes after {missing} more rows")
    if open_to_all and host not in _HERE:
        lines.append("note: other machines may send rows without a token; HPO_SERVE_TOKEN sets one")
    for line in lines:
        print_note(line)


def _check_token(token: str | None) -> None:
    from core.errors import ConfigError

    if token is not None and (not token.isascii() or not token.isprintable() or " " in token):
        raise ConfigError("--token must be of letters, digits and signs without spaces; change it")
    if token == "":
        raise ConfigError("--token must not be empty; leave it out to ask for none")


def _check_packages() -> None:
    from importlib.util import find_spec

    from core.errors import ConfigError

    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"hpo serve needs {missing[0]}, which this environment lacks; install this project "
            "with its extra [serve]"
        )
