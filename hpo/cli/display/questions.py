"""Ask the user before something is deleted. Deletes nothing."""

from __future__ import annotations

import sys

import typer

from core.errors import ConfigError


def ask(question: str, *, yes: bool) -> None:
    """Return if the user agrees, and end the command with code 1 if not.

    Args:
        question: of which "yes" means to go on.
        yes: whether the user has agreed already.

    Raises:
        ConfigError: nobody is there to answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{question} Nobody is there to answer; agree with --yes")
    if not typer.confirm(question, err=True):
        print("nothing was changed", file=sys.stderr)
        raise typer.Exit(1)
