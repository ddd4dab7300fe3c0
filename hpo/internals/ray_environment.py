"""Set the environment variables that Ray and Ray Tune are to find.

Ray 2.60 reads all of them when it starts a cluster or a search, but promises no time, and workers
inherit what the driver had. So each package of ``hpo`` whose modules import Ray calls
``set_ray_environment`` in its ``__init__``, which Python runs before any of its modules. Does not
import Ray.
"""

from __future__ import annotations

import os
from typing import Final

VARIABLES: Final = {
    # Tune prints nothing: the command line has a display of its own.
    "RAY_AIR_NEW_OUTPUT": "0",
    # No log files per trial.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # A trial that fails reports why instead of the objective, which must not end the whole sweep.
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    # All workers start at once, where by default the next one waits until the last is there;
    # searchers know how many may run.
    "TUNE_MAX_PENDING_TRIALS_PG": "10000",
    # No telemetry.
    "RAY_USAGE_STATS_ENABLED": "0",
    # A task without a GPU keeps the CUDA_VISIBLE_DEVICES of its machine.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # No worker per core before a trial asks for one: Tune's have an environment of their own, so
    # those that Ray starts in advance would be ended unused.
    "RAY_prestart_worker_first_driver": "0",
}


def set_ray_environment() -> None:
    """Set each of ``VARIABLES`` that the user has not set."""
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
