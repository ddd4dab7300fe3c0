"""Store bytes under keys below a prefix of a bucket, in S3 or a compatible store, by pyarrow.

    s3://bucket/prefix?region=eu-central-1
    s3://bucket/prefix?endpoint_override=minio:9000&scheme=http

An object is whole or absent, and once stored it is listed at once; nothing more is required.
Transient errors are retried with growing pauses; what remains is one ``ObjectStoreError``.
Credentials come from where AWS's own tools find them; they are never part of an address, a file
or a message. Knows nothing of sweeps.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from pyarrow import fs

from core.errors import ConfigError, StorageError

SCHEME = "s3"
OPTIONS = ("endpoint_override", "region", "scheme")
"""What an address may hold besides bucket and prefix, by pyarrow's names."""
ATTEMPTS = 7
"""How often a request is tried, over about half a minute, unless ``AWS_MAX_ATTEMPTS`` is set."""
ATTEMPTS_TO_CONNECT = 3
CONNECT_SECONDS, REQUEST_SECONDS = 5.0, 60.0
MAX_PARALLEL = 16
"""Requests at the same time, where many objects are moved."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*")
_CODE = re.compile(r"AWS Error (\w+)[^:]*: *(.*)", re.DOTALL)

Answer = TypeVar("Answer")


class ObjectStoreError(StorageError):
    """A store did not carry out a request, also when it was retried."""

    def __init__(self, address: str, reason: str) -> None:
        """Name the store and why it failed."""
        self.problem = f"{address} must answer and take what is written, but {reason}"
        super().__init__(f"{self.problem}; mend that, then give the same command again")


@dataclass(frozen=True)
class StoredObject:
    """Size and age of an object, as listings hold them."""

    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since 1970, by the store's own clock."""


@dataclass(frozen=True)
class ObjectStore:
    """All objects below one prefix of a bucket; keys are relative to it."""

    bucket: str
    prefix: str
    options: tuple[tuple[str, str], ...] = ()
    """Of ``OPTIONS``, sorted."""

    @classmethod
    def at(cls, address: str) -> ObjectStore:
        """Parse an address.

        Raises:
            ConfigError: it is none, or holds credentials.
        """
        parts = urlsplit(address)
        if "@" in parts.netloc:
            raise ConfigError(
                "--storage must not hold credentials; give them in the environment, as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or in a profile"
            )
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if unknown := set(names) - set(OPTIONS):
            # Their values are not shown: they may be secret.
            raise ConfigError(
                f"--storage may say {', '.join(OPTIONS)} after the '?', got {sorted(unknown)}; "
                "credentials belong in the environment"
            )
        prefix = parts.path.strip("/")
        fits = all(_PART.fullmatch(part) for part in prefix.split("/")) and not parts.fragment
        if parts.scheme != SCHEME or not _BUCKET.fullmatch(parts.netloc) or not fits:
            shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
            raise ConfigError(
                f"--storage must be a folder or s3://BUCKET/PREFIX, got {shown!r}; write the "
                "prefix of letters, digits and any of . _ - = + @"
            )
        return cls(parts.netloc, prefix, tuple(sorted(parse_qsl(parts.query))))

    @property
    def address(self) -> str:
        """The address in its canonical form."""
        query = f"?{urlencode(self.options, safe=':')}" if self.options else ""
        return f"{self._root}{query}"

    @property
    def _root(self) -> str:
        return f"{SCHEME}://{self.bucket}/{self.prefix}"

    def check(self) -> None:
        """Make sure that the bucket exists and may be listed.

        Raises:
            ObjectStoreError: it does not, or may not.
        """
        filesystem = self._filesystem(min(ATTEMPTS_TO_CONNECT, _attempts()))
        found = self._request(lambda: filesystem.get_file_info(self.bucket))
        if found.type is fs.FileType.NotFound:
            raise ObjectStoreError(self._root, f"there is no bucket {self.bucket!r}")
        # Also shows whether these credentials may list: asking for a bucket alone need not.
        self._request(lambda: filesystem.get_file_info(self._selector("", recursive=False)))

    def put(self, key: str, content: bytes) -> None:
        """Store an object; readers see the old one or the whole new one."""

        def write() -> None:
            stream = self.filesystem.open_output_stream(self._path(key))
            # Not in a `with`: that would store what had been written when something failed.
            stream.write(content)
            stream.close()

        self._request(write)

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            FileNotFoundError: there is no such object.
        """

        def read() -> bytes:
            with self.filesystem.open_input_file(self._path(key)) as stream:
                return bytes(stream.read())

        return self._request(read)

    def list(self, prefix: str) -> dict[str, StoredObject]:
        """Return all objects whose key begins with ``prefix``, a folder's name or empty."""
        found = self._request(
            lambda: self.filesystem.get_file_info(self._selector(prefix, recursive=True))
        )
        start = len(self._path(""))
        return {
            info.path[start:]: StoredObject(info.size, info.mtime_ns)
            for info in sorted(found, key=lambda info: str(info.path))
            if info.is_file
        }

    def stat(self, key: str) -> StoredObject | None:
        """Return an object's size and age, or None if there is none."""
        info = self._request(lambda: self.filesystem.get_file_info(self._path(key)))
        return StoredObject(info.size, info.mtime_ns) if info.is_file else None

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        try:
            self._request(lambda: self.filesystem.delete_file(self._path(key)))
        except FileNotFoundError:
            return

    @cached_property
    def filesystem(self) -> fs.S3FileSystem:
        """Pyarrow's client."""
        return self._filesystem(_attempts())

    def _filesystem(self, attempts: int) -> fs.S3FileSystem:
        options = dict(self.options)
        return self._request(
            lambda: fs.S3FileSystem(
                endpoint_override=options.get("endpoint_override"),
                scheme=options.get("scheme"),
                region=options.get("region") or self._region(),
                retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
                connect_timeout=CONNECT_SECONDS,
                request_timeout=REQUEST_SECONDS,
                # Small objects then take one request instead of three.
                allow_delayed_open=True,
            )
        )

    def _region(self) -> str | None:
        """Ask AWS where the bucket lies, unless that is configured or it is not AWS."""
        configured = ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
        if dict(self.options).get("endpoint_override") or any(map(os.environ.get, configured)):
            return None
        region: str = fs.resolve_s3_region(self.bucket)
        return region

    def _path(self, key: str) -> str:
        return f"{self.bucket}/{self.prefix}/{key}"

    def _selector(self, prefix: str, *, recursive: bool) -> fs.FileSelector:
        folder = self._path(prefix).rstrip("/")
        return fs.FileSelector(folder, allow_not_found=True, recursive=recursive)

    def _request(self, send: Callable[[], Answer]) -> Answer:
        try:
            return send()
        except FileNotFoundError:
            raise
        # ValueError: what pyarrow cannot read as a region or scheme.
        except (OSError, ValueError) as error:
            raise ObjectStoreError(self._root, _reason(error)) from error


def in_parallel(work: Callable[[str], object], keys: Iterable[str]) -> None:
    """Do ``work`` for every key, several at a time, and raise the first error."""
    wanted = list(keys)
    if len(wanted) < 2:
        for key in wanted:
            work(key)
        return
    with ThreadPoolExecutor(min(MAX_PARALLEL, len(wanted))) as pool:
        for _ in pool.map(work, wanted):
            pass


def _attempts() -> int:
    chosen = os.environ.get("AWS_MAX_ATTEMPTS", "")
    return max(1, int(chosen)) if chosen.isdigit() else ATTEMPTS


def _reason(error: Exception) -> str:
    """Return the store's own reason without its ids: ``ACCESS_DENIED, Access Denied``."""
    text = re.sub(r"\(Request ID: [^)]*\)|; Details: .*", "", " ".join(str(error).split()))
    match = _CODE.search(text)
    code, message = match.groups() if match else ("", text)
    return f"{code}, {message}".strip(" ,.").replace("; ", ", ")
