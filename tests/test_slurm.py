"""slurm.sbatch: one Ray on all nodes of a job, one driver, and a job that goes on by itself."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.datasets.synthetic import build_synthetic
from tests.integration.sweeps import (
    SPACE,
    check_nothing_is_lost_or_repeated,
    descendants,
    events,
    title,
    wait_until,
)
from tests.slurm_commands import JOB, NODES, ROOT, Job

TEXT = (ROOT / "slurm.sbatch").read_text()
OPTIONS = dict(re.findall(r"^#SBATCH --([a-z-]+)(?:=(\S+))?$", TEXT, re.MULTILINE))
PORT = 20000 + JOB % 20000
ADDRESS = f"127.0.0.1:{PORT}"
RAY = f"""#!/bin/bash
# Says how it was started; the head listens, and all wait to be stopped.
[ "$1" = start ] || exit 0
echo "$@" >>ray
exec {sys.executable} -c '
import socket, sys, time
if "--head" in sys.argv:
    listening = socket.create_server(("127.0.0.1", {PORT}))
time.sleep(600)' "$@"
"""
HPO = """#!/bin/bash
# Knows one sweep once it was begun; runs until it is stopped, or as long as a file says.
echo "$@" >>hpo
case $1 in
    status) [ -e begun ] || exit 2; exit 0 ;;
    sweep) touch begun ;;
esac
[ ! -e code ] || exit "$(cat code)"
sleep 600 &
trap 'kill "$!"; exit 130' TERM
wait
"""
PYTHON = """#!/bin/bash
case $2 in *get_node_ip_address*) echo 127.0.0.1 ;; *) echo "$3 of $3 nodes" ;; esac
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose Ray and hpo are stand-ins."""
    commands = tmp_path / "venv" / "bin"
    commands.mkdir(parents=True)
    for name, text in (("ray", RAY), ("hpo", HPO), ("python", PYTHON)):
        (commands / name).write_text(text)
        (commands / name).chmod(0o755)
    return Job(tmp_path, tmp_path / "venv")


@pytest.fixture
def night(job: Job) -> Iterator[subprocess.Popen[bytes]]:
    """That job, while its sweep runs."""
    process = job.start("night", "ord", "--dataset", "d")
    try:
        assert wait_until((job.folder / "begun").exists, 30)
        yield process
    finally:
        process.terminate()
        process.wait(30)


def said(job: Job, name: str) -> list[str]:
    return (job.folder / name).read_text().splitlines()


def test_every_node_runs_ray_and_the_first_one_the_driver(
    job: Job, night: subprocess.Popen[bytes]
) -> None:
    assert wait_until(lambda: len(said(job, "ray")) == NODES, 30)
    (head,) = (line for line in said(job, "ray") if "--head" in line)
    assert f"--port={PORT}" in head
    assert "--num-cpus=0" in head, "one core is the driver's"
    workers = [line for line in said(job, "ray") if "--head" not in line]
    assert all(f"--address={ADDRESS} --num-cpus=1" in line for line in workers)
    folders = {re.findall(r"--temp-dir=(\S+)", line)[0] for line in said(job, "ray")}
    assert folders == {f"/tmp/ray-{JOB}-{node}" for node in range(NODES)}
    assert said(job, "hpo")[-1] == f"sweep ord --dataset d --name night --address {ADDRESS}"


@pytest.mark.parametrize("code", [0, 2])
def test_the_end_of_the_sweep_is_the_end_of_the_job(job: Job, code: int) -> None:
    (job.folder / "code").write_text(str(code))
    process = job.start("night", "ord", "--dataset", "d")
    started = dict[int, str]()
    assert wait_until(
        lambda: started.update(descendants(process.pid)) or process.poll() is not None, 30
    )
    assert process.returncode == code
    assert wait_until(lambda: not any(map(title, started)), 10), [*map(title, started)]
    assert job.requeued == []


def test_near_its_time_limit_a_job_is_queued_again_and_resumes(
    job: Job, night: subprocess.Popen[bytes]
) -> None:
    started = descendants(night.pid)
    assert Job.end(night, signal.SIGUSR1, 30) == 130
    assert job.requeued == [f"requeue {JOB}"]
    assert wait_until(lambda: not any(map(title, started)), 10), [*map(title, started)]
    (job.folder / "code").write_text("0")
    assert job.start("night", "ord", "--dataset", "d").wait(30) == 0
    assert said(job, "hpo")[-1] == f"resume night --address {ADDRESS}"


def test_a_job_that_is_cancelled_is_not_queued_again(
    job: Job, night: subprocess.Popen[bytes]
) -> None:
    assert Job.end(night, signal.SIGTERM, 30) == 130
    assert job.requeued == []


def test_without_a_name_and_a_method_it_says_how(job: Job) -> None:
    assert job.start("night").wait(30) == 2
    assert "needs a sweep's name and a method, as in: sbatch" in job.log.read_text()
    assert not (job.folder / "ray").exists()


def test_slurm_is_told_to_queue_again_and_to_warn_in_time() -> None:
    assert {"requeue", "no-kill"} <= OPTIONS.keys()
    assert OPTIONS["signal"] == "B:USR1@180"
    assert OPTIONS["ntasks-per-node"] == "1"
    assert OPTIONS["open-mode"] == "append"


def test_other_jobs_of_the_same_nodes_are_left_alone() -> None:
    commands = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    # It ends every Ray of the user on a node, and so does `ray symmetric-run`.
    assert not re.search(r"ray stop|symmetric-run|pkill|killall", "\n".join(commands))
    assert "export RAY_AUTH_MODE=token" in commands


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sweep_on_three_nodes_survives_its_time_limit(tmp_path: Path) -> None:
    build_synthetic(tmp_path / "data" / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    (tmp_path / "space.yaml").write_text(SPACE)
    job, sweep = Job(tmp_path), tmp_path / "runs" / "night"
    fixed = ["--trials", 4, "--epochs", 10, "--max-concurrent", 2, "--space", "space.yaml"]
    process = job.start("night", "none", "--dataset", "small", *fixed)
    started = dict[int, str]()
    assert wait_until(
        lambda: started.update(descendants(process.pid)) or len(events(sweep)) > 8, 200
    ), job.log.read_text()
    assert sum("raylet/raylet" in text for text in started.values()) == NODES
    assert Job.end(process, signal.SIGUSR1, 100) == 130, job.log.read_text()
    assert job.requeued == [f"requeue {JOB}"]
    assert wait_until(lambda: not any(map(title, started)), 60)
    assert job.start("night", "none", "--dataset", "small", *fixed).wait(200) == 0
    check_nothing_is_lost_or_repeated(sweep)
    assert job.log.read_text().count(f"{NODES} of {NODES} nodes") == 2
    # The token of Ray's clients is the user's own, and nothing is left on the nodes.
    assert (tmp_path / "home" / ".ray" / "auth_token").stat().st_mode & 0o077 == 0
    assert not list(Path("/tmp").glob(f"ray-{JOB}-*"))
