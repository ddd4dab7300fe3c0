"""What every loss takes from the teacher, what it is and what it gives back. Computes nothing.

Axes: B windows, N sensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar

from torch import Tensor, nn

from core.distillation.response import check_shares
from core.errors import ConfigError
from core.shapes import Scalar, WindowValues
from core.stgcn import Features


@dataclass(frozen=True)
class TeacherOutput:
    """What the frozen teacher says about one batch: at least what the loss ``needs``."""

    prediction: WindowValues | None = None
    """[B, N], z-scored."""
    features: Features | None = None
    """Layers as the student's; only their channels may differ."""

    def require_prediction(self) -> WindowValues:
        """Return the prediction, or raise ``ConfigError`` where it was left out."""
        if self.prediction is None:
            raise ConfigError("this loss needs the teacher's prediction, got none; see its `needs`")
        return self.prediction

    def require_features(self) -> Features:
        """Return the features, or raise ``ConfigError`` where they were left out."""
        if self.features is None:
            raise ConfigError("this loss needs the teacher's features, got none; see its `needs`")
        return self.features


@dataclass(frozen=True)
class LossValue:
    """What a loss says about one batch."""

    total: Scalar
    """What is minimised and reported."""
    parts: dict[str, Tensor] = field(default_factory=dict)
    """Detached scalars worth reporting beside it; ``teacher_share`` is a share in [0, 1]."""

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradient to the ``.grad`` of ``parameters``, the weights being trained.

        Here they need no naming: autograd finds every weight that ``total`` depends on.
        """
        self.total.backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Loss(ABC):
    """One method of distillation with its hyperparameters."""

    needs: ClassVar[frozenset[str]]
    """What it takes from the teacher: some of ``prediction`` and ``features``."""

    def __post_init__(self) -> None:
        """Refuse hyperparameters outside [0, 1]."""
        check_shares(**{entry.name: getattr(self, entry.name) for entry in fields(self)})

    @abstractmethod
    def __call__(
        self,
        prediction: WindowValues,
        features: Features,
        target: WindowValues,
        teacher: TeacherOutput,
    ) -> LossValue:
        """Compare one batch.

        Args:
            prediction: the student's, [B, N], z-scored.
            features: the student's, of the same pass.
            target: the true readings, [B, N], z-scored.
            teacher: at least what the loss ``needs``.

        Raises:
            ConfigError: the teacher's output lacks what the loss needs.
            ShapeError: student, teacher and target do not fit together.
        """
