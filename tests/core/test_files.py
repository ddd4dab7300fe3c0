from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, StorageError
from core.files import (
    check_name,
    exclusive_lock,
    fingerprint,
    folder_written_aside,
    sha256_of_file,
    writable_folder,
    write_bytes,
    write_json,
)

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Names


@pytest.mark.parametrize("name", ["a", "7", "pemsd7-m", "run_3.old", "x" * 80])
def test_names_that_are_one_part_of_a_path(name):
    assert check_name("sweep", name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "ä", "x" * 81])
def test_other_names_are_refused(name):
    with pytest.raises(ConfigError, match="a sweep name must start with a letter or digit"):
        check_name("sweep", name)


# One file


def test_what_is_written_is_there(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    write_bytes(path, b"first")
    write_bytes(path, b"second")
    assert path.read_bytes() == b"second"
    assert names_in(path.parent) == ["file"]


def test_a_link_to_nothing_is_no_folder(tmp_path):
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "gone")
    with pytest.raises(StorageError, match="link must be writable, but it is no folder; choose"):
        writable_folder(link)


def test_a_file_replaces_no_folder_and_no_device(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path, "a folder"), (tmp_path / "pipe", "a device")):
        with pytest.raises(StorageError, match=f"must be a file or nothing yet, but is {kind}"):
            write_bytes(path, b"new")
    assert (tmp_path / "pipe").is_fifo()


def test_a_full_disk_is_named_with_the_file(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space left") as caught:
        write_bytes(tmp_path / "file", b"new")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_bytes(path, b"old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="disk full"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == ["file"]


def test_the_bytes_are_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    steps = []
    for name in ("fsync", "replace"):
        call: Callable[..., None] = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, n=name, c=call: (steps.append(n), c(*a))[1])
    write_bytes(tmp_path / "file", b"content")
    assert steps == ["fsync", "replace"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_files_and_folders_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        write_bytes(tmp_path / "file", b"")
        with folder_written_aside(tmp_path / "folder"):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o777 & ~umask


def test_json_is_readable_and_free_of_nan(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": [1, 2.5, None], "b": "ä"})
    assert json.loads(path.read_text()) == {"a": [1, 2.5, None], "b": "ä"}
    assert path.read_text().endswith("}\n")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text())["b"] == "ä"


# Folders


def test_a_folder_appears_whole(tmp_path):
    path = tmp_path / "data" / "tiny"
    with folder_written_aside(path) as aside:
        (aside / "card").write_text("x")
        assert not path.exists()
        assert aside.parent == path.parent
    assert (path / "card").read_text() == "x"
    assert names_in(path.parent) == ["tiny"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "tiny"
    path.mkdir()
    (path / "old").touch()

    def write_half() -> None:
        with folder_written_aside(path) as aside:
            (aside / "new").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert names_in(tmp_path) == ["tiny"]
    assert names_in(path) == ["old"]


def test_a_folder_gives_way_or_does_not(tmp_path):
    path = tmp_path / "tiny"
    for name in ("first", "second"):
        with folder_written_aside(path) as aside:
            (aside / name).touch()
    assert names_in(path) == ["second"]

    def write_again() -> None:
        with folder_written_aside(path, replace=False) as aside:
            (aside / "third").touch()

    with pytest.raises(FileExistsError, match="holds something already"):
        write_again()
    assert names_in(path) == ["second"]
    assert names_in(tmp_path) == ["tiny"]


def test_the_first_of_two_writers_wins(tmp_path):
    path = tmp_path / "tiny"

    def write_both() -> None:
        with folder_written_aside(path, replace=False) as slow:
            (slow / "slow").touch()
            with folder_written_aside(path, replace=False) as fast:
                (fast / "fast").touch()

    with pytest.raises(FileExistsError, match="holds something already"):
        write_both()
    assert names_in(path) == ["fast"]


def test_a_writable_folder_is_made_and_left_empty(tmp_path):
    path = tmp_path / "a" / "b"
    assert writable_folder(path) == path
    assert names_in(path) == []


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"must be writable, but Not a directory; choose anoth"):
        writable_folder(tmp_path / "file" / "runs")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="must be writable, but Permission denied"):
        writable_folder(tmp_path)


# Fingerprints


def test_sha256_is_that_of_the_bytes(tmp_path):
    content = bytes(range(256)) * 3000
    (tmp_path / "file").write_bytes(content)
    assert sha256_of_file(tmp_path / "file") == hashlib.sha256(content).hexdigest()


@given(value=JSON_VALUES)
def test_a_fingerprint_survives_json(value):
    assert fingerprint(json.loads(json.dumps(value))) == fingerprint(value)
    assert len(fingerprint(value)) == 16


@given(fields=st.dictionaries(st.text(), st.integers(), min_size=2))
def test_a_fingerprint_ignores_the_order_of_keys_but_no_value(fields):
    assert fingerprint(dict(reversed(fields.items()))) == fingerprint(fields)
    for name in fields:
        assert fingerprint({**fields, name: fields[name] + 1}) != fingerprint(fields)


def test_fingerprints_never_change():
    """A change would orphan every teacher on anyone's disk."""
    assert fingerprint({"b": [1, 2.5], "a": None}) == "e57f5d37865437a8"


def test_nan_has_no_fingerprint():
    with pytest.raises(ValueError, match="not JSON compliant"):
        fingerprint([float("nan")])


# Locks


def test_a_lock_lets_one_in_at_a_time(tmp_path):
    path = tmp_path / "locks" / "build.lock"
    inside, order = [], []

    def enter(name: int) -> None:
        with exclusive_lock(path):
            inside.append(name)
            assert len(inside) == 1
            time.sleep(0.02)
            order.append(inside.pop())

    threads = [threading.Thread(target=enter, args=(name,)) for name in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == list(range(5))


def test_a_lock_is_free_again_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(RuntimeError, match="failed"), exclusive_lock(tmp_path / "lock"):
            raise RuntimeError("failed")
