"""A trained teacher in, what students imitate out: computed once, mapped by every trial.

The teacher's prediction after every training window comes from one pass over each stretch and is
stored by the window's first row. Hidden features, which only some losses need, are computed from
the frozen teacher for the batch at hand. Losses themselves are in ``losses``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from core.batching import cut_batch
from core.checkpoint import load_file, save_file
from core.distillation.interface import TeacherOutput
from core.errors import CheckpointError
from core.files import exclusive_lock, fingerprint
from core.forecasting import WINDOWS_PER_PASS
from core.preprocessing.prepare import PreparedData
from core.shapes import Rows
from core.stgcn import STGCN

TARGETS_VERSION = 2


@dataclass(frozen=True)
class TeacherTargets:
    """What a teacher says of the training windows."""

    predictions: Float[Tensor, "T N"]
    """Scaled, at each window's first row; NaN at rows that start no training window."""
    teacher: STGCN
    """Frozen, for hidden features."""
    data: PreparedData

    def of(self, rows: Rows, needs: Collection[str]) -> TeacherOutput:
        """Return what a loss ``needs`` of the windows that start at ``rows``."""
        prediction = self.predictions[rows] if "prediction" in needs else None
        if "features" not in needs:
            return TeacherOutput(prediction, None)
        history, _, _ = cut_batch(self.data.readings, rows, self.data.history_steps, 1)
        with torch.no_grad():
            _, features = self.teacher(history)
        return TeacherOutput(prediction, features)


def load_teacher_targets(
    path: Path, teacher: STGCN, teacher_fingerprint: str, data: PreparedData
) -> TeacherTargets:
    """Map the targets in ``path``; build them first if they are missing, damaged or stale.

    Several processes may ask at once: one builds, the others wait.

    Args:
        path: file of the targets, beside the teacher.
        teacher: trained, on the device of ``data``.
        teacher_fingerprint: of the teacher's data, settings and weights.
        data: the teacher's dataset.
    """
    key = fingerprint([TARGETS_VERSION, teacher_fingerprint, data.fingerprint])
    with exclusive_lock(path.with_suffix(".lock")):
        predictions = _stored_predictions(path, key)
        if predictions is None:
            built = predict_windows(teacher, data).cpu()
            save_file(path, {"predictions": built}, {"key": key, "sha256": _sha256(built)})
            predictions = load_file(path)[0]["predictions"]
    frozen = teacher.requires_grad_(False)
    return TeacherTargets(predictions.to(data.readings.device), frozen, data)


@torch.inference_mode()
def predict_windows(teacher: STGCN, data: PreparedData) -> Float[Tensor, "T N"]:
    """Return the prediction after every training window, [T, N] by the window's first row."""
    predictions = torch.full_like(data.readings, torch.nan)
    for stretch in data.stretches("train"):
        rows = stretch.first_rows(data.window_steps)
        for piece in torch.split(rows, WINDOWS_PER_PASS):
            first, count = int(piece[0]), len(piece)
            seen = data.readings[first : first + count + data.history_steps - 1]
            predictions[first : first + count] = teacher(seen[None, None])[0][0]
    return predictions


def _stored_predictions(path: Path, key: str) -> Tensor | None:
    if not path.exists():
        return None
    try:
        tensors, metadata = load_file(path)
    except CheckpointError:
        return None
    if metadata.get("key") != key or metadata.get("sha256") != _sha256(tensors["predictions"]):
        return None
    return tensors["predictions"]


def _sha256(values: Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()
