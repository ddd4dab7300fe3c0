"""Published files, fetched from a server on this machine."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from core.datasets.fetching import fetch_files
from core.datasets.published.form import Download, PublishedDataset, PublishedFile
from core.errors import DatasetError, DownloadError, StorageError
from tests.core.file_server import FileServer, serving

READINGS, GRAPH = bytes(range(256)) * 1000, b"from,to,cost\n0,1,5\n"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as shown:
        shown.files = {"r.npz": READINGS, "d.csv": GRAPH}
        yield shown


@pytest.fixture
def dataset(server: FileServer) -> PublishedDataset:
    readings = Download("r.npz", server.url("r.npz"), _sha256(READINGS), len(READINGS))
    graph = Download("d.csv", server.url("d.csv"), f"md5:{hashlib.md5(GRAPH).hexdigest()}")
    return PublishedDataset(
        name="mine",
        about="",
        page="https://example.org/mine",
        num_sensors=2,
        readings=PublishedFile(("r.npz",), readings),
        graph=PublishedFile(("d.csv",), graph),
        graph_kind="edges",
        split=(1, 1, 1),
        day_kind="consecutive",
    )


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_files_come_whole_and_once(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    heard: list[tuple[str, int, int | None]] = []
    fetch_files(dataset, tmp_path, lambda item, done, of: heard.append((item.name, done, of)))
    assert (tmp_path / "r.npz").read_bytes() == READINGS
    assert (tmp_path / "d.csv").read_bytes() == GRAPH
    assert _names(tmp_path) == {"r.npz", "d.csv"}
    assert heard[-1] == ("d.csv", len(GRAPH), len(GRAPH))
    ours = [done for name, done, _ in heard if name == "r.npz"]
    assert ours == sorted(ours)
    assert ours[-1] == len(READINGS)
    fetch_files(dataset, tmp_path)
    assert server.ranges == [None, None]


def test_a_cut_connection_goes_on_where_it_was(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    server.cut_after = [100_000, 50_000]
    fetch_files(dataset, tmp_path)
    assert (tmp_path / "r.npz").read_bytes() == READINGS
    assert server.ranges == [None, "bytes=100000-", "bytes=150000-", None]


def test_what_came_before_a_call_gave_up_is_kept_for_the_next(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    server.cut_after = [100_000, 0]
    with pytest.raises(DownloadError, match=r"cut after 100,000 bytes; run the same command again"):
        fetch_files(dataset, tmp_path)
    assert _names(tmp_path) == {"r.npz.part"}
    fetch_files(dataset, tmp_path)
    assert (tmp_path / "r.npz").read_bytes() == READINGS
    assert server.ranges == [None, "bytes=100000-", "bytes=100000-", None]


def test_a_server_without_ranges_sends_it_all_again(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    server.cut_after, server.knows_ranges = [200_000], False
    fetch_files(dataset, tmp_path)
    assert (tmp_path / "r.npz").read_bytes() == READINGS


def test_a_part_that_is_whole_already_needs_no_more(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    (tmp_path / "r.npz.part").write_bytes(READINGS)
    fetch_files(dataset, tmp_path)
    assert _names(tmp_path) == {"r.npz", "d.csv"}
    assert server.ranges == [f"bytes={len(READINGS)}-", None]


@pytest.mark.parametrize("part", [None, b"another file's bytes"])
def test_other_bytes_are_refused_and_nothing_is_left(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path, part: bytes | None
) -> None:
    if part is None:
        server.files["r.npz"] = READINGS[:-1] + b"?"
    else:
        (tmp_path / "r.npz.part").write_bytes(part)
    message = r"must have the checksum sha256:.* deleted; try again, or get it as https://example"
    with pytest.raises(DownloadError, match=message) as caught:
        fetch_files(dataset, tmp_path)
    assert "\n" not in str(caught.value)
    assert _names(tmp_path) == set()


def test_a_damaged_file_is_fetched_again(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    (tmp_path / "r.npz").write_bytes(b"damaged")
    fetch_files(dataset, tmp_path)
    assert (tmp_path / "r.npz").read_bytes() == READINGS


def test_without_a_network_one_line_says_what_else_to_do(
    dataset: PublishedDataset, server: FileServer, tmp_path: Path
) -> None:
    advice = (
        r"get r\.npz and d\.csv elsewhere \(see .*\) and run `hpo data import mine --from FOLDER`"
    )
    for address, reason in (
        ("http://127.0.0.1:9/r.npz", "Connection refused"),
        ("http://no.such.host.invalid/r.npz", "Name or service not known|failure in name res"),
        (server.url("gone.npz"), "Not Found"),
    ):
        download = replace(dataset.readings.download, address=address)
        away = replace(dataset, readings=replace(dataset.readings, download=download))
        with pytest.raises(DownloadError, match=f"must be reachable, but: .*({reason}).*{advice}"):
            fetch_files(away, tmp_path)
        assert _names(tmp_path) == set()


def test_an_archive_is_fetched_once_and_unpacked(
    server: FileServer, dataset: PublishedDataset, tmp_path: Path
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("folder/Mine_V.csv", READINGS)
        archive.writestr("W.csv", GRAPH)
        archive.writestr("../other.csv", b"")
    server.files["all.zip"] = packed.getvalue()
    # As `git hash-object` would call it.
    header = b"blob %d\0" % len(packed.getvalue())
    checksum = f"git:{hashlib.sha1(header + packed.getvalue()).hexdigest()}"
    whole = Download("all.zip", server.url("all.zip"), checksum)
    readings, graph = (
        PublishedFile(("V.csv", "Mine_V.csv"), whole),
        PublishedFile(("W.csv",), whole),
    )
    both = replace(dataset, readings=readings, graph=graph)
    fetch_files(both, tmp_path / "there")
    assert (tmp_path / "there" / "V.csv").read_bytes() == READINGS
    assert (tmp_path / "there" / "W.csv").read_bytes() == GRAPH
    assert _names(tmp_path) == {"there"}
    assert server.ranges == [None]
    fetch_files(both, tmp_path / "there")
    assert server.ranges == [None]
    lacking = replace(both, graph=PublishedFile(("X.csv",), whole))
    with pytest.raises(DatasetError, match=r"all\.zip must hold X\.csv, but it does not"):
        fetch_files(lacking, tmp_path / "there")


def test_git_calls_a_known_file_by_this_name(server: FileServer, tmp_path: Path) -> None:
    """``printf 'hello\\n' | git hash-object --stdin``."""
    server.files["hello"] = b"hello\n"
    known = Download("hello", server.url("hello"), "git:ce013625030ba8dba906f756967f9e9ca394464a")
    file = PublishedFile(("hello",), known)
    dataset = PublishedDataset(
        name="hello",
        about="",
        page="",
        num_sensors=1,
        readings=file,
        graph=file,
        graph_kind="edges",
        split=(1, 1, 1),
        day_kind="weekdays",
    )
    fetch_files(dataset, tmp_path)
    assert (tmp_path / "hello").read_bytes() == b"hello\n"


def test_a_folder_that_is_none(dataset: PublishedDataset, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="must be writable"):
        fetch_files(dataset, tmp_path / "file")
