"""What keeps Ray from starting is said for what it is."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from core.errors import ConfigError
from hpo.driver.ray_cluster import cluster
from hpo.internals.ray_sockets import FOLDER_VARIABLES

SOCKET = "/tmp/" + 90 * "x" + "/ray/session_2026-11-27_05-55-31_443802_28215/sockets/plasma_store"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """The error that Ray's start raises, put in by a test."""
    errors: list[Exception] = []

    def start(**_: Any) -> None:
        raise errors[0]

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", start)
    return errors


def line_of(address: str) -> str:
    with pytest.raises(ConfigError) as caught, cluster(address):
        pass
    return str(caught.value)


@pytest.mark.parametrize("variable", [*FOLDER_VARIABLES, None])
def test_a_long_folder_for_temporary_files_is_named(
    failing: list[Exception], monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    for name in FOLDER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    if variable is not None:
        monkeypatch.setenv(variable, "/tmp/" + 90 * "x")
    text = "AF_UNIX path length cannot exceed 107 bytes"
    failing.append(OSError(f"validate_socket_filename failed: {text}: {SOCKET}"))
    line = line_of("local")
    assert f"at most 107 bytes, but {SOCKET} has {len(SOCKET)}; set" in line
    assert f"set {variable or 'RAY_TMPDIR'} to a shorter folder, such as /tmp" in line
    assert "--address" not in line


def test_a_ray_that_does_not_start_here_is_no_mistake_in_the_address(
    failing: list[Exception],
) -> None:
    failing.append(PermissionError(13, "Permission denied", "/tmp/ray"))
    line = line_of("local")
    assert line == (
        "Ray must be able to start on this machine, but [Errno 13] Permission denied: '/tmp/ray'; "
        "mend that, or look whether the folder for temporary files has room"
    )


def test_a_ray_that_dies_while_it_starts_is_one_line(failing: list[Exception]) -> None:
    failing.append(RuntimeError("Timed out waiting for file /tmp/ray/gcs_server_port"))
    assert "Ray must be able to start on this machine, but Timed out waiting" in line_of("local")


def test_an_address_that_does_not_answer_is_one(failing: list[Exception]) -> None:
    failing.append(ConnectionError("nobody there"))
    assert line_of("auto").startswith(
        "--address must be that of a running Ray cluster, got 'auto': nobody there; `local`"
    )
