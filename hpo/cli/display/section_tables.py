"""Print sections as text: their sentence, tables, numbers and commands; figures are left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rich import box
from rich.table import Table as Shown

from hpo.cli.display.output import console, print_line
from hpo.report.section import Commands, Numbers, Section, Table


def print_section(section: Section) -> None:
    """Print one section to standard output."""
    console.print(section.title, style="bold", highlight=False, markup=False)
    _text(section.seen)
    for block in section.blocks:
        _PRINTED.get(type(block), lambda _: None)(block)
    if section.note:
        _text(section.note)
    console.print()


def _text(text: str) -> None:
    console.print(text, highlight=False, markup=False)


def _table(block: Table) -> None:
    shown = Shown(title=block.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for at, heading in enumerate(block.headings):
        shown.add_column(heading, justify="right" if at in block.numeric else "left")
    for row in block.rows:
        shown.add_row(*row)
    console.print(shown)


def _numbers(block: Numbers) -> None:
    for number, words in block.items:
        _text(f"{number:>6} {words}")


def _commands(block: Commands) -> None:
    print_line("\n".join(block.lines))


_PRINTED: Final[dict[type, Callable[[Any], None]]] = {
    Table: _table,
    Numbers: _numbers,
    Commands: _commands,
}
