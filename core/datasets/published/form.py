"""Describe a published dataset: its files, their addresses and how to import them.

Each dataset is one file beside this one. Does not download or read files (``fetching`` does).
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
    """``sha256:…``, ``md5:…``, or ``git:…``, the id of the file in a git repository."""
    num_bytes: int | None = None
    """None if its publisher does not give it."""


@dataclass(frozen=True)
class PublishedFile:
    """A file of readings or of the graph."""

    names: tuple[str, ...]
    """Its common file names, the usual one first."""
    download: Download
    """The file itself, or a ``.zip`` that contains it."""

    def find(self, folder: Path) -> Path:
        """Return its path in ``folder``, or raise ``DatasetError``."""
        found = next((folder / name for name in self.names if (folder / name).is_file()), None)
        if found is None:
            raise DatasetError(
                f"{folder} must hold {' or '.join(self.names)}, but it does not; "
                f"get it from {self.download.address}"
            )
        return found


@dataclass(frozen=True, kw_only=True)
class PublishedDataset:
    """A dataset that many papers use, in its published form."""

    name: str
    about: str
    """A short description, for a table."""
    page: str
    """Web page that describes the dataset and its files."""
    num_sensors: int
    readings: PublishedFile
    graph: PublishedFile
    graph_kind: Literal["distances", "edges", "adjacency"]
    split: tuple[int, int, int]
    day_kind: DayKind
    channels: dict[str, str] = field(default_factory=lambda: {"": "mph"})
    """Channel -> unit; the first is what the paper forecasts. A single one has no name."""
    places: str = ""
    """Name of the file of its sensors' places, read where it lies beside the others."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Further fields of ``ImportRequest``."""

    @property
    def downloads(self) -> tuple[Download, ...]:
        """The files to download, each once."""
        return tuple(dict.fromkeys((self.readings.download, self.graph.download)))

    def request(self, folder: Path, name: str, channel: str | None = None) -> ImportRequest:
        """Return the request to import the files in ``folder`` as the dataset ``name``.

        Raises:
            DatasetError: a file is missing.
            UnknownNameError: the dataset has no such channel.
        """
        chosen = self._channel(channel)
        readings = self.readings.find(folder)
        places = folder / self.places
        graph: dict[str, Any] = {self.graph_kind: self.graph.find(folder)}
        return ImportRequest(
            name=name,
            readings=readings,
            split=self.split,
            day_kind=self.day_kind,
            channel=chosen or None,
            unit=self.channels[chosen],
            sensors=places if places.is_file() else None,
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
