"""``hpo serve`` as a user runs it: what it prints, how it ends, and what a kill leaves."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs the extra [serve]")

from hpo.cli.main import run
from hpo.records.layout import EXPORT_FOLDERS, trial_of_export
from tests.hpo.serving.served_process import served_process
from tests.small_exports import Exported


def rows(readings: np.ndarray, first: int) -> dict[str, list[dict[str, object]]]:
    quarters = [divmod(15 * (first + at), 60) for at in range(len(readings))]
    return {
        "rows": [
            {
                "time": f"2012-05-01T{hour:02}:{minute:02}",
                "readings": [None if np.isnan(one) else float(one) for one in row],
            }
            for (hour, minute), row in zip(quarters, readings, strict=True)
        ]
    }


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_that_was_answered(
    exported: Exported, tmp_path: Path
) -> None:
    readings = exported.data.truth[:60].numpy()
    state = ("--state", str(tmp_path / "state"))
    with served_process(exported.folder, *state) as served:
        served.ask("/rows", rows(readings[:30], 0))
        served.process.kill()
        served.process.wait()
    with served_process(exported.folder, *state) as served:
        assert served.ask("/health")["last_row"] == "2012-05-01T07:15:00"
        served.ask("/rows", rows(readings[30:], 30))
        found = {path: served.ask(path) for path in ("/forecast", "/errors", "/sensors/west")}
    with served_process(exported.folder, "--state", str(tmp_path / "other")) as served:
        served.ask("/rows", rows(readings, 0))
        assert {path: served.ask(path) for path in found} == found


@pytest.mark.slow
def test_rows_are_kept_where_no_export_is_looked_for(exported: Exported, tmp_path: Path) -> None:
    sweep = tmp_path / "exports"
    shutil.copytree(exported.folder, sweep / exported.folder.name)
    with served_process(sweep / exported.folder.name) as served:
        served.ask("/rows", rows(exported.data.truth[:3].numpy(), 0))
    assert (sweep / ".1-trial-0007.rows" / "rows.jsonl").is_file()
    assert [path.name for path in sweep.glob(EXPORT_FOLDERS)] == ["1-trial-0007"]
    assert trial_of_export(".1-trial-0007.rows") is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sign", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it(
    exported: Exported, tmp_path: Path, sign: signal.Signals, code: int
) -> None:
    with served_process(exported.folder, "--state", str(tmp_path / "state")) as served:
        served.ask("/health")
        served.process.send_signal(sign)
        assert served.process.wait(timeout=30) == code
        assert served.process.stderr is not None
        assert "Traceback" not in served.process.stderr.read()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000"),
        (["--host", "nowhere.invalid"], "must be free to listen on, but nowhere.invalid port 8000"),
        (["--token", ""], "--token must not be empty"),
        (["--token", "a b"], "without spaces"),
    ],
)
def test_a_wrong_option_is_one_line(
    exported: Exported,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    says: str,
) -> None:
    assert run(["serve", str(exported.folder), "--state", str(tmp_path), *options]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


def test_a_port_that_is_taken(
    exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ["serve", str(exported.folder), "--state", str(tmp_path), "--port", port]
        assert run(command) == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1 port {port}: Address already in use; give others" in said


def test_what_is_no_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", str(tmp_path)]) == 2
    assert "must be an export folder with a manifest.json" in capsys.readouterr().err
    assert not tmp_path.with_name(f".{tmp_path.name}.rows").exists()
