"""Render sections as Markdown: tables, lists, commands, and figures by the names of their files.

Draws no figure and writes no file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from hpo.report.section import Block, Commands, Numbers, Panel, Section, Table


def markdown(title: str, sections: Mapping[str, Section], figures: str | None) -> str:
    """Return the text of a Markdown file.

    Args:
        title: its heading.
        sections: by anchor, in order.
        figures: folder of the figures as the file links it; None: figures are left out.
    """
    parts = [f"# {title}"]
    for section in sections.values():
        parts += [f"## {section.title}", section.seen]
        parts += [text for block in section.blocks if (text := _block(block, figures))]
        if section.note:
            parts.append(section.note)
    return "\n\n".join(parts).replace("\u00a0", " ") + "\n"


def _block(block: Block, figures: str | None) -> str:
    if isinstance(block, Panel):
        return "" if figures is None else f"![{block.summary}]({figures}/{block.name}.svg)"
    return _RENDERED[type(block)](block)


def _table(block: Table) -> str:
    aligned = ["---:" if at in block.numeric else "---" for at in range(len(block.headings))]
    lines = [f"| {' | '.join(map(_cell, row))} |" for row in (block.headings, aligned, *block.rows)]
    head = f"**{block.title}**\n\n" if block.title else ""
    return head + "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _numbers(block: Numbers) -> str:
    return "\n".join(f"- **{number}** {words}" for number, words in block.items)


def _commands(block: Commands) -> str:
    return "\n".join(["```", *block.lines, "```"])


_RENDERED: Final[dict[type, Callable[[Any], str]]] = {
    Table: _table,
    Numbers: _numbers,
    Commands: _commands,
}
