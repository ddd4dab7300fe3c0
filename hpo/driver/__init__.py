"""The one process that drives a sweep on Ray, from its plan to its records."""

from hpo.internals.ray_environment import set_ray_environment

set_ray_environment()
