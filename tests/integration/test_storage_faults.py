"""Disks that fill up or refuse to be written while a sweep runs: one line, and nothing is lost."""

from __future__ import annotations

import resource
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.sweeps import (
    PATIENCE,
    ROOT,
    check_nothing_is_lost_or_repeated,
    command,
    descendants,
    environment,
    events,
    hpo,
    start,
    sweep_arguments,
    wait_until,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EPOCHS = 24


def check_one_line(text: str, problem: str) -> None:
    """The last line says what to do, and no other line speaks of an error."""
    lines = [line for line in text.splitlines() if not line.startswith("[")]  # ended trials
    assert len(lines) == 1, text
    assert lines[0].startswith("hpo: ")
    assert f"must take what the sweep writes, but {problem}; " in lines[0]
    assert lines[0].endswith("then go on with `hpo resume night`")


def check_it_resumes(storage: Path) -> None:
    before = events(storage / "night")
    done = hpo("resume", "night", "--storage", storage)
    assert done.returncode == 0, done.stderr
    assert events(storage / "night")[: len(before)] == before
    check_nothing_is_lost_or_repeated(storage / "night")


@pytest.mark.parametrize("whose", ["driver", "workers"])
def test_a_limit_on_the_size_of_files_stops_the_sweep_until_it_is_lifted(
    traffic: Path, space_file: Path, tmp_path: Path, whose: str
) -> None:
    storage, log = tmp_path / "runs", tmp_path / "log"
    sweep = storage / "night"
    driver = start(log, *sweep_arguments(traffic, storage, space_file, EPOCHS))
    try:
        begun = wait_until(lambda: any(one["event"] == "epoch" for one in events(sweep)))
        assert begun, log.read_text()
        if whose == "driver":
            limited, most = [driver.pid], (sweep / "ledger.jsonl").stat().st_size + 100
        else:
            mine = descendants(driver.pid)
            limited = [pid for pid, name in mine.items() if name.startswith("ray::ImplicitFunc")]
            most = 1000
        for pid in limited:
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, hard))
        assert driver.wait(90) == 2, log.read_text()
    finally:
        driver.kill()
        driver.wait()
    check_one_line(log.read_text(), "File too large")
    content = (sweep / "ledger.jsonl").read_bytes()
    assert content.endswith(b"\n"), "the half line that still had room is gone"
    check_it_resumes(storage)


def in_a_namespace(mount: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command that alone sees a mount."""
    return subprocess.run(
        [
            "unshare",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            f'{mount} && exec "$@"',
            "-",
            *arguments,
        ],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def _mounts(tmp_path: Path) -> None:
    try:
        tried = in_a_namespace(f"mount -t tmpfs tmpfs {tmp_path}", ["true"])
    except FileNotFoundError:
        pytest.skip("there is no unshare")
    if tried.returncode:
        pytest.skip("this user may not mount anything")


@pytest.mark.usefixtures("_mounts")
def test_a_disk_that_is_full_stops_the_sweep_until_there_is_room(
    traffic: Path, space_file: Path, tmp_path: Path
) -> None:
    storage, saved = tmp_path / "runs", tmp_path / "saved"
    storage.mkdir()
    arguments = command(*sweep_arguments(traffic, storage, space_file, EPOCHS))
    # What lies on the small disk is copied off it before it goes.
    script = f'"$@"; code=$?; cp -r {storage} {saved}; exit $code'
    full = in_a_namespace(
        f"mount -t tmpfs -o size=64k tmpfs {storage}", ["sh", "-c", script, "-", *arguments]
    )
    assert full.returncode == 2, full.stderr
    check_one_line(full.stderr, "No space left on device")
    assert not any(one["event"] == "ended" and one["trial"] < 3 for one in events(saved / "night"))
    storage.rmdir()
    shutil.move(saved, storage)
    check_it_resumes(storage)


@pytest.mark.usefixtures("_mounts")
def test_a_storage_that_cannot_be_written_is_refused_and_can_still_be_read(
    traffic: Path, space_file: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "runs"
    done = hpo(*sweep_arguments(traffic, storage, space_file, epochs=1))
    assert done.returncode == 0, done.stderr
    read_only = f"mount --bind {storage} {storage} && mount -o remount,ro,bind {storage}"
    again = sweep_arguments(traffic, storage, space_file, epochs=1)
    for arguments in (["resume", "night", "--storage", storage], [*again, "--name", "other"]):
        refused = in_a_namespace(read_only, command(*arguments))
        assert refused.returncode == 2
        (line,) = refused.stderr.splitlines()
        assert "must be writable, but Read-only file system; choose another with --stor" in line
    shown = in_a_namespace(read_only, command("status", "night", "--storage", storage))
    assert shown.returncode == 0, shown.stderr
    assert "night is complete: 4 of 4 trials ended" in shown.stdout
