"""Options made from settings: one per field, defaults and texts from the dataclass alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any

import pytest
import typer
from typer.testing import CliRunner

from core.datasets.importing import ImportRequest
from core.distillation.losses import LOSSES
from core.errors import ConfigError
from hpo.cli.main import app, run
from hpo.cli.settings_options import Settings, add_command, build, options_of
from hpo.search.samplers import SAMPLERS
from hpo.search.schedulers import SCHEDULERS
from hpo.space.objectives import COSTS, OBJECTIVES
from hpo.sweep_config import SweepConfig

Output = pytest.CaptureFixture[str]


def parameters_of(*path: str) -> dict[str, Any]:
    command: Any = typer.main.get_command(app)
    for name in path:
        command = command.commands[name]
    return {parameter.name: parameter for parameter in command.params}


@pytest.mark.parametrize(
    ("path", "settings", "own"),
    [
        (("sweep",), SweepConfig, {"name", "method"}),
        (("data", "import"), ImportRequest, {"name", "readings"}),
    ],
    ids=["sweep", "import"],
)
def test_every_setting_is_an_option_with_its_default(
    path: tuple[str, ...], settings: type[Any], own: set[str]
) -> None:
    found = parameters_of(*path)
    for entry in fields(settings):
        assert found[entry.name].help
        if entry.name in own:
            continue
        default = entry.default
        if default is MISSING:
            assert found[entry.name].required
        elif isinstance(default, tuple):
            assert found[entry.name].default == "/".join(map(str, default))
        else:
            assert found[entry.name].default == default


@pytest.mark.parametrize("command", ["evaluate", "forecast"])
def test_how_readings_are_read_is_left_open(command: str) -> None:
    found = parameters_of(command)
    for name in ("channel", "array", "missing_value", "time_column", "header"):
        assert found[name].help
        assert found[name].default is None
        assert not found[name].required


def read_pair(text: str) -> tuple[int, int]:
    first, comma, second = text.partition("/")
    if not comma:
        raise ConfigError(f"--pair takes two numbers, got {text!r}")
    return int(first), int(second)


@dataclass(frozen=True)
class Toy:
    """Settings of no command that there is."""

    name: str
    size: int = field(metadata={"help": "One of {sizes}.", "flag": "--how-large"})
    share: float | None = None
    pair: tuple[int, int] = field(default=(1, 2), metadata={"read": read_pair})
    fast: bool = False


@pytest.fixture
def toy() -> tuple[Callable[..., Any], list[Toy]]:
    built: list[Toy] = []
    toys = typer.Typer(rich_markup_mode=None)

    def make(name: Annotated[str, typer.Argument()], settings: Settings, again: int = 0) -> None:
        """Make a toy."""
        built.append(build(Toy, settings, name=name))

    def others() -> None:
        """Make nothing."""

    def sizes() -> dict[str, str]:
        return {"sizes": "3 or 4"}

    add_command(toys, make, lambda: options_of(Toy), sizes)
    toys.command()(others)

    def call(*arguments: str) -> Any:
        return CliRunner().invoke(toys, ["make", *arguments])

    return call, built


def test_a_field_becomes_an_option_and_leads_back(toy: Any) -> None:
    call, built = toy
    assert call("car", "--how-large", "3").exit_code == 0
    assert (
        call("car", "--how-large", "3", "--share", "0.5", "--pair", "5/6", "--fast").exit_code == 0
    )
    assert built == [Toy("car", 3), Toy("car", 3, 0.5, (5, 6), fast=True)]


def test_help_holds_defaults_and_lists(toy: Any) -> None:
    text = toy[0]("--help").output
    assert "One of 3 or 4." in text
    assert "[default: 1/2]" in text
    assert "--no-fast" not in text


def test_what_the_settings_refuse_is_wrong_usage_or_an_error(toy: Any) -> None:
    call, built = toy
    assert call("car").exit_code == 2
    assert call("car", "--how-large", "many").exit_code == 2
    assert isinstance(call("car", "--how-large", "3", "--pair", "5").exception, ConfigError)
    assert built == []


def sweep_help(capsys: Output) -> str:
    assert run(["sweep", "--help"]) == 0
    return " ".join(capsys.readouterr().out.split())


def test_help_of_a_sweep_names_what_is_registered(capsys: Output) -> None:
    text = sweep_help(capsys)
    assert all(name in text for name in [*LOSSES, "prune", *SAMPLERS, *SCHEDULERS])
    assert all(name in text for name in [*OBJECTIVES, *COSTS])
    assert "{" not in text.replace("{method}", "")


def test_help_of_a_sweep_names_what_is_registered_later(
    capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LOSSES, "hearsay", LOSSES["none"])  # type: ignore[attr-defined]
    monkeypatch.setitem(SAMPLERS, "dice", SAMPLERS["random"])
    monkeypatch.setitem(SCHEDULERS, "siesta", SCHEDULERS["none"])
    text = sweep_help(capsys)
    assert "scd, stcd or hearsay; or prune" in text
    assert "nsga2, qmc or dice; auto chooses one." in text
    assert "hyperband, median or siesta to stop" in text


def test_a_published_form_names_the_option_that_it_refuses(capsys: Output) -> None:
    given = ["data", "import", "pemsd7-m", "--from", "somewhere"]
    for option, value in (("--interval", "5"), ("--days", "weekdays"), ("--unit", "mph")):
        assert run([*given, option, value]) == 2
        assert f"so {option} cannot be given as well" in capsys.readouterr().err
