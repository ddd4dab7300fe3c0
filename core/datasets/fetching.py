"""Download the files of a published dataset into a folder and verify their checksums.

A file is ``NAME.part`` until it is complete and its checksum matches; an interrupted download
resumes with the bytes that are missing. Does not import the files (``importing`` does).
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from core.datasets.published.form import Download, PublishedDataset, PublishedFile
from core.errors import DatasetError, DownloadError, StorageError
from core.files import exclusive_lock, writable_folder, write_bytes

ATTEMPTS = 5
"""How often a download may be interrupted within one call, each time after some bytes arrived."""
TIMEOUT_SECONDS = 30.0
_CHUNK_BYTES = 1 << 16
_RANGE_NOT_SATISFIABLE = 416

Progress = Callable[[Download, int, int | None], None]
"""Receives the file, its bytes downloaded so far, and its total bytes if they are known."""


def fetch_files(
    dataset: PublishedDataset, folder: Path, on_progress: Progress = lambda *_: None
) -> None:
    """Download the files of ``dataset`` into ``folder``, except those it has already.

    Raises:
        DownloadError: no connection, repeated interruptions, or a wrong checksum.
        StorageError: ``folder`` cannot be written.
    """
    writable_folder(folder)
    with exclusive_lock(folder / ".lock"):
        for file in (dataset.readings, dataset.graph):
            archived = file.download.name.endswith(".zip")
            if not archived or not (folder / file.names[0]).is_file():
                archive = _download(dataset, file.download, folder, on_progress)
            if archived and not (folder / file.names[0]).is_file():
                _unpack(archive, file, folder)


def _download(
    dataset: PublishedDataset, item: Download, folder: Path, on_progress: Progress
) -> Path:
    target, part = folder / item.name, folder / f"{item.name}.part"
    if target.is_file() and _fits(target, item.checksum):
        return target
    for _ in range(ATTEMPTS):
        before = _size(part)
        try:
            whole = _receive(item, part, on_progress)
        except (URLError, HTTPException, TimeoutError, ConnectionError) as error:
            raise _unreachable(dataset, item, error) from error
        if whole or _size(part) == before:
            break
    if not whole:
        raise DownloadError(
            f"{item.address} must come whole, but the connection was cut after {_size(part):,} "
            "bytes; run the same command again, it goes on from there"
        )
    if not _fits(part, item.checksum):
        part.unlink()
        raise DownloadError(
            f"{item.address} must have the checksum {item.checksum}, but what came has another and "
            f"was deleted; try again, or get it as {dataset.page} says"
        )
    os.replace(part, target)
    return target


def _receive(item: Download, part: Path, on_progress: Progress) -> bool:
    """Request the bytes that ``part`` lacks, append them, and return whether it is complete."""
    headers = {"User-Agent": "stgcn-student-search", "Accept-Encoding": "identity"}
    if _size(part):
        headers["Range"] = f"bytes={_size(part)}-"
    try:
        answer: HTTPResponse
        with urlopen(Request(item.address, headers=headers), timeout=TIMEOUT_SECONDS) as answer:
            begin = _size(part) if answer.status == 206 else 0
            length = answer.headers.get("Content-Length")
            total = item.num_bytes if length is None else begin + int(length)
            _append(part, begin, answer, lambda done: on_progress(item, done, total))
    except HTTPError as error:
        if error.code == _RANGE_NOT_SATISFIABLE:  # the file is complete; its checksum decides
            return True
        raise
    return total is None or _size(part) == total


def _append(part: Path, begin: int, answer: HTTPResponse, on_bytes: Callable[[int], None]) -> None:
    try:
        with part.open("r+b" if begin else "wb") as stream:
            stream.seek(begin)
            for chunk in _chunks(answer):
                stream.write(chunk)
                on_bytes(stream.tell())
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise StorageError(
            f"{part} must be writable, but {error.strerror or error}; make room and run the same "
            "command again, it goes on from there"
        ) from error


def _chunks(answer: HTTPResponse) -> Iterator[bytes]:
    """Yield chunks of the body until it ends or the connection breaks."""
    with suppress(OSError, HTTPException):
        while chunk := answer.read1(_CHUNK_BYTES):
            yield chunk


def _unpack(archive: Path, file: PublishedFile, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            for member in opened.namelist():
                if Path(member).name in file.names:
                    write_bytes(folder / file.names[0], opened.read(member))
                    return
    except zipfile.BadZipFile as error:
        raise DatasetError(f"{archive} must be a ZIP archive, but: {error}; delete it") from error
    raise DatasetError(f"{archive} must hold {' or '.join(file.names)}, but it does not; delete it")


def _fits(path: Path, checksum: str) -> bool:
    kind, _, wanted = checksum.partition(":")
    if kind == "git":
        # git identifies a file by the SHA-1 of a header and its bytes.
        hasher = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    else:
        hasher = hashlib.new(kind, usedforsecurity=False)
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, lambda: hasher).hexdigest() == wanted


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _unreachable(dataset: PublishedDataset, item: Download, error: Exception) -> DownloadError:
    reason = getattr(error, "reason", None) or error
    return DownloadError(
        f"{item.address} must be reachable, but: {' '.join(str(reason).split())}; try again, or "
        f"get {dataset.readings.names[0]} and {dataset.graph.names[0]} elsewhere (see "
        f"{dataset.page}) and run `hpo data import {dataset.name} --from FOLDER`"
    )
