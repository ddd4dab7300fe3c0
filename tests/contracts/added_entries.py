"""Add one of each kind of entry, as a newcomer would: all that a new one needs stands in here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import optuna
import torch
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from torch import Tensor

from core.distillation.hyperparameters import within
from core.distillation.interface import Loss, LossValue, TeacherOutput
from core.distillation.losses import LOSSES
from core.distillation.response import response_error, response_kl_loss
from core.stgcn import Features
from core.training.config import OPTIMIZERS, SCHEDULES
from hpo.search.samplers import SAMPLERS, SamplerKind
from hpo.search.schedulers import SCHEDULERS, Mode


@dataclass(frozen=True)
class SoftenedResponse(Loss):
    """RD(KL) between softened predictions (Hinton et al., 2015), beside the squared error."""

    beta: float = field(metadata=within(0.0, 1.0))
    """Weight of the teacher; the target's is 1 - beta."""
    temperature: float = field(metadata=within(0.5, 10.0))
    """What predictions are divided by before they are compared."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def __call__(
        self, prediction: Tensor, features: Features, target: Tensor, teacher: TeacherOutput
    ) -> LossValue:
        """Compare one batch; features go unused."""
        softened = teacher.require_prediction() / self.temperature
        taught = response_kl_loss(prediction / self.temperature, softened)
        task = response_error(prediction, target, self.error)
        total = self.beta * taught + (1.0 - self.beta) * task
        return LossValue(total, {"taught": taught.detach()})


def uniform(seed: int) -> optuna.samplers.BaseSampler:
    """Independent draws."""
    return optuna.samplers.RandomSampler(seed=seed)


def patient(metric: str, mode: Mode, epochs: int) -> TrialScheduler:
    """Every trial runs to its end."""
    return FIFOScheduler()


ENTRIES: Mapping[str, tuple[dict[str, Any], Any]] = {
    "softened": (LOSSES, SoftenedResponse),
    "uniform": (SAMPLERS, SamplerKind(uniform)),
    "patient": (SCHEDULERS, patient),
    "adamw": (OPTIMIZERS, torch.optim.AdamW),
    "linear": (SCHEDULES, lambda epoch, epochs: 1.0 - epoch / epochs),
}
"""The registry of each, and its line there."""

SPACE = """
method: softened
parameters:
  beta: {type: float, low: 0, high: 1}
  temperature: {type: float, low: 0.5, high: 10, log: true}
  batch_size: {type: categorical, choices: [60, 100]}
  learning_rate: {type: float, low: 0.001, high: 0.03, log: true}
  optimizer: {type: categorical, choices: [adamw, adam]}
  schedule: {type: categorical, choices: [linear, step]}
first_points:
  - source: a guess
    values:
      beta: 0.5
      temperature: 2
      batch_size: 100
      learning_rate: 0.01
      optimizer: adamw
      schedule: linear
"""
"""The loss's search space."""
