"""Say where a model is no better than repeating the last reading, which costs nothing.

Every command that shows a model's error prints this line, so that nobody deploys such a model
unawares. Measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpo.cli.display.output import print_note
from hpo.records.ranking import beats_last


def warn_beside_last(
    what: str, errors: Mapping[str, float | None], repeated: Mapping[str, float | None], metric: str
) -> bool:
    """Print a line unless ``what`` is better than repeating the last reading; return if it is.

    Args:
        what: the model, in words.
        errors: of the model, by metric.
        repeated: of repeating the last reading on the same days; empty where not known.
        metric: to compare by, in both.
    """
    own, other = errors.get(metric), repeated.get(metric)
    if beats_last(own, other):
        return True
    shown = "no number" if own is None else f"{own:.3f}"
    print_note(
        f"note: {what} is no better than repeating the last reading ({metric} {shown}, that has "
        f"{other:.3f}); try more epochs, a lower learning rate or --form direct"
    )
    return False
