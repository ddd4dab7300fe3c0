"""Define how the command ``hpo`` itself behaves: its version, and whole lines in lists of commands.

Knows no command.
"""

from __future__ import annotations

from importlib.metadata import version as version_of
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

HELP = {"help_option_names": ["-h", "--help"]}
"""Settings of the top command, which all others inherit."""
_ANY_LENGTH = 1000


class CommandGroup(TyperGroup):
    """A command with others below it, whose help shows the whole summary of each."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a list of the commands; a summary that is longer than a line goes on below."""
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        shown = [(name, found) for name, found in named if found and not found.hidden]
        rows = [(name, found.get_short_help_str(_ANY_LENGTH)) for name, found in shown]
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"hpo {version_of('stgcn-student-search')}")
        raise typer.Exit


def top_options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", is_eager=True, callback=_print_version
        ),
    ] = False,
) -> None:
    """Search for distilled students of STGCN traffic forecasters, on Ray Tune and Optuna."""
