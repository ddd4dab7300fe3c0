"""A trained teacher in, what students imitate out: computed once, mapped by every trial.

    FOLDER/prediction           the prediction after every training window
    FOLDER/temporal             per step, how far later steps are from it: TCD's distances
    FOLDER/spatial-distances    per step, how far its nodes are from each other: SCD's distances
    FOLDER/spatial-features     per step, the spatial layers, where those take too much room
    FOLDER/last                 per step, the last hidden layer

All by time step (``step_tables``), and only what a loss needs. What does not fit into the memory
budget is computed from the frozen teacher for the batch at hand. Losses themselves are in
``losses``, the passes over the training days in ``target_building``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from core.distillation.correlation.step_tables import StepTable, StoredDistances, StoredFeatures
from core.distillation.interface import TeacherOutput
from core.distillation.table_files import map_tables
from core.distillation.target_building import (
    HiddenLayers,
    Kind,
    OnProgress,
    Predictions,
    build_tables,
    forms_for,
    size_of,
    training_rows,
)
from core.errors import CheckpointError
from core.files import exclusive_lock, fingerprint
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import PreparedData
from core.shapes import Rows
from core.stgcn import STGCN

logger = logging.getLogger(__name__)

TARGETS_VERSION = 3

MEMORY_BUDGET = 1_500_000_000
"""Bytes of targets that the trials of a node share; 44 days of 228 sensors fit with distances."""


@dataclass(frozen=True)
class StoredLayers:
    """The tables of one need."""

    tables: Sequence[StepTable]
    are_distances: bool
    """Or else features."""

    def at(self, first_rows: Rows) -> list[StoredDistances | StoredFeatures]:
        """Point at the segments that start at ``first_rows``; nothing is read yet."""
        stored = StoredDistances if self.are_distances else StoredFeatures
        return [stored(table, first_rows) for table in self.tables]


@dataclass(frozen=True)
class TeacherTargets:
    """What a teacher says of the training windows."""

    predictions: Float[Tensor, "R N"] | None
    """Scaled, at each window's first row; NaN at rows that start no training window."""
    layers: Mapping[str, StoredLayers]
    """By need; what is missing here the teacher says itself."""
    teacher: STGCN
    """Frozen."""
    data: PreparedData

    def of(self, rows: Rows, needs: Collection[str], windows_per_segment: int = 1) -> TeacherOutput:
        """Return what a loss ``needs`` of the windows that start at ``rows`` [B].

        Args:
            rows: of whole segments, window after window.
            needs: see ``Loss.needs``.
            windows_per_segment: W.
        """
        first = rows[::windows_per_segment]
        said: dict[str, Any] = {
            need: layers.at(first) for need, layers in self.layers.items() if need in needs
        }
        if "prediction" in needs and self.predictions is not None:
            said["prediction"] = self.predictions[rows]
        missing = set(needs) - set(said)
        if missing:
            live = self._run_on(first, windows_per_segment)
            said |= {need: getattr(live, need) for need in missing}
        return TeacherOutput(**said)

    def _run_on(self, first_rows: Rows, windows_per_segment: int) -> TeacherOutput:
        history, _, _ = cut_batch(
            self.data.readings, first_rows, self.data.history_steps, windows_per_segment
        )
        with torch.no_grad():
            prediction, features = self.teacher(history)
        return TeacherOutput.of_pass(prediction.flatten(0, 1), features)


def load_teacher_targets(
    folder: Path,
    teacher: STGCN,
    data: PreparedData,
    needs: Collection[str],
    memory_budget: int = MEMORY_BUDGET,
    on_progress: OnProgress | None = None,
) -> TeacherTargets:
    """Map the targets in ``folder``; build first those that are missing, damaged or stale.

    Several processes may ask at once: one builds, the others wait. What is stored is known by the
    teacher's weights, the data and the layers; a file once read through is not read again.

    Args:
        folder: of the targets, beside the teacher.
        teacher: trained, on the device of ``data``; it is frozen.
        data: the teacher's dataset.
        needs: of the loss (``Loss.needs``).
        memory_budget: bytes that all of these targets together may take.
        on_progress: called with the windows done and the windows in all, where building is needed.

    Raises:
        StorageError: there is no room for the targets.
    """
    frozen = teacher.requires_grad_(False)
    kinds = _kinds_within(memory_budget, needs, frozen, data)
    key = fingerprint([TARGETS_VERSION, _weights_sha256(frozen), data.fingerprint])
    with exclusive_lock(folder.with_suffix(".lock")):
        stored = {kind.name: _stored(folder / kind.name, key) for kind in kinds.values()}
        missing = [kind for kind in kinds.values() if stored[kind.name] is None]
        if missing:
            wanted = {folder / kind.name: kind for kind in missing}
            build_tables(frozen, data, wanted, key, on_progress)
            stored |= {path.name: map_tables(path, key) for path in wanted}
    device = data.readings.device
    tensors = {need: stored[kind.name] or {} for need, kind in kinds.items()}
    layers = {
        need: StoredLayers(kind.read(tensors[need], device), kind.are_distances)
        for need, kind in kinds.items()
        if isinstance(kind, HiddenLayers)
    }
    predictions = tensors["prediction"]["prediction"] if "prediction" in kinds else None
    return TeacherTargets(
        None if predictions is None else predictions.to(device), layers, frozen, data
    )


def _kinds_within(
    memory_budget: int, needs: Collection[str], teacher: STGCN, data: PreparedData
) -> dict[str, Kind]:
    """Choose the form of every need: the fastest that fits into what the needs before it leave."""
    chosen: dict[str, Kind] = {}
    rows = training_rows(data)
    if "prediction" in needs:
        chosen["prediction"] = Predictions(data.readings.shape[1])
    with torch.no_grad():
        _, sample = teacher(data.readings[None, None, : data.history_steps])
    for need, forms in forms_for(sample).items():
        room = memory_budget - sum(size_of(kind, rows) for kind in chosen.values())
        fitting = [form for form in forms if size_of(form, rows) <= room]
        if need in needs and fitting:
            chosen[need] = fitting[0]
        elif need in needs:
            least = min(size_of(form, rows) for form in forms)
            logger.warning(
                "the teacher runs on every batch, which is slow: its %s layers would take %.1f GB, "
                "%.1f GB are left of the memory budget",
                need,
                least / 1e9,
                max(0, room) / 1e9,
            )
    return chosen


def _stored(folder: Path, key: str) -> dict[str, Tensor] | None:
    if not folder.exists():
        return None
    try:
        return map_tables(folder, key)
    except CheckpointError as error:
        logger.warning("building the teacher's targets anew: %s", error)
        return None


def _weights_sha256(teacher: STGCN) -> str:
    digest = hashlib.sha256(str(teacher.config).encode())
    for name, value in sorted(teacher.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
