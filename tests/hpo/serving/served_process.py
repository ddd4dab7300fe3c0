"""A service in a process of its own, as a user starts it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ServedProcess:
    """A running ``hpo serve``."""

    process: subprocess.Popen[str]
    url: str

    def ask(self, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(
            f"{self.url}{path}", content, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)


@contextmanager
def served_process(export: Path, *options: str) -> Iterator[ServedProcess]:
    """Serve on a free port until the block ends; the process may be ended before."""
    command = [sys.executable, "-m", "hpo", "serve", str(export), "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            found = re.search(r"http://[^,]+", line)
            assert found, line
            yield ServedProcess(process, found[0])
        finally:
            process.kill()
