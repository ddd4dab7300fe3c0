"""Run a sweep on Ray, from its plan to its records: the one process that drives it."""

from hpo.internals.ray_environment import set_ray_environment

set_ray_environment()
