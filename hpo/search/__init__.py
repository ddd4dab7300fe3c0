"""Who asks for the next trial and who stops one: Optuna's samplers, Ray's schedulers."""
