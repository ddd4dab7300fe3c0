"""What a published dataset is: the files it comes as, where they lie, how they are imported.

One file beside this one per dataset; nothing is read or fetched here (``fetching`` does that).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.datasets.dataset import DayKind
from core.datasets.importing import ImportRequest
from core.errors import ConfigError, DatasetError, UnknownNameError


@dataclass(frozen=True)
class Download:
    """A file at a public address."""

    name: str
    address: str
    checksum: str
    """``sha256:…``, ``md5:…``, or ``git:…``, the id under which a git repository holds it."""
    num_bytes: int | None = None
    """None where its publisher does not say."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of readings or of the graph."""

    names: tuple[str, ...]
    """Under which it goes around, the usual one first."""
    download: Download
    """The file itself, or a ``.zip`` that holds it."""

    def find(self, folder: Path) -> Path:
        """Return where it lies in ``folder``, or raise ``DatasetError``."""
        found = next((folder / name for name in self.names if (folder / name).is_file()), None)
        if found is None:
            raise DatasetError(
                f"{folder} must hold {' or '.join(self.names)}, but it does not; "
                f"get it from {self.download.address}"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class PublishedDataset:
    """A dataset that many papers use, in the form it is published in."""

    name: str
    about: str
    """In a few words, for a table."""
    page: str
    """Where a person reads more and finds the files."""
    num_sensors: int
    readings: PublishedFile
    graph: PublishedFile
    graph_kind: Literal["distances", "edges", "adjacency"]
    split: tuple[int, int, int]
    day_kind: DayKind
    channels: dict[str, str] = field(default_factory=lambda: {"": "mph"})
    """Channel -> unit; the first is what the paper forecasts. A single one has no name."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What else ``ImportRequest`` is told."""

    @property
    def downloads(self) -> tuple[Download, ...]:
        """What has to be fetched, each file once."""
        return tuple(dict.fromkeys((self.readings.download, self.graph.download)))

    def request(self, folder: Path, name: str, channel: str | None = None) -> ImportRequest:
        """Return how to import the files in ``folder`` as the dataset ``name``.

        Raises:
            DatasetError: a file is missing.
            UnknownNameError: it has no such channel.
        """
        chosen = self._channel(channel)
        readings = self.readings.find(folder)
        graph: dict[str, Any] = {self.graph_kind: self.graph.find(folder)}
        return ImportRequest(
            name=name,
            readings=readings,
            split=self.split,
            day_kind=self.day_kind,
            channel=chosen or None,
            unit=self.channels[chosen],
            **graph,
            **self.settings,
        )

    def _channel(self, channel: str | None) -> str:
        first = next(iter(self.channels))
        if channel is None:
            return first
        if not first:
            raise ConfigError(f"{self.name} has a single channel, got {channel!r}; leave it out")
        if channel not in self.channels:
            raise UnknownNameError(f"channel of {self.name}", channel, self.channels)
        return channel
