"""Commands of SLURM as they look to a job of three nodes, all of them on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
NODES = 3
JOB = 4_700_000 + os.getpid() % 20_000
"""Gives Ray's port, which another test of this machine must not have."""
SRUN = """#!/bin/bash
# Starts the command once per task, passes SIGTERM on, and waits for all of them.
while [ "${1#--}" != "$1" ]; do
    case $1 in --ntasks=*) tasks=${1#*=} ;; esac
    shift
done
started=()
trap 'kill -TERM "${started[@]}" 2>/dev/null' TERM
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task "$@" &
    started+=($!)
done
while [ -n "$(jobs -r)" ]; do wait; done
"""
SCONTROL = """#!/bin/bash
echo "$@" >>"$SCONTROL_LOG"
"""


class Job:
    """Runs ``slurm.sbatch`` again and again, as SLURM does with a job that is queued again."""

    def __init__(self, folder: Path, environment: Path = Path(sys.prefix)) -> None:
        """``environment``: the folder with ``bin/hpo`` and ``bin/ray``."""
        self.folder, self.log, self.requests = folder, folder / "log", folder / "scontrol"
        self._environment = environment
        commands = folder / "slurm"
        commands.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (commands / name).write_text(text)
            (commands / name).chmod(0o755)
        (folder / "home").mkdir()

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start the script; output goes to the log."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("HPO_")}
        given = {
            "HOME": str(self.folder / "home"),
            "HPO_VENV": str(self._environment),
            "OMP_NUM_THREADS": "1",
            "PATH": f"{self.folder / 'slurm'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SCONTROL_LOG": str(self.requests),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_JOB_ID": str(JOB),
            "SLURM_JOB_NUM_NODES": str(NODES),
        }
        with self.log.open("ab") as stream:
            return subprocess.Popen(
                ["bash", ROOT / "slurm.sbatch", *map(str, arguments)],
                cwd=self.folder,
                env={**kept, **given},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
            )

    @staticmethod
    def end(process: subprocess.Popen[bytes], sent: signal.Signals, seconds: float) -> int:
        """Send the signal to the script alone, as SLURM does; return its exit code."""
        process.send_signal(sent)
        return process.wait(seconds)

    @property
    def requeued(self) -> list[str]:
        """What ``scontrol`` was asked for."""
        return self.requests.read_text().splitlines() if self.requests.exists() else []
