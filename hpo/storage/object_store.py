"""Store bytes under keys below a prefix of a bucket, in S3, Google's or Azure's store, by obstore.

    s3://bucket/prefix?region=eu-central-1
    s3://bucket/prefix?endpoint_override=minio:9000&scheme=http
    gs://bucket/prefix
    az://container/prefix?account=name

An object is whole or absent, and once stored it is listed at once. Stores that compare an object
with what a writer expects before they replace it make writers safe from each other (``put_if``,
``put_fenced``); ``compares`` finds out. Transient errors are retried with growing pauses; what
remains is one ``ObjectStoreError``. Credentials come from where each provider's own tools find
them; they are never part of an address, a file or a message. Knows nothing of sweeps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import obstore
from obstore import exceptions

from core.errors import ConfigError, StorageError
from hpo.storage.clients import OPTIONS, client_of, reason_of

ATTEMPTS_TO_CONNECT = 3
MAX_PARALLEL = 16
"""Requests at the same time, where many objects are moved."""
TERM = "term"
"""Name of the term of a driver among an object's metadata."""
REFUSED = (exceptions.AlreadyExistsError, exceptions.PreconditionError)
"""What obstore raises where an object is not what was expected."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PART = re.compile(r"[A-Za-z0-9_=+@-][A-Za-z0-9._=+@-]*")

Answer = TypeVar("Answer")
Version = dict[str, str]
"""What a store tells one state of an object from another by; in S3 a hash of its content."""


class ObjectStoreError(StorageError):
    """A store did not carry out a request, also when it was retried."""

    def __init__(self, address: str, reason: str) -> None:
        """Name the store and why it failed."""
        self.problem = f"{address} must answer and take what is written, but {reason}"
        super().__init__(f"{self.problem}; mend that, then give the same command again")


class ChangedError(StorageError):
    """An object is not what its writer expected, so it was left alone."""


@dataclass(frozen=True)
class StoredObject:
    """Size, age and version of an object."""

    size: int
    """Bytes."""
    modified: int
    """Nanoseconds since 1970 by the store's own clock, in whole seconds: some answers round."""
    version: Version = field(compare=False)
    """Only that of ``find`` is good for ``put_if``: listings of Azure write it differently."""


@dataclass(frozen=True)
class Found(StoredObject):
    """An object with its content."""

    content: bytes
    term: int
    """Of the driver that put it; 0 if that is not known."""


@dataclass(frozen=True)
class ObjectStore:
    """All objects below one prefix of a bucket; keys are relative to it."""

    scheme: str
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
        prefix = parts.path.strip("/")
        fits = all(_PART.fullmatch(part) for part in prefix.split("/")) and not parts.fragment
        if parts.scheme not in OPTIONS or not _BUCKET.fullmatch(parts.netloc) or not fits:
            shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
            raise ConfigError(
                "--storage must be a folder or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or "
                f"az://CONTAINER/PREFIX, got {shown!r}; write the prefix of letters, digits and "
                "any of . _ - = + @"
            )
        known = OPTIONS[parts.scheme]
        names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
        if unknown := set(names) - set(known):
            # Their values are not shown: they may be secret.
            raise ConfigError(
                f"--storage may say {', '.join(known)} after the '?', got {sorted(unknown)}; "
                "credentials belong in the environment"
            )
        return cls(parts.scheme, parts.netloc, prefix, tuple(sorted(parse_qsl(parts.query))))

    @property
    def address(self) -> str:
        """The address in its canonical form."""
        query = f"?{urlencode(self.options, safe=':/')}" if self.options else ""
        return f"{self._root}{query}"

    @property
    def _root(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}"

    def check(self) -> None:
        """Make sure that the bucket exists and may be listed.

        Raises:
            ObjectStoreError: it does not, or may not.
        """
        client = self._client(ATTEMPTS_TO_CONNECT)
        self._request(lambda: next(iter(obstore.list(client)), None))

    def put(self, key: str, content: bytes) -> Version:
        """Store an object; readers see the old one or the whole new one."""
        return self._put(key, content, "overwrite")

    def put_if(
        self, key: str, content: bytes, version: Version | None, term: int | None
    ) -> Version:
        """Store an object if its present version is this one.

        Args:
            key: of the object.
            content: of the object; nobody else puts the same in the same term.
            version: which an earlier call returned; None: there is no such object.
            term: of the driver that writes; None: the store does not compare, so look first.

        Raises:
            ChangedError: it has another version, or there is none.
        """
        error: Exception | None = None
        if term is not None:
            try:
                return self._put(key, content, version or "create", {TERM: str(term)})
            except REFUSED as refused:
                error = refused
        found = self.find(key)
        # An earlier try of this request may have arrived, and its answer got lost.
        if found is not None and (found.content, found.term) == (content, term or 0):
            return found.version
        if error is None and (found and found.version) == version:
            return self.put(key, content)
        raise ChangedError(f"{self._root}/{key} was put by another process") from error

    def put_fenced(self, key: str, content: bytes, term: int | None) -> None:
        """Store an object unless a driver of a later term has put it; None: in any case.

        Raises:
            ChangedError: one has.
        """
        if term is None:
            self.put(key, content)
            return
        version: Version | None = None
        while True:
            try:
                self.put_if(key, content, version, term)
            except ChangedError:
                found = self.find(key)
                if found is not None and found.term > term:
                    raise
                version = None if found is None else found.version
            else:
                return

    def compares(self, key: str) -> bool:
        """Whether the store compares before it puts; tried out on an object to be deleted."""
        try:
            outdated = self.put(key, b"1")
            self.put(key, b"2")
            for mode in ("create", outdated):
                try:
                    self._put(key, b"3", mode)
                except REFUSED:
                    continue
                return False
        except ObjectStoreError as error:
            if "NotImplemented" in error.problem:
                return False
            raise
        return True

    def get(self, key: str) -> bytes:
        """Return an object's content.

        Raises:
            FileNotFoundError: there is no such object.
        """
        return self._request(lambda: bytes(obstore.get(self.client, key).bytes()))

    def find(self, key: str) -> Found | None:
        """Return an object, or None if there is none."""
        try:
            answer = self._request(lambda: obstore.get(self.client, key))
            content = self._request(lambda: bytes(answer.bytes()))
        except FileNotFoundError:
            return None
        term = int(str(answer.attributes.get(TERM, 0)))
        return Found(**vars(_stored(answer.meta)), content=content, term=term)

    def list(self, prefix: str) -> dict[str, StoredObject]:
        """Return all objects whose key begins with ``prefix``, a folder's name or empty."""
        found = self._request(lambda: obstore.list(self.client, prefix or None).collect())
        return {
            str(one["path"]): _stored(one) for one in sorted(found, key=lambda one: one["path"])
        }

    def stat(self, key: str) -> StoredObject | None:
        """Return an object's size and age, or None if there is none."""
        try:
            return _stored(self._request(lambda: obstore.head(self.client, key)))
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        """Delete an object, if there is one."""
        try:
            self._request(lambda: obstore.delete(self.client, key))
        except FileNotFoundError:
            return

    @cached_property
    def client(self) -> Any:
        """Obstore's client."""
        return self._client()

    def _client(self, most_attempts: int | None = None) -> Any:
        return self._request(lambda: client_of(self._root, dict(self.options), most_attempts))

    def _put(
        self, key: str, content: bytes, mode: Any, metadata: dict[str, str] | None = None
    ) -> Version:
        try:
            stored = self._request(
                lambda: obstore.put(self.client, key, content, mode=mode, attributes=metadata)
            )
        except FileNotFoundError as error:  # there is no bucket
            raise ObjectStoreError(self._root, reason_of(error)) from error
        return _version(stored)

    def _request(self, send: Callable[[], Answer]) -> Answer:
        try:
            return send()
        except (FileNotFoundError, ConfigError, *REFUSED):
            raise
        # ValueError: what obstore cannot read as a setting.
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise ObjectStoreError(self._root, reason_of(error)) from error


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


def _stored(meta: Any) -> StoredObject:
    seconds = int(meta["last_modified"].timestamp())
    return StoredObject(meta["size"], seconds * 10**9, _version(meta))


def _version(answer: Any) -> Version:
    return {name: answer[name] for name in ("e_tag", "version") if answer[name] is not None}
