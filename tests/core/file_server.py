"""A server of files on this machine that answers ranges, and can be told to misbehave."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FileServer:
    """Serves ``files`` by name and notes what was asked for."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.ranges: list[str | None] = []
        """The range of every request."""
        self.cut_after: list[int] = []
        """How many bytes each of the next answers brings before its connection is cut."""
        self.knows_ranges = True
        self.address = ""

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@contextmanager
def serving() -> Iterator[FileServer]:
    shown = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked = self.headers["Range"]
            shown.ranges.append(asked)
            content = shown.files.get(self.path[1:])
            if content is None:
                self.send_error(404)
                return
            begin = 0
            if asked is not None and shown.knows_ranges:
                found = re.fullmatch(r"bytes=(\d+)-", asked)
                assert found is not None
                begin = int(found[1])
                if begin >= len(content):
                    self.send_error(416)
                    return
            self.answer(content, begin)

        def answer(self, content: bytes, begin: int) -> None:
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(content) - begin))
            self.end_headers()
            left = content[begin:]
            if shown.cut_after:
                left = left[: shown.cut_after.pop(0)]
                self.close_connection = True
            self.wfile.write(left)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    shown.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield shown
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
