"""Show the stages of a command that takes a while, and how long the rest takes, in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from hpo.cli.display import durations
from hpo.cli.display.output import error_console
from hpo.cli.display.progress.pace import Pace

OnStage = Callable[[str, int, int], None]
"""Called before each stage with what begins, how many are done, and of how many."""


@contextmanager
def stages_shown(first: str) -> Iterator[OnStage]:
    """Show ``first``, and then every stage that the yielded function is called with."""
    pace = Pace(patience=0.5)
    with error_console.status(first) as status:

        def show(what: str, done: int, total: int) -> None:
            left = durations.left_in_words(pace.seconds_left(done, total))
            status.update(f"{what}, {done + 1} of {total}{left}")

        yield show
