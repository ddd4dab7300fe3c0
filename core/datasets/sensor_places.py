"""Define what is known of a sensor beside its id: what it is called and where it is.

Reads no files (``sensor_files`` does).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class SensorPlace:
    """What is known of a sensor beside its id; texts are empty where nothing is."""

    name: str = ""
    freeway: str = ""
    direction: str = ""
    latitude: float | None = None
    """Degrees; None: not known, as is the longitude then."""
    longitude: float | None = None

    @property
    def known(self) -> bool:
        """Whether it says where the sensor is."""
        return self.latitude is not None and self.longitude is not None

    @property
    def label(self) -> str:
        """Name, freeway and direction in a line; empty where none is known."""
        road = " ".join(part for part in (self.freeway, self.direction) if part)
        return ", ".join(part for part in (self.name, road) if part)


def places_of(values: Sequence[dict[str, Any]]) -> tuple[SensorPlace, ...]:
    """Return the places that a card or a manifest holds as JSON.

    Raises:
        TypeError: a value is of something else.
    """
    return tuple(SensorPlace(**value) for value in values)
