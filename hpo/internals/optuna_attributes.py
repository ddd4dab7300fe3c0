"""Name the attributes under which Optuna's samplers note the generation of a trial.

Samplers write them to the trials that they ask for and look for them in those that ended. Does not
import Optuna.
"""

from __future__ import annotations

from typing import Final

CMAES_GENERATION: Final = "cma:generation"
NSGA2_GENERATION: Final = "NSGAIISampler:generation"
