"""The tools that agents see: what commands answer in JSON, their errors, and nothing more."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="needs the extra [mcp]")

import anyio
from mcp import Client

from hpo.cli.agents.tools import Commands, make_server
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.sweep_config import SweepConfig
from tests.small_sweeps import make_sweep_under_way

pytestmark = [
    pytest.mark.slow,  # a command is a process
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.timeout(300),
]
READING = {"datasets", "status", "best", "trial", "report_facts"}
Call = Callable[..., dict[str, Any]]


def talk(commands: Commands, what: Callable[[Client], Awaitable[Any]], *, writes: bool) -> Any:
    """Do something as a client of a server that is asked in this process."""

    async def main() -> Any:
        async with Client(make_server(commands, allow_writes=writes)) as client:
            return await what(client)

    return anyio.run(main)


@pytest.fixture
def commands(tmp_path: Path, small_data: Path) -> Commands:
    make_sweep_under_way(tmp_path / "runs")
    return Commands(small_data, str(tmp_path / "runs"), tmp_path / "logs")


@pytest.fixture
def call(commands: Commands) -> Call:
    """Call a tool, also one that writes."""

    def called(tool: str, /, **arguments: Any) -> dict[str, Any]:
        done = talk(commands, lambda client: client.call_tool(tool, arguments), writes=True)
        if done.is_error:
            raise AssertionError(done.content[0].text)
        found: dict[str, Any] = done.structured_content
        return found

    return called


def test_writing_is_offered_only_where_it_is_allowed(commands: Commands) -> None:
    async def tools(client: Client) -> dict[str, Any]:
        return {tool.name: tool for tool in (await client.list_tools()).tools}

    found = talk(commands, tools, writes=False)
    assert found.keys() == READING
    assert all(tool.annotations.read_only_hint for tool in found.values())
    found = talk(commands, tools, writes=True)
    assert found.keys() - READING == {"start_sweep", "resume_sweep"}
    assert not found["start_sweep"].annotations.read_only_hint


def test_tools_answer_what_commands_answer(
    commands: Commands, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["status", "first", "--format", "json", "--storage", commands.storage]) == 0
    assert call("status", sweep="first") == json.loads(capsys.readouterr().out)
    assert [one["sweep"] for one in call("status")["sweeps"]] == ["first"]
    (best,) = call("best", dataset="small", top=1)["best"]
    assert (best["rank"], best["sweep"], best["trial"]) == (1, "first", 0)
    recorded = call("trial", sweep="first", number=0)
    assert run(["trial", "first", "0", "--format=json", "--storage", commands.storage]) == 0
    assert recorded == json.loads(capsys.readouterr().out)
    names = {one["name"] for one in call("datasets")["datasets"]}
    assert "small" in names
    assert not (Path(commands.storage) / "first" / "report.html").exists()
    facts = call("report_facts", sweeps=["first"])
    assert "trial 0 of first" in facts["seen"]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("status", {"sweep": "fisrt"}, "unknown sweep 'fisrt'; did you mean 'first'?"),
        ("status", {"sweep": "--help"}, "a sweep name must start with a letter or digit"),
        ("best", {"dataset": "small", "metric": "val_nothing"}, "val_nothing"),
        ("start_sweep", {"method": "ordd", "dataset": "small", "name": "new"}, "'ordd'"),
        ("start_sweep", {"method": "ord", "dataset": "small", "name": "../x"}, "'../x'"),
        ("resume_sweep", {"name": "nothing"}, "unknown sweep 'nothing'"),
    ],
)
def test_mistakes_are_told_in_the_line_of_the_command(
    commands: Commands, call: Call, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(AssertionError) as caught:
        call(name, **arguments)
    assert said in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not commands.logs.exists(), "nothing was begun"


@pytest.mark.parametrize("option", ["storage", "data", "mlflow", "space", "address", "dry_run"])
def test_options_that_name_places_are_not_for_agents(call: Call, option: str) -> None:
    with pytest.raises(AssertionError, match=f"options must be among .*, got {option}$"):
        call("start_sweep", method="none", dataset="small", name="new", options={option: "x"})


def test_a_sweep_that_is_begun_goes_on_by_itself(
    call: Call, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in that says how it was called, after the real checks have passed."""
    began = commands.logs.parent / "began"
    stand_in = f"import sys, time; open({str(began)!r}, 'w').write(repr(sys.argv)); time.sleep(3)"
    command = Commands._command

    def replaced(self: Commands, name: str, *given: Any) -> list[str]:
        real = command(self, name, *given)
        if name == "sweep":
            return [sys.executable, "-c", stand_in, *real[3:]]
        return real

    monkeypatch.setattr(Commands, "_command", replaced)
    monkeypatch.setattr("hpo.cli.agents.tools.BEGINNING", 1.0)
    options = {"trials": 2, "max_parameters": 9000}
    begun = call("start_sweep", method="none", dataset="small", name="new", options=options)
    assert begun["running"] is True
    while not began.exists():
        time.sleep(0.05)
    said = began.read_text()
    for text in ("--name=new", "--trials=2", "--max-parameters=9000", "--address=local"):
        assert repr(text) in said
    assert said.endswith("'--', 'none']")


def test_a_sweep_that_ends_at_once_says_why(
    call: Call, commands: Commands, small_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hpo.cli.agents.tools.BEGINNING", 100.0)
    folder = SweepFolder(Path(commands.storage) / "night")
    config = SweepConfig("night", "none", "small", trials=3, epochs=1)
    folder.write_plan(plan_sweep(config, Places(small_data, Path(commands.storage)))[0])
    Ledger(folder.ledger_file).close()
    with folder.driver_lock(), pytest.raises(AssertionError, match="another process drives"):
        call("resume_sweep", name="night")


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert run(["mcp"]) == 2
    assert capsys.readouterr().err.endswith("with its extra [mcp]\n")
