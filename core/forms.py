"""Name the forms of forecasters: what a network predicts, its usual widths and its error.

``paper`` is the network of arXiv 2401.11798, ``direct`` one that forecasts a whole horizon in one
pass. Searches and trainings choose a form by its name. A new form is one entry of ``FORMS``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from core.errors import UnknownNameError
from core.families import NetworkConfig, form_fields
from core.families.astgcn_config import ASTGCNConfig
from core.stgcn_config import (
    STUDENT_CHANNELS,
    TEACHER_CHANNELS,
    BlockChannels,
    NetworkForm,
)


@dataclass(frozen=True)
class Form:
    """A kind of forecaster."""

    network: NetworkForm
    error: str
    """How its responses are compared unless said otherwise (``TrainingConfig.error``)."""
    student: tuple[BlockChannels, ...]
    """Widths of a student where no search chooses them."""
    teacher: tuple[BlockChannels, ...]
    """Widths of a teacher."""
    teacher_rank: int | None = None
    """Its numbers per sensor; None: as many as usual."""

    def with_rank(self, sensor_rank: int | None) -> NetworkForm:
        """Return the network with so many numbers per sensor; None: as many as usual."""
        if sensor_rank is None:
            return self.network
        return replace(self.network, sensor_rank=sensor_rank)


FORMS: Final[dict[str, Form]] = {
    "paper": Form(NetworkForm(), "mse", STUDENT_CHANNELS, TEACHER_CHANNELS),
    "direct": Form(
        NetworkForm(head="horizon", skip=True, norm="low_rank"),
        "mae",
        student=((1, 8, 16), (16, 8, 24)),
        teacher=((1, 16, 32), (32, 16, 64)),
        teacher_rank=16,
    ),
}
"""By name."""
DEFAULT_FORM: Final = "direct"
"""Of teachers and searches; networks and files of ``core`` are the paper's unless they say more."""


def find_form(name: str) -> Form:
    """Return the form called ``name``, or raise ``UnknownNameError``."""
    if name not in FORMS:
        raise UnknownNameError("form", name, FORMS)
    return FORMS[name]


def form_of(shape: NetworkConfig) -> str | None:
    """Return the name of the form that a network has, or None if it has none that is named."""
    if isinstance(shape, ASTGCNConfig):
        direct = FORMS[DEFAULT_FORM].network
        return DEFAULT_FORM if form_fields(shape.family, direct)["skip"] == shape.skip else None
    # Whatever its rank and mask: matters of size and of the data.
    own = NetworkForm(shape.head, shape.skip, shape.norm, shape.sensor_rank)
    found = [name for name, form in FORMS.items() if form.with_rank(own.sensor_rank) == own]
    return found[0] if found else None
