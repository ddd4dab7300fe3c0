"""Choose the next trial and stop unpromising ones: Optuna's samplers, Ray Tune's schedulers."""

from hpo.internals.ray_environment import set_ray_environment

set_ray_environment()
