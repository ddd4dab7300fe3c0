"""Read numbers as this project writes them: ``16``, ``-3``, ``0.001``, ``.5``, ``1e-4``.

One rule for all that people write: search spaces, ``--set`` and options. What Python or YAML would
read besides is refused, since it is read differently elsewhere or was not meant: ``1_6``, digits
of other scripts, ``010`` (eight in YAML), ``1:30`` (ninety in YAML), ``0x10``, ``inf``, ``nan``.
Knows no ranges.
"""

from __future__ import annotations

import re
from typing import Final

WHOLE: Final = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
"""At most 18 digits, as samplers calculate with 64 bits."""
DECIMAL: Final = re.compile(
    r"[-+]?(?:(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{0,39})?|\.[0-9]{1,39})(?:[eE][-+]?[0-9]{1,4})?"
)


def read_whole(text: str) -> int:
    """Return the whole number that ``text`` is, blanks around it aside, or raise ``ValueError``."""
    if not WHOLE.fullmatch(text.strip()):
        raise ValueError(text)
    return int(text)


def read_decimal(text: str) -> float:
    """Return the number that ``text`` is, infinite if it is too large, or raise ``ValueError``."""
    if not DECIMAL.fullmatch(text.strip()):
        raise ValueError(text)
    return float(text)


def advice_on(text: str) -> str:
    """Return how to write the number that ``text`` seems to mean; nothing where it is plain."""
    if DECIMAL.fullmatch(text.strip()) or not any(sign.isnumeric() for sign in text):
        return ""
    return "; write numbers as 16, 0.001 or 1e-4, with the digits 0 to 9 alone"
