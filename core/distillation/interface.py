"""Define the interface of a loss: the teacher's output it reads and the value it returns.

Computes nothing; the losses are in ``core.distillation.losses``.

Axes: B windows, S segments of consecutive windows, H time steps ahead, N sensors.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from core.distillation.correlation.pair_samples import SampledPairs
from core.distillation.correlation.step_tables import StoredDistances, StoredFeatures
from core.distillation.hyperparameters import hyperparameter_problems, raise_problems
from core.distillation.response import check_error
from core.errors import ConfigError
from core.shapes import OtherSignal, Scalar, WindowValues
from core.stgcn import Features

Given = TypeVar("Given")


@dataclass(frozen=True)
class TeacherOutput:
    """The frozen teacher's output on one batch: at least what the loss ``needs``.

    Layers have the student's shapes, over the same segments; only their channels may differ. The
    correlation terms take features or, cheaper, the distances they would compute from them.
    """

    prediction: WindowValues | None = None
    """[B, N] or [B, H, N], as the student's; z-scored."""
    temporal: Sequence[OtherSignal | StoredDistances] | None = None
    """Both temporal layers of every block."""
    spatial: Sequence[OtherSignal | StoredDistances | StoredFeatures] | None = None
    """The spatial layer of every block."""
    last: Sequence[OtherSignal | StoredFeatures] | None = None
    """The last hidden layer alone."""
    pairs: SampledPairs | None = None
    """Pairs of sensors that SCD compares; None: all."""

    @classmethod
    def of_pass(cls, prediction: WindowValues | None, features: Features) -> TeacherOutput:
        """Collect everything from one pass of the teacher over the batch."""
        return cls(prediction, features.temporal, features.spatial, features.temporal[-1:])

    def require_prediction(self) -> WindowValues:
        """Return the prediction, or raise ``ConfigError`` where it was left out."""
        return _present(self.prediction, "prediction")

    def require_temporal(self) -> Sequence[OtherSignal | StoredDistances]:
        """Return the temporal layers, or raise ``ConfigError`` where they were left out."""
        return _present(self.temporal, "temporal")

    def require_spatial(self) -> Sequence[OtherSignal | StoredDistances | StoredFeatures]:
        """Return the spatial layers, or raise ``ConfigError`` where they were left out."""
        return _present(self.spatial, "spatial")

    def require_last(self) -> Sequence[OtherSignal | StoredFeatures]:
        """Return the last hidden layer, or raise ``ConfigError`` where it was left out."""
        return _present(self.last, "last")


def _present(given: Given | None, need: str) -> Given:
    if given is None:
        raise ConfigError(f"this loss needs the teacher's {need}, got none; see its `needs`")
    return given


@dataclass(frozen=True)
class LossValue:
    """The value of a loss on one batch."""

    total: Scalar
    """The scalar that is minimised and reported."""
    parts: dict[str, Tensor] = field(default_factory=dict)
    """Detached scalars to report beside it; ``teacher_share`` is a share in [0, 1]."""

    def backward(self, parameters: Sequence[nn.Parameter]) -> None:
        """Add the gradient to the ``.grad`` of ``parameters``, the weights being trained.

        They go unused here: autograd finds every weight that ``total`` depends on.
        """
        self.total.backward()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Loss(ABC):
    """One method of distillation with its hyperparameters."""

    needs: ClassVar[frozenset[str]]
    """Parts of the teacher's output it reads: ``prediction``, ``temporal``, ``spatial``, ``last``.

    No other part is ever computed or stored.
    """

    def __post_init__(self) -> None:
        """Refuse hyperparameters outside their ranges."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        raise_problems(hyperparameter_problems(self, given))

    @property
    def error(self) -> str:
        """How responses are compared, a key of ``ERRORS``; ``mse`` unless ``comparing_by`` says so.

        It is a setting of the training, alike for all losses, and no hyperparameter of one.
        """
        return str(getattr(self, "_error", "mse"))

    def comparing_by(self, error: str) -> Loss:
        """Return this loss with ``error``, or raise ``ConfigError`` where there is no such one."""
        check_error(error)
        other = copy.copy(self)
        object.__setattr__(other, "_error", error)
        return other

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
            prediction: the student's, [B, N] or [B, H, N], z-scored.
            features: the student's, of the same pass over S segments.
            target: the true readings, shaped as the prediction, z-scored; NaN where nothing was
                measured, which enters no loss.
            teacher: at least what the loss ``needs``.

        Raises:
            ConfigError: the teacher's output lacks what the loss needs.
            ShapeError: student, teacher and target do not fit together.
        """
