"""Errors that no command foresaw are one line; damaged files are named and the rest goes on."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from core.errors import StorageError
from core.files import log_left_out, write_bytes
from hpo.cli.main import run
from hpo.records.sweep_folder import SweepFolder
from tests.small_sweeps import make_sweep, record

Output = pytest.CaptureFixture[str]
ROOT = Path(__file__).parents[3]
ALL_SWEEPS = "hpo.records.sweep_folder.all_sweeps"


def failing_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ALL_SWEEPS, fail)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_mistake_of_the_project_is_one_line_and_its_traceback_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, temporary: Path
) -> None:
    failing_with(ZeroDivisionError("by\nnothing"), monkeypatch)
    assert run(["status"]) == 1
    out, err = capsys.readouterr()
    (kept,) = temporary.iterdir()
    assert (out, err) == (
        "",
        "hpo: this should not happen, but ZeroDivisionError: by nothing; please report it with its "
        f"traceback in {kept}, which --debug shows too\n",
    )
    text = kept.read_text()
    assert text.startswith("Traceback (most recent call last)")
    assert "in fail" in text
    assert text.endswith("ZeroDivisionError: by\nnothing\n")


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]])
def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, temporary: Path, arguments: list[str]
) -> None:
    failing_with(ZeroDivisionError("by nothing"), monkeypatch)
    assert run(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last)")
    assert err.splitlines()[-1].startswith("hpo: this should not happen, but ZeroDivisionError")


def test_help_names_debug(capsys: Output) -> None:
    assert run(["--help"]) == 0
    assert "--debug" in capsys.readouterr().out


def test_a_mistake_is_one_line_where_no_file_can_be_written(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    failing_with(MemoryError(), monkeypatch)
    assert run(["status"]) == 1
    line = "hpo: this should not happen, but MemoryError; please report it with its traceback, "
    assert capsys.readouterr().err == f"{line}which --debug shows\n"


def test_a_long_error_is_cut(
    monkeypatch: pytest.MonkeyPatch, capsys: Output, temporary: Path
) -> None:
    failing_with(RuntimeError("long " * 1000), monkeypatch)
    assert run(["status"]) == 1
    err = capsys.readouterr().err
    assert len(err) < 600
    assert " …; please report" in err


@pytest.mark.parametrize(
    ("code", "advice"),
    [
        (errno.ENOSPC, "No space left on device; make room, then give the same command again"),
        (errno.EROFS, "Read-only file system; mend that, then give the same command again"),
        (errno.EACCES, "Permission denied; mend that, then give the same command again"),
    ],
)
def test_a_disk_is_named_with_the_file(
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    tmp_path: Path,
    temporary: Path,
    code: int,
    advice: str,
) -> None:
    file = tmp_path / "out" / "report.html"

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    def write(*_: object) -> None:
        write_bytes(file, b"page")

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(ALL_SWEEPS, write)
    assert run(["status"]) == 1
    assert tuple(capsys.readouterr()) == ("", f"hpo: {file} must be usable here, but {advice}\n")
    assert list(temporary.iterdir()) == []
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize("command", [["status"], ["best", "--dataset", "small"]])
def test_a_path_that_leads_nowhere_is_named(
    tmp_path: Path, capsys: Output, command: list[str]
) -> None:
    loop, long = tmp_path / "loop", tmp_path / ("x" * 300)
    loop.symlink_to(loop)
    for place, why in ((loop, "Too many levels of symbolic links"), (long, "File name too long")):
        assert run([*command, "--storage", str(place)]) == 1
        line = capsys.readouterr().err
        assert line.startswith(f"hpo: {place}")
        assert line.endswith(f" must be usable here, but {why}; name another\n")


def test_of_a_copy_the_file_that_is_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/model.pt2", None, "out/model.pt2")
    failing_with(full, monkeypatch)
    assert run(["status"]) == 1
    assert capsys.readouterr().err.startswith("hpo: out/model.pt2 must be usable here, but No spac")


def in_a_process(arguments: list[str], **streams: object) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HPO_")}
    return subprocess.run(
        [sys.executable, "-m", "hpo", *arguments],
        cwd=ROOT,
        env={**kept, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        **streams,  # type: ignore[call-overload]
    )


@pytest.mark.parametrize("output", ["table", "json"])
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_standard_output_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, unbuffered: str
) -> None:
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with Path("/dev/full").open("w") as full:
        done = in_a_process(["status", "--storage", str(tmp_path), "--format", output], stdout=full)
    line = "standard output must take the answer, but No space left on device; make room, then"
    assert done.stderr == f"hpo: {line} give the same command again\n"
    assert done.returncode == 1


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = in_a_process(["status", "--storage", str(tmp_path), "--format", "json"], stdout=writer)
    os.close(writer)
    assert done.stderr == ""


def damaged(folder: SweepFolder, trial: int) -> Path:
    path = folder.results / f"{trial:04d}.parquet"
    path.write_bytes(path.read_bytes()[:100])
    return path


@pytest.fixture
def sweeps(tmp_path: Path) -> list[SweepFolder]:
    """``first`` and ``second``, two finished trials each."""
    return [
        make_sweep(tmp_path, [record(at, error + at, sweep=name) for at in range(2)])
        for name, error in (("first", 1.0), ("second", 2.5))
    ]


def best(storage: Path, *options: str) -> int:
    return run(["best", "--dataset", "small", "--storage", str(storage), *options])


def test_a_damaged_record_stops_no_other(sweeps: list[SweepFolder], capsys: Output) -> None:
    path = damaged(sweeps[0], 0)
    assert best(sweeps[0].storage, "--format", "json") == 1
    out, err = capsys.readouterr()
    assert [(row["sweep"], row["trial"]) for row in json.loads(out)] == [
        ("first", 1),
        ("second", 0),
        ("second", 1),
    ]
    (line,) = err.splitlines()
    assert re.fullmatch(
        rf"hpo: leaving out a damaged record: {path} must be a trial record: .*; restore it .*",
        line,
    )


def test_whole_records_are_no_failure(sweeps: list[SweepFolder], capsys: Output) -> None:
    assert best(sweeps[0].storage) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["sweep.json", "ledger.jsonl"])
@pytest.mark.parametrize("content", ["{\n", "[]\n", "\0\n", 100_000 * "[" + "\n", None])
def test_a_damaged_sweep_does_not_hide_others(
    sweeps: list[SweepFolder], capsys: Output, name: str, content: str | None
) -> None:
    path = sweeps[0].path / name
    if content is None:
        path.unlink(missing_ok=True)
        path.mkdir()
    else:
        path.write_text(content)
    assert run(["status", "--storage", str(path.parents[1]), "--format", "json"]) == 1
    out, err = capsys.readouterr()
    assert [row["sweep"] for row in json.loads(out)] == ["second"]
    (line,) = err.splitlines()
    assert line.startswith("hpo: leaving out sweep 'first': ")
    assert str(path) in line


def test_a_damaged_plan_does_not_hide_the_winners_of_others(
    sweeps: list[SweepFolder], capsys: Output
) -> None:
    sweeps[0].plan_file.write_text("{")
    storage = str(sweeps[0].storage)
    # The records are whole, the students were never kept: it gets as far as them.
    assert run(["export", "--dataset", "small", "--unconfirmed", "--storage", storage]) == 2
    left_out, refused = capsys.readouterr().err.splitlines()
    assert left_out.startswith("hpo: leaving out sweep 'first': ")
    assert refused.startswith("hpo: trial 0 of 'second' must have a student")


def test_what_is_left_out_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    def leave_out(*_: object) -> list[SweepFolder]:
        for _again in range(2):
            log_left_out("a damaged teacher", StorageError("teacher.safetensors\nmust be whole"))
        return []

    monkeypatch.setattr(ALL_SWEEPS, leave_out)
    assert run(["status"]) == 1
    line = "hpo: leaving out a damaged teacher: teacher.safetensors must be whole\n"
    assert capsys.readouterr().err == line
    monkeypatch.setattr(ALL_SWEEPS, lambda *_: [])
    assert run(["status"]) == 0
