"""A store that speaks S3 on this machine, and what goes wrong on the way to it.

Nothing outside this machine is reached; credentials are made up.
"""

from __future__ import annotations

import random
import threading
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

BUCKET = "results"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "made-up-id", "AWS_SECRET_ACCESS_KEY": "made-up-secret"}
TRANSIENT = (("500 Internal Server Error", "InternalError"), ("503 Slow Down", "SlowDown"))
CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")

Environ = dict[str, Any]
Broken = Callable[[Environ], bool]


class S3Server:
    """Keeps objects in memory; tells what was asked, and fails when it is told to."""

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", 0, self._answer, True, request_handler=_SilentHandler
        )
        self.port = self._server.server_port
        self._one_by_one = threading.Lock()
        self.requests: list[str] = []
        """Method and path."""
        self.failed = 0
        self.compares = True
        """False: put whatever the conditions are, as stores do that do not know any."""
        self._breaks: Broken = lambda _: False
        self._errors: Sequence[tuple[str, str]] = TRANSIENT
        self.chance = random.Random(5)

    def address(self, prefix: str) -> str:
        options = f"endpoint_override=127.0.0.1:{self.port}&scheme=http&region=us-east-1"
        return f"s3://{BUCKET}/{prefix}?{options}"

    def serve(self) -> None:
        self._server.serve_forever(poll_interval=0.05)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def failing(self, breaks: Broken, *errors: tuple[str, str]) -> Iterator[None]:
        """Fail the requests that ``breaks`` names, with transient errors or these."""
        self._breaks, self._errors, self.failed = breaks, errors or TRANSIENT, 0
        try:
            yield
        finally:
            self._breaks = lambda _: False

    @contextmanager
    def failing_at_random(self, share: float) -> Iterator[None]:
        """Fail a share of all requests."""
        with self.failing(lambda _: self.chance.random() < share):
            yield

    def _answer(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        if not self.compares:
            for condition in CONDITIONS:
                environ.pop(condition, None)
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        if not self._breaks(environ):
            return self._answered(environ, start_response)
        self.failed += 1
        status, code = self.chance.choice(self._errors)
        if status[0] == "5" and self.chance.random() < 0.3:
            # Done, but nobody hears of it: the answer gets lost.
            self._answered(environ, lambda *_: lambda _: None)
        start_response(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]

    def _answered(self, environ: Environ, start_response: Any) -> list[bytes]:
        with self._one_by_one:  # moto stumbles over two writers of one object
            return list(self._moto(environ, start_response))


class _SilentHandler(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass


@contextmanager
def serving() -> Iterator[S3Server]:
    """Serve an empty bucket; credentials and the client's patience stand in the environment."""
    server = S3Server()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CREDENTIALS, "AWS_EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(name, value)
        bucket = urllib.request.Request(
            f"http://127.0.0.1:{server.port}/{BUCKET}",
            method="PUT",
            headers={"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4"},
        )
        urllib.request.urlopen(bucket).close()
        yield server
    server.stop()
    thread.join()
