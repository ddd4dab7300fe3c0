"""List what the paper's tables compare: how each student is trained, and what it is called.

A contender is one row of ``CONTENDERS``; tables and claims name it. Trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hpo.space.parameters import PRUNE


@dataclass(frozen=True)
class Contender:
    """A way to train a student, which gets a sweep of its own."""

    name: str
    """Part of the sweep's name, and the key of the paper's results."""
    label: str
    """Its row in tables."""
    loss: str
    """A name in ``LOSSES``."""
    base: str | None = None
    """What is pruned, one of ``hpo.sweep_config.BASES``; None: trained from scratch."""
    removed: float | None = None
    """Share of the base's parameters that the paper removes; None where nothing is pruned."""

    @property
    def method(self) -> str:
        """The method of its sweep."""
        return self.loss if self.base is None else PRUNE


def _pruned_base(percent: int, loss: str, label: str) -> Contender:
    name = f"base-{percent}-{loss}"
    return Contender(name, f"base less {percent} %, {label}", loss, "table1", percent / 100)


_ALL = (
    Contender("none", "student without KD", "none"),
    Contender("rd_l2", "RD (L2)", "rd_l2"),
    Contender("rd_kl", "RD (KL)", "rd_kl"),
    Contender("skd", "SKD", "skd"),
    Contender("ord", "ORD", "ord"),
    Contender("tcd", "TCD", "tcd"),
    Contender("scd", "SCD", "scd"),
    Contender("stcd", "STCD", "stcd"),
    Contender("teacher-97-stcd", "pruned teacher, STCD", "stcd", "teacher", 0.97),
    *(
        _pruned_base(percent, loss, label)
        for percent in (25, 50, 75)
        for loss, label in (("none", "without KD"), ("stcd", "STCD"))
    ),
)
CONTENDERS: Final[dict[str, Contender]] = {one.name: one for one in _ALL}
"""By name."""
REFERENCES: Final = {
    "teacher": "teacher",
    "base": "pruning base",
    "repeat_last": "repeating the last reading",
}
"""Rows of tables that no sweep trains, and their labels."""
