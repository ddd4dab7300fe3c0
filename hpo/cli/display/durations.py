"""Convert durations as people write them to seconds, and back."""

from __future__ import annotations

import re

_PART = r"(?:([0-9]+(?:\.[0-9]+)?){}\s*)?"
_DURATION = re.compile("".join(_PART.format(unit) for unit in "hms"))
_SECONDS = (3600.0, 60.0, 1.0)
SHORTEST = 5.0
"""Seconds; what takes less is not worth a word."""


def read_duration(option: str, text: str | None) -> float | None:
    """Return the seconds of ``2h``, ``90m``, ``1h30m`` or ``45s``; None for None.

    Raises:
        ConfigError: the text is none of these, or the duration is zero.
    """
    from core.errors import ConfigError

    if text is None:
        return None
    match = _DURATION.fullmatch(text.strip())
    parts = match.groups() if match else ()
    seconds = sum(float(part) * of for part, of in zip(parts, _SECONDS, strict=False) if part)
    if seconds <= 0:
        raise ConfigError(f"{option} must be a time such as 2h, 90m or 1h30m, got {text!r}")
    return seconds


def in_words(seconds: float) -> str:
    """Return a rounded duration: ``45 s``, minutes from 90 seconds on, hours from 90 minutes."""
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def left_in_words(seconds: float | None) -> str:
    """Return ``, about 3 min left``; nothing where that is not known, or soon over."""
    if seconds is None or seconds < SHORTEST:
        return ""
    return f", about {in_words(seconds)} left"
