"""Name the families of networks and what each of them offers. Needs no torch.

A family is a config and a network. A config says the sizes (``num_sensors``, ``history_steps``,
``steps_ahead``, ``input_channels``, ``parameters``), the prunable ``layers`` with ``kept``,
``fewest_widths`` and ``with_widths``, the time steps of its hidden layers (``layer_steps``) and
whether the network is ``equivariant`` to shifts in time; ``to_json`` and ``from_json`` write and
read it. A network maps ``signal(readings)`` to (forecast, ``Features``), and goes on in time by
``stream`` and ``last_tails``. mypy holds whatever uses a network to what all families have, and
``tests/contracts/test_families_contract.py`` holds each family to what is said here.

A new family is a line of ``FAMILIES``, one of ``NetworkConfig`` and ``SingleNetwork``
(``networks``) each, and the axes of its weights in ``core.pruning.shrinking``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from core.errors import ConfigError, UnknownNameError
from core.families.astgcn_config import FEWEST_NORMED, ASTGCNConfig
from core.stgcn_config import PRUNING_BASE_CHANNELS, BlockChannels, NetworkForm, STGCNConfig

NetworkConfig = STGCNConfig | ASTGCNConfig
"""The shape of a network of any family."""


@dataclass(frozen=True)
class Family:
    """A kind of network."""

    config: type[NetworkConfig]
    student: tuple[BlockChannels, ...] | None = None
    """Widths where no search chooses them; None: those of its form (``core.forms``)."""
    teacher: tuple[BlockChannels, ...] | None = None
    """Widths of a teacher; None: those of its form."""
    pruning_base: tuple[BlockChannels, ...] = PRUNING_BASE_CHANNELS
    """Widths of what pruning starts from."""
    fewest: tuple[int, int] = (1, 1)
    """Channels of a block's hidden and last layer, at least."""


FAMILIES: Final[dict[str, Family]] = {
    "stgcn": Family(STGCNConfig),
    "astgcn": Family(
        ASTGCNConfig,
        student=((1, 8, 8), (8, 8, 8)),
        teacher=((1, 32, 32), (32, 32, 32)),
        pruning_base=((1, 16, 16), (16, 16, 16)),
        fewest=(1, FEWEST_NORMED),
    ),
}
"""By name."""
DEFAULT_FAMILY: Final = "stgcn"
"""Of networks and files that name none."""


def find_family(name: str) -> Family:
    """Return the family called ``name``, or raise ``UnknownNameError``."""
    if name not in FAMILIES:
        raise UnknownNameError("family", name, FAMILIES)
    return FAMILIES[name]


def read_config(values: dict[str, Any]) -> NetworkConfig:
    """Read the ``to_json`` of a config of any family.

    Raises:
        UnknownNameError: no such family.
        ConfigError: no such network.
    """
    return find_family(values.get("family", DEFAULT_FAMILY)).config.from_json(values)


def form_fields(family: str, form: NetworkForm) -> dict[str, Any]:
    """Return those fields of a family's config that a form decides.

    Raises:
        UnknownNameError: no such family.
        ConfigError: the family has no networks of that form.
    """
    if find_family(family).config is STGCNConfig:
        return dict(vars(form))
    if form.head != "horizon":
        raise ConfigError(
            f"networks of family {family} forecast all steps in one pass, but those of form paper "
            f"predict one; leave --form out, or choose --family {DEFAULT_FAMILY}"
        )
    return {"skip": form.skip, "missing_mask": form.missing_mask}
