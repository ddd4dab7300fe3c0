"""Define all distillation losses side by side, with one signature and one registry.

Each compares a student's outputs with the target and the teacher's outputs. It is a frozen
dataclass whose fields are its hyperparameters, each with its range: checks, search spaces and
pruning read it there. Every term is a mean over its entries; layers of one kind are summed. A new
loss is a class and a line in ``LOSSES``. Runs no network and takes no optimiser step.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

import torch
from torch import Tensor

from core.distillation.correlation.terms import scd_loss, summed_over_layers, tcd_loss
from core.distillation.gradient_revision import RevisedLossValue
from core.distillation.hyperparameters import (
    hyperparameter_bounds,
    hyperparameter_problems,
    within,
)
from core.distillation.interface import Loss, LossValue, TeacherOutput
from core.distillation.response import (
    masked_error,
    ord_loss,
    overseen_target,
    rd_kl_loss,
    rd_l2_loss,
    response_error,
    response_kl_loss,
)
from core.distillation.structure import mimicry_loss, structure_loss
from core.errors import ConfigError, UnknownNameError
from core.shapes import Scalar, WindowValues
from core.stgcn import Features

__all__ = [
    "LOSSES",
    "Loss",
    "LossValue",
    "TeacherOutput",
    "make_loss",
    "mimicry_loss",
    "ord_loss",
    "rd_kl_loss",
    "rd_l2_loss",
    "response_kl_loss",
    "scd_loss",
    "structure_loss",
    "tcd_loss",
]


@dataclass(frozen=True)
class NoDistillation(Loss):
    """The error against the target, squared by default: the baseline of every method."""

    needs: ClassVar[frozenset[str]] = frozenset()

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch; features and teacher go unused."""
        return LossValue(response_error(prediction, target, self.error))


@dataclass(frozen=True)
class ResponseL2(Loss):
    """RD(L2), Eq. 3: squared error against the teacher and against the target."""

    beta: float = field(metadata=within(0.0, 1.0))
    """Weight of the teacher; the target's is 1 - beta."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch; features go unused."""
        taught = teacher.require_prediction()
        return LossValue(rd_l2_loss(prediction, taught, target, self.beta, self.error))


@dataclass(frozen=True)
class ResponseKL(Loss):
    """RD(KL), Eq. 1-2: divergence from the teacher and squared error against the target."""

    beta: float = field(metadata=within(0.0, 1.0))
    """Weight of the teacher; the target's is 1 - beta."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch; features go unused."""
        taught = teacher.require_prediction()
        return LossValue(rd_kl_loss(prediction, taught, target, self.beta, self.error))


@dataclass(frozen=True)
class StructuralDistillation(Loss):
    """SKD of Bian et al.: response, mimicry and structure, their gradients revised.

    On the last hidden layer. ``backward`` takes the revised gradient, not that of ``total``.
    """

    alpha: float = field(metadata=within(0.0, 1.0))
    """Weight of each distillation gradient; the task's is 1 - alpha."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction", "last"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch."""
        last = features.temporal[-1:], teacher.require_last(), features.windows_per_segment
        task = response_error(prediction, target, self.error)
        distilling = {
            "response": response_kl_loss(prediction, teacher.require_prediction()),
            "mimicry": summed_over_layers(mimicry_loss, *last),
            "structure": summed_over_layers(structure_loss, *last),
        }
        taught = torch.stack(list(distilling.values())).sum()
        return RevisedLossValue(
            total=(1.0 - self.alpha) * task + self.alpha * taught,
            parts=_detached(task=task, **distilling),
            task=task,
            distilling=tuple(distilling.values()),
            alpha=self.alpha,
        )


@dataclass(frozen=True)
class OverseenResponse(Loss):
    """ORD, Eq. 4-6: the target where the teacher is near it, else the teacher's prediction."""

    alpha1: float = field(metadata=within(0.0, 1.0))
    """Largest normalised error of the teacher at which the target is used."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch; features go unused. Reports ``teacher_share`` (Table 3)."""
        response, parts = _overseen(prediction, target, teacher, self.alpha1, self.error)
        return LossValue(response, parts)


@dataclass(frozen=True)
class TemporalCorrelation(Loss):
    """STCD's temporal part alone (Table 5): ORD + alpha3 TCD, that is STCD with alpha2 = 0."""

    alpha1: float = field(metadata=within(0.0, 1.0))
    """Largest normalised error of the teacher at which the target is used."""
    alpha3: float = field(metadata=within(0.0, 1.0))
    """Weight of the correlation term beside ORD."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction", "temporal"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch. Reports ``teacher_share`` (Table 3)."""
        response, parts = _overseen(prediction, target, teacher, self.alpha1, self.error)
        tcd = _tcd(features, teacher)
        return LossValue(response + self.alpha3 * tcd, {**parts, **_detached(tcd=tcd)})


@dataclass(frozen=True)
class SpatialCorrelation(Loss):
    """STCD's spatial part alone (Table 5): ORD + alpha3 SCD, that is STCD with alpha2 = 1."""

    alpha1: float = field(metadata=within(0.0, 1.0))
    """Largest normalised error of the teacher at which the target is used."""
    alpha3: float = field(metadata=within(0.0, 1.0))
    """Weight of the correlation term beside ORD."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction", "spatial"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch. Reports ``teacher_share`` (Table 3)."""
        response, parts = _overseen(prediction, target, teacher, self.alpha1, self.error)
        scd = _scd(features, teacher)
        return LossValue(response + self.alpha3 * scd, {**parts, **_detached(scd=scd)})


@dataclass(frozen=True)
class SpatioTemporalCorrelation(Loss):
    """STCD, Eq. 11: ORD + alpha3 (alpha2 SCD + (1 - alpha2) TCD)."""

    alpha1: float = field(metadata=within(0.0, 1.0))
    """Largest normalised error of the teacher at which the target is used."""
    alpha2: float = field(metadata=within(0.0, 1.0))
    """Weight of the spatial term; the temporal term's is 1 - alpha2."""
    alpha3: float = field(metadata=within(0.0, 1.0))
    """Weight of both correlation terms beside ORD."""

    needs: ClassVar[frozenset[str]] = frozenset({"prediction", "spatial", "temporal"})

    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch. Reports ``teacher_share`` (Table 3)."""
        response, parts = _overseen(prediction, target, teacher, self.alpha1, self.error)
        scd, tcd = _scd(features, teacher), _tcd(features, teacher)
        total = response + self.alpha3 * (self.alpha2 * scd + (1.0 - self.alpha2) * tcd)
        return LossValue(total, {**parts, **_detached(scd=scd, tcd=tcd)})


def make_loss(method: str, hyperparameters: Mapping[str, Any], error: str = "mse") -> Loss:
    """Build the loss called ``method``.

    Args:
        method: a key of ``LOSSES``.
        hyperparameters: all of its fields and no others, each in its range.
        error: how responses are compared, a key of ``ERRORS``; a setting of the training.

    Raises:
        UnknownNameError: no such method.
        ConfigError: hyperparameters are unknown, missing or out of range; names all of them.
    """
    if method not in LOSSES:
        raise UnknownNameError("method", method, LOSSES)
    problems = hyperparameter_problems(LOSSES[method], hyperparameters)
    if problems:
        takes = ", ".join(hyperparameter_bounds(LOSSES[method])) or "no hyperparameters"
        raise ConfigError(f"method {method!r} takes {takes}: {'; '.join(problems)}")
    loss = LOSSES[method](**{name: float(value) for name, value in hyperparameters.items()})
    return loss.comparing_by(error)


def _overseen(
    prediction: WindowValues,
    target: WindowValues,
    teacher: TeacherOutput,
    alpha1: float,
    error: str,
) -> tuple[Scalar, dict[str, Tensor]]:
    """Return ORD and its parts."""
    mixture, from_teacher = overseen_target(teacher.require_prediction(), target, alpha1)
    known = ~target.isnan()
    response = masked_error(prediction, mixture, known, error)
    share = (from_teacher & known).sum().to(response.dtype) / known.sum().clamp_min(1)
    return response, _detached(teacher_share=share, response=response)


def _scd(features: Features, teacher: TeacherOutput) -> Scalar:
    taught = teacher.require_spatial()
    term = functools.partial(scd_loss, pairs=teacher.pairs)
    return summed_over_layers(term, features.spatial, taught, features.windows_per_segment)


def _tcd(features: Features, teacher: TeacherOutput) -> Scalar:
    taught = teacher.require_temporal()
    return summed_over_layers(tcd_loss, features.temporal, taught, features.windows_per_segment)


def _detached(**parts: Tensor) -> dict[str, Tensor]:
    return {name: part.detach() for name, part in parts.items()}


LOSSES: Final[dict[str, type[Loss]]] = {
    "none": NoDistillation,
    "rd_l2": ResponseL2,
    "rd_kl": ResponseKL,
    "skd": StructuralDistillation,
    "ord": OverseenResponse,
    "tcd": TemporalCorrelation,
    "scd": SpatialCorrelation,
    "stcd": SpatioTemporalCorrelation,
}
"""Every method by its name."""
