"""What every loss takes from the teacher, what it is and what it gives back. Computes nothing.

Axes: B windows, S segments of consecutive windows, N sensors.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import ClassVar, TypeVar

from torch import Tensor, nn

from core.distillation.correlation.pair_samples import SampledPairs
from core.distillation.correlation.step_tables import StoredDistances, StoredFeatures
from core.distillation.hyperparameters import hyperparameter_problems, raise_problems
from core.errors import ConfigError
from core.shapes import OtherSignal, Scalar, WindowValues
from core.stgcn import Features

Given = TypeVar("Given")


@dataclass(frozen=True)
class TeacherOutput:
    """What the frozen teacher says about one batch: at least what the loss ``needs``.

    Layers lie as the student's, over the same segments; only their channels may differ. The
    correlation terms take features or, cheaper, the distances that they would make of them.
    """

    prediction: WindowValues | None = None
    """[B, N], z-scored."""
    temporal: Sequence[OtherSignal | StoredDistances] | None = None
    """Both temporal layers of every block."""
    spatial: Sequence[OtherSignal | StoredDistances | StoredFeatures] | None = None
    """The spatial layer of every block."""
    last: Sequence[OtherSignal | StoredFeatures] | None = None
    """The last hidden layer alone."""
    pairs: SampledPairs | None = None
    """Of the sensors that SCD asks it about; None: all."""

    @classmethod
    def of_pass(cls, prediction: WindowValues | None, features: Features) -> TeacherOutput:
        """Take all from one pass of the teacher over the batch."""
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
    """What it takes from the teacher: some of ``prediction``, ``temporal``, ``spatial``, ``last``.

    No more than that is ever computed or stored.
    """

    def __post_init__(self) -> None:
        """Refuse hyperparameters out of their ranges."""
        given = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        raise_problems(hyperparameter_problems(self, given))

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
            features: the student's, of the same pass over S segments.
            target: the true readings, [B, N], z-scored.
            teacher: at least what the loss ``needs``.

        Raises:
            ConfigError: the teacher's output lacks what the loss needs.
            ShapeError: student, teacher and target do not fit together.
        """
