"""List the paper's tables: their rows, and what the paper claims of them.

A table is one entry of ``TABLES``, a claim one line of it. Claims are judged by the test MAE,
averaged over 15, 30 and 45 minutes. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from core.errors import UnknownNameError
from hpo.reproduction.contenders import CONTENDERS

Kind = Literal["sizes", "errors", "shares", "settings", "forecasts"]


@dataclass(frozen=True)
class Claim:
    """One of the paper's statements: a way to train students is better than another."""

    better: str
    """A key of ``CONTENDERS``, as ``worse``."""
    worse: str

    @property
    def text(self) -> str:
        """The statement in words."""
        return f"{CONTENDERS[self.better].label} beats {CONTENDERS[self.worse].label}"


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper."""

    name: str
    title: str
    kind: Kind
    """What its cells hold, which decides how it is drawn."""
    rows: tuple[str, ...]
    """Keys of ``CONTENDERS`` and of ``REFERENCES``."""
    claims: tuple[Claim, ...] = ()

    @property
    def contenders(self) -> tuple[str, ...]:
        """The rows that have a sweep."""
        return tuple(row for row in self.rows if row in CONTENDERS)


_PRUNED = tuple(name for name in CONTENDERS if name.startswith("base-"))
_LOSSES = ("rd_l2", "rd_kl", "skd", "ord", "tcd", "scd", "stcd")
_ALL = (
    PaperTable(
        "1", "Parameters, FLOPs and seconds of 1,140 windows", "sizes", ("teacher", "base", "none")
    ),
    PaperTable(
        "2",
        "Response distillation",
        "errors",
        ("teacher", "none", "rd_l2", "rd_kl", "ord", "repeat_last"),
        (Claim("ord", "rd_l2"), Claim("ord", "rd_kl"), Claim("ord", "none")),
    ),
    PaperTable(
        "3",
        "Share of entries for which the student learnt from the teacher's prediction",
        "shares",
        ("ord", "scd", "tcd", "stcd"),
    ),
    PaperTable(
        "4",
        "STCD against all others",
        "errors",
        ("teacher", "none", "rd_l2", "rd_kl", "skd", "ord", "stcd", "repeat_last"),
        tuple(Claim("stcd", other) for other in ("none", "rd_l2", "rd_kl", "skd", "ord")),
    ),
    PaperTable(
        "5",
        "The parts of STCD",
        "errors",
        ("teacher", "ord", "tcd", "scd", "stcd", "repeat_last"),
        (
            Claim("tcd", "ord"),
            Claim("scd", "ord"),
            Claim("stcd", "tcd"),
            Claim("stcd", "scd"),
        ),
    ),
    PaperTable("6", "Settings of the distilled students", "settings", _LOSSES),
    PaperTable(
        "7",
        "A pruned teacher against a student of fixed shape",
        "errors",
        ("teacher", "stcd", "teacher-97-stcd", "repeat_last"),
        (Claim("teacher-97-stcd", "stcd"),),
    ),
    PaperTable(
        "8",
        "Pruning with and without distillation",
        "errors",
        ("base", *_PRUNED, "repeat_last"),
        tuple(Claim(f"base-{share}-stcd", f"base-{share}-none") for share in (25, 50, 75)),
    ),
    PaperTable(
        "9",
        "Settings of the pruned students",
        "settings",
        ("teacher-97-stcd", "base-75-stcd", "base-50-stcd", "base-25-stcd"),
    ),
    PaperTable(
        "figures",
        "Forecasts of three sensors (Figures 3 to 5)",
        "forecasts",
        ("teacher", "none", "stcd"),
    ),
)
TABLES: Final[dict[str, PaperTable]] = {one.name: one for one in _ALL}
"""By name; the last holds the figures."""
ALL: Final = "all"


def find_tables(name: str) -> list[PaperTable]:
    """Return the table called ``name``, or all, or raise ``UnknownNameError``."""
    if name == ALL:
        return list(TABLES.values())
    if name not in TABLES:
        raise UnknownNameError("table", name, [*TABLES, ALL])
    return [TABLES[name]]


def contenders_of(tables: Iterable[PaperTable]) -> list[str]:
    """Return the contenders of some tables, each once, in the order of ``CONTENDERS``."""
    wanted = {row for table in tables for row in _trained(table)}
    return [name for name in CONTENDERS if name in wanted]


def _trained(table: PaperTable) -> tuple[str, ...]:
    # Sizes follow from shapes alone.
    return () if table.kind == "sizes" else table.contenders
