"""Define what all displays of progress share: they last for a block. Draws nothing itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Display(ABC):
    """Shows something while a ``with`` block runs, and stops however the block ends."""

    def __enter__(self) -> Self:
        """Return the display."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; the error, if any, goes on."""
        self.stop(error)

    @abstractmethod
    def stop(self, error: BaseException | None = None) -> None:
        """Stop drawing and restore the terminal, at the end or because of ``error``."""
