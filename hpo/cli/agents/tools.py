"""Define the tools that agents see, each of which is a command of ``hpo`` in a process of its own.

So an agent gets what ``--format json`` prints, and the one line that a user would read where
something is wrong. Reading tools change nothing. Those that begin and resume sweeps exist only
where they are allowed; a sweep that was begun goes on when the agent is gone.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from core.errors import ConfigError
from core.files import check_name

INSTRUCTIONS = """Searches for small traffic forecasters (distilled STGCN students). A sweep has \
trials, a trial is one configuration. Errors are of validation days, lower is better; a single \
trial may be lucky, `confirmed` is the mean over fresh seeds."""
READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
WRITES = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)
PATIENCE = 300.0
"""Seconds that a reading command may take."""
BEGINNING = 20.0
"""Seconds in which a sweep that was begun shows what is wrong with it; it was checked before."""
OPTIONS = (
    "base",
    "cpus_per_trial",
    "epochs",
    "family",
    "form",
    "gpus_per_trial",
    "loss",
    "max_concurrent",
    "max_latency_ms",
    "max_parameters",
    "network",
    "objective",
    "sampler",
    "scheduler",
    "seed",
    "time_budget",
    "trials",
    "warm_start",
)
"""Of ``hpo sweep``, for agents: nothing that names a file or an address."""


@dataclass(frozen=True)
class Commands:
    """Runs commands of ``hpo`` on one storage."""

    data: Path
    storage: str
    """Folder or address."""
    logs: Path
    """Folder of what sweeps print that agents begin."""
    address: str = "local"
    """Of the Ray cluster that they run on."""

    async def answer(self, name: str, options: dict[str, Any], *arguments: str) -> Any:
        """Run a command and return what it answers.

        Raises:
            ToolError: with the line that the command complains in.
        """
        command = self._command(name, {"format": "json", **options}, arguments)
        with anyio.move_on_after(PATIENCE):
            done = await anyio.run_process(command, check=False, stdin=subprocess.DEVNULL)
            if done.returncode:
                raise ToolError(_complaint(done.stderr.decode()))
            return json.loads(done.stdout)
        raise ToolError(f"hpo {name} must answer within {PATIENCE:.0f} seconds, but did not")

    async def begin(
        self, name: str, options: dict[str, Any], sweep: str, *arguments: str
    ) -> dict[str, Any]:
        """Start a command that goes on by itself, and return where it prints.

        Raises:
            ToolError: it ended at once, with the line that it complains in.
        """
        self.logs.mkdir(parents=True, exist_ok=True)
        log = self.logs / f"{sweep}.log"
        command = self._command(name, {"address": self.address, **options}, arguments)
        with log.open("ab") as stream:
            began = stream.tell()
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        code = await anyio.to_thread.run_sync(_ended_within, process, BEGINNING)
        if code:
            raise ToolError(_complaint(log.read_bytes()[began:].decode()))
        return {"sweep": sweep, "process": process.pid, "log": str(log), "running": code is None}

    def _command(self, name: str, options: dict[str, Any], arguments: tuple[str, ...]) -> list[str]:
        words = name.split()
        takes = {"data": {"data"}, "sweep": {"data", "storage"}}.get(words[0], {"storage"})
        known = {"data": str(self.data), "storage": self.storage}
        places = {key: place for key, place in known.items() if key in takes}
        given = {key: value for key, value in {**options, **places}.items() if value is not None}
        # Values beside their options and arguments after the dashes: none can be taken for another.
        texts = [f"--{key.replace('_', '-')}={value}" for key, value in given.items()]
        return [sys.executable, "-m", "hpo", *words, *texts, "--", *arguments]


class Tools:
    """The tools; their docstrings are what agents read of them."""

    def __init__(self, commands: Commands) -> None:
        """Run nothing yet."""
        self._commands = commands

    async def datasets(self) -> dict[str, Any]:
        """List the datasets that sweeps can search on."""
        return {"datasets": await self._commands.answer("data list", {})}

    async def status(self, sweep: str | None = None) -> dict[str, Any]:
        """Show how one sweep stands with all its trials, or how all sweeps stand."""
        if sweep is None:
            return {"sweeps": await self._commands.answer("status", {})}
        found: dict[str, Any] = await self._commands.answer("status", {}, sweep)
        return found

    async def best(
        self,
        dataset: str,
        method: str | None = None,
        max_parameters: int | None = None,
        metric: str = "val_mae",
        top: int = 5,
    ) -> dict[str, Any]:
        """Rank the configurations of a dataset over all its sweeps, the best first."""
        options = {"method": method, "max_parameters": max_parameters, "metric": metric}
        given = {"dataset": dataset, "top": top, **options}
        return {"best": await self._commands.answer("best", given)}

    async def trial(self, sweep: str, number: int) -> dict[str, Any]:
        """Show everything recorded of one trial: settings, errors by epoch, sizes, reasons."""
        found: dict[str, Any] = await self._commands.answer("trial", {}, sweep, str(number))
        return found

    async def report_facts(self, sweeps: list[str]) -> dict[str, Any]:
        """Give the result of sweeps of one dataset side by side, as their report states it."""
        found: dict[str, Any] = await self._commands.answer("report --facts", {}, *sweeps)
        return found

    async def start_sweep(
        self,
        method: str,
        dataset: str,
        name: str,
        options: dict[str, str | int | float] | None = None,
    ) -> dict[str, Any]:
        """Begin a sweep, which may take hours; follow it by `status`.

        Options are those of `hpo sweep`, such as trials, epochs, sampler, scheduler,
        max_parameters, time_budget ("2h").
        """
        given = {"dataset": dataset, "name": _checked(name), **_allowed(options or {})}
        await self._commands.answer("sweep --dry-run", given, method)
        return await self._commands.begin("sweep", given, name, method)

    async def resume_sweep(
        self, name: str, trials: int | None = None, time_budget: str | None = None
    ) -> dict[str, Any]:
        """Go on with a sweep that stopped, or extend it to more trials in all."""
        await self._commands.answer("status", {}, _checked(name))
        options = {"trials": trials, "time_budget": time_budget}
        return await self._commands.begin("resume", options, name, name)


def make_server(commands: Commands, *, allow_writes: bool) -> MCPServer:
    """Return a server with all tools that are allowed."""
    server = MCPServer("hpo", version=version("stgcn-student-search"), instructions=INSTRUCTIONS)
    tools = Tools(commands)
    for read in (tools.datasets, tools.status, tools.best, tools.trial, tools.report_facts):
        server.add_tool(read, annotations=READS)
    if allow_writes:
        for write in (tools.start_sweep, tools.resume_sweep):
            server.add_tool(write, annotations=WRITES)
    return server


def _allowed(options: dict[str, str | int | float]) -> dict[str, str | int | float]:
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise ToolError(f"options must be among {', '.join(OPTIONS)}, got {', '.join(unknown)}")
    return options


def _checked(name: str) -> str:
    try:
        return check_name("sweep", name)
    except ConfigError as error:
        raise ToolError(str(error)) from error


def _ended_within(process: subprocess.Popen[bytes], seconds: float) -> int | None:
    """Return the exit code of a process that ends in time."""
    until = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    return process.returncode


def _complaint(text: str) -> str:
    """Return the line in which a command says what is wrong."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("hpo: ") if lines else "hpo failed without a word"
