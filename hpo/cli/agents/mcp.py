"""Serve the tools of agents on standard input and output: the command ``hpo mcp``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hpo.cli.options import DATA, STORAGE, Address, DataFolder, Storage


def mcp(
    allow_writes: Annotated[
        bool, typer.Option("--allow-writes", help="Let agents begin and resume sweeps.")
    ] = False,
    address: Address = "local",
    data: DataFolder = DATA,
    storage: Storage = STORAGE,
) -> None:
    """Let agents read sweeps, by the Model Context Protocol on standard input and output."""
    _check_packages()
    from hpo.cli.agents.tools import Commands, make_server
    from hpo.storage.storage import storage_at

    place = storage.resolve()
    commands = Commands(
        data.resolve(), storage_at(place).address, place / AGENT_LOGS, address=address
    )
    make_server(commands, allow_writes=allow_writes).run()


AGENT_LOGS = Path(".agents")
"""In a storage's folder: hidden, so no sweep."""


def _check_packages() -> None:
    from importlib.util import find_spec

    from core.errors import ConfigError

    if find_spec("mcp") is None:
        raise ConfigError(
            "hpo mcp needs mcp, which this environment lacks; install this project with its extra "
            "[mcp]"
        )
