"""Turn one configuration into a trained student, here or in a worker of Ray."""

from hpo.internals.ray_environment import set_ray_environment

set_ray_environment()
