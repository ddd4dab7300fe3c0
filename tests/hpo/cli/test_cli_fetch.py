"""``hpo data fetch`` and ``hpo data import --from``, with a server on this machine."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from core.datasets.published import PUBLISHED
from core.datasets.published.form import Download, PublishedDataset, PublishedFile
from hpo.cli.main import run
from hpo.cli.students.readings_source import source_like
from tests.core.file_server import FileServer, serving

Output = pytest.CaptureFixture[str]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Serves a published dataset ``tiny`` of two channels."""
    archive = io.BytesIO()
    values = np.random.default_rng(0).uniform(20, 70, (3 * 288, 3, 2))
    np.savez(archive, data=values)
    with serving() as shown:
        shown.files = {"r.npz": archive.getvalue(), "d.csv": b"from,to,cost\n0,1,500\n1,2,900\n"}
        files = {
            name: PublishedFile((name,), Download(name, shown.url(name), _sha256(content)))
            for name, content in shown.files.items()
        }
        tiny = PublishedDataset(
            name="tiny",
            about="a test",
            page="https://example.org/tiny",
            num_sensors=3,
            readings=files["r.npz"],
            graph=files["d.csv"],
            graph_kind="edges",
            split=(1, 1, 1),
            day_kind="consecutive",
            channels={"1": "mph", "0": "vehicles/5min"},
        )
        monkeypatch.setitem(PUBLISHED, "tiny", tiny)
        yield shown


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def test_fetch_imports_and_a_second_channel_needs_no_network(
    server: FileServer, tmp_path: Path, capsys: Output
) -> None:
    data = ["--data", str(tmp_path / "data")]
    assert run(["data", "list", *data]) == 0
    assert "tiny" in capsys.readouterr().out
    server.cut_after = [2000]
    assert run(["data", "fetch", "tiny", *data]) == 0
    out, err = capsys.readouterr()
    assert "next: hpo data check tiny, or hpo teacher tiny" in out
    assert err.splitlines() == [f"fetching {server.url(name)}" for name in ("r.npz", "d.csv")]
    server.files = {}
    again = ["data", "fetch", "tiny", "--channel", "0", "--name", "flow", "--format", "json"]
    assert run([*again, *data]) == 0
    assert json.loads(capsys.readouterr().out)["unit"] == "vehicles/5min"
    assert run(["data", "list", "--format", "json", *data]) == 0
    listed = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    others = [name for name in PUBLISHED if name != "tiny"]
    assert list(listed) == ["flow", "tiny", "synthetic", *others]
    assert {"address", "checksum", "num_bytes"} <= set(listed[others[0]]["files"][0])
    assert listed["tiny"]["unit"] == "mph"
    assert listed["tiny"]["split"] == "1/1/1"


def test_files_that_somebody_has_are_imported_without_options(
    server: FileServer, tmp_path: Path, capsys: Output
) -> None:
    for name, content in server.files.items():
        (tmp_path / name).write_bytes(content)
    given = ["--from", str(tmp_path), "--data", str(tmp_path / "data"), "--format", "json"]
    assert run(["data", "import", "tiny", *given]) == 0
    assert json.loads(capsys.readouterr().out)["unit"] == "mph"
    assert run(["data", "import", "mine", "--form", "tiny", "--channel", "0", *given]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "mine"
    assert server.ranges == []


def test_a_student_is_judged_on_times_filled_as_its_own_were() -> None:
    card: Any = SimpleNamespace(
        sources={"bay.h5": "", "graph.pkl": ""},
        settings={"fill_times": True, "missing_value": 0.0, "channel": None},
    )
    options = dict.fromkeys(("channel", "array", "missing_value", "time_column", "header"))
    same, other = (source_like(Path(name), options, card) for name in ("new.h5", "new.csv"))
    assert (same.fill_times, same.missing_value) == (True, 0.0)
    assert (other.fill_times, other.missing_value) == (False, 0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch", "tinny"], "unknown published dataset 'tinny'; did you mean 'tiny'"),
        (["fetch", "tiny"], "must be reachable, but: Not Found; try again, or get r.npz and d.csv"),
        (["import", "tiny", "--from", "."], "must hold r.npz, but it does not; get it from http"),
        (["import", "mine", "--from", "."], "unknown published dataset 'mine'"),
        (["import", "tiny", "--from", ".", "--split", "1/1/1"], "so --split cannot be given"),
        (["import", "tiny", "--from", ".", "--readings", "r.npz"], "so --readings cannot be given"),
        (["import", "tiny"], "give --readings FILE, or --from FOLDER"),
        (["import", "mine", "--form", "tiny", "--readings", "r.npz"], "or --from FOLDER"),
    ],
)
def test_mistakes_give_one_line_and_leave_no_dataset(
    server: FileServer,
    tmp_path: Path,
    capsys: Output,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    server.files = {}
    assert run(["data", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.glob("data/*/card.json"))
