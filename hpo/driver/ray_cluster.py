"""Start Ray on this machine or connect to a cluster, and share its resources among trials."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from core.errors import ConfigError
from hpo.internals.ray_sockets import FOLDER_VARIABLES, too_long_socket
from hpo.sweep_config import AUTO, SweepConfig


@contextmanager
def cluster(address: str) -> Iterator[dict[str, float]]:
    """Connect to Ray, or start it on this machine, and yield its resources; stop what was started.

    Args:
        address: of a running cluster, or ``local``.

    Raises:
        ConfigError: nothing answers at ``address``, or Ray cannot start here.
    """
    ours = not ray.is_initialized()
    if ours:
        try:
            _check_reachable(address)
            ray.init(
                address=address, log_to_driver=False, include_dashboard=False, **_quiet(address)
            )
        # ValueError: what Ray cannot read as an address. RuntimeError: its processes do not start.
        except (OSError, ValueError, RuntimeError) as error:
            raise _not_connected(address, error) from error
    try:
        with termination_as_interrupt():
            yield ray.cluster_resources()
    finally:
        if ours:
            ray.shutdown()


def _not_connected(address: str, error: Exception) -> ConfigError:
    reason, long_path = " ".join(str(error).split()), too_long_socket(error)
    if long_path is not None:
        path, most = long_path
        variables = [name for name in FOLDER_VARIABLES if name in os.environ]
        return ConfigError(
            f"Ray keeps its sockets in the folder for temporary files, and the path of a socket "
            f"has at most {most} bytes, but {path} has {len(path.encode())}; set "
            f"{variables[0] if variables else FOLDER_VARIABLES[0]} to a shorter folder, such as "
            "/tmp"
        )
    if address == "local":
        return ConfigError(
            f"Ray must be able to start on this machine, but {reason}; mend that, or look whether "
            "the folder for temporary files has room"
        )
    return ConfigError(
        f"--address must be that of a running Ray cluster, got {address!r}: {reason}; "
        "`local` starts one on this machine"
    )


@contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Handle SIGTERM, as sent by a spot notice or a job scheduler, like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may say what a signal does
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    # What a shell starts in the background ignores Ctrl-C, except while Ray Tune listens to it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def _check_reachable(address: str) -> None:
    """Raise ``OSError`` where no server listens: Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, min(int(port), 65535)), timeout=10).close()


def _quiet(address: str) -> dict[str, Any]:
    return {"logging_level": "ERROR"} if address == "local" else {"logging_level": "WARNING"}


def trial_resources(
    config: SweepConfig, available: dict[str, float], address: str = "local"
) -> tuple[dict[str, float], int]:
    """Return the resources of each trial and how many trials run at once.

    A cluster may grow for trials that wait for resources, so the user's limit alone counts there.

    Args:
        config: the sweep's settings.
        available: the cluster's present resources, by Ray's names.
        address: of the cluster.

    Raises:
        ConfigError: the cluster has no room for a single trial.
    """
    gpus_there = available.get("GPU", 0.0)
    gpus = config.gpus_per_trial
    if gpus is None or gpus == AUTO:  # what is measured later is at most one
        gpus = 1.0 if gpus_there else 0.0
    per_trial = {"cpu": float(config.cpus_per_trial), "gpu": gpus}
    if per_trial["cpu"] > available.get("CPU", 0.0) or gpus > gpus_there:
        raise ConfigError(
            f"a trial needs {config.cpus_per_trial} CPUs and {gpus:g} GPUs, but the cluster has "
            f"{available.get('CPU', 0.0):g} and {gpus_there:g}; lower --cpus-per-trial or "
            "--gpus-per-trial"
        )
    if config.cuda_graphs and not gpus:
        raise ConfigError(
            "--cuda-graphs needs trials that have a GPU, but these have none; leave it out, or "
            "give them one with --gpus-per-trial"
        )
    room = int(available["CPU"] // per_trial["cpu"])
    if gpus:
        # Shares of one GPU; the small addend keeps 1 / 0.1 from being nine.
        on_one = int(1.0 / gpus + 1e-9)
        room = min(room, int(gpus_there) * on_one if on_one else int(gpus_there // gpus))
    if config.max_concurrent is None:
        return per_trial, room
    growing = address != "local"
    return per_trial, config.max_concurrent if growing else min(room, config.max_concurrent)
