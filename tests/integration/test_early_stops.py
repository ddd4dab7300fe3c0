"""SIGTERM before a sweep has a trial: what the teacher says is still being built."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hpo.driver.drive
import hpo.sweep
from hpo.cli.main import run
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.sweep_folder import SweepFolder
from hpo.sweep_config import SweepConfig


@contextmanager
def no_cluster(address: str) -> Iterator[dict[str, float]]:
    """Stand in for Ray: nothing gets as far as a trial here."""
    yield {"CPU": 2.0}


@pytest.fixture
def slow_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Targets that take for ever; the machine is taken away meanwhile."""

    def build(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
        raise AssertionError("SIGTERM did not stop it")

    monkeypatch.setattr(hpo.driver.drive, "build_targets", build)
    monkeypatch.setattr(hpo.sweep, "cluster", no_cluster)


@pytest.fixture(params=["at a terminal", "in the background"])
def _ctrl_c(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a shell lets Ctrl-C do to a process; SIGTERM must work either way."""
    ignored = request.param == "in the background"
    wanted = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(signal.SIGINT, wanted)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("command", ["sweep", "resume"])
@pytest.mark.usefixtures("slow_targets", "_ctrl_c")
def test_sigterm_while_targets_are_built_leaves_a_sweep_to_go_on_with(
    command: str, traffic: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = SweepFolder(tmp_path / "runs" / "night")
    arguments = ["none", "--dataset", "small", "--name", "night", "--data", str(traffic)]
    if command == "resume":
        config = SweepConfig("night", "none", "small")
        folder.write_plan(plan_sweep(config, Places(traffic, folder.storage))[0])
        arguments = ["night"]
    before = signal.getsignal(signal.SIGTERM)
    assert run([command, *arguments, "--storage", str(folder.storage)]) == 130
    out, err = capsys.readouterr()
    assert err.splitlines() == ["night is stopped; next: hpo resume night", "hpo: interrupted"]
    assert not out
    assert signal.getsignal(signal.SIGTERM) is before
    assert folder.plan_file.exists()
    assert not folder.is_driven()
