"""Provide a trained teacher's targets: computed once, then memory-mapped by every trial.

    FOLDER/prediction           the forecast after every training window, all of its time steps
    FOLDER/prediction-next      its first time step alone, where a roll-out would cost the others
    FOLDER/temporal             per step, how far later steps are from it: TCD's distances
    FOLDER/spatial-distances    per step, how far its nodes are from each other: SCD's distances
    FOLDER/spatial-features     per step, the spatial layers, where those take too much room
    FOLDER/last                 per step, the last hidden layer
    FOLDER/last-of-1            that of the first block alone, for students that have no more

All are stored by time step (``step_tables``), and only those that a loss needs. Of a teacher that
is not equivariant in time, hidden layers are stored window after window, T steps for each first row
(``…-windows-T-T``), which takes T times the room. Those that do not
fit into the memory budget are computed by the frozen teacher for each batch. Computes no loss and
makes no pass over the training days; see ``losses`` and ``target_building``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from core.distillation.correlation.step_tables import StepTable, StoredDistances, StoredFeatures
from core.distillation.interface import TeacherOutput
from core.distillation.layer_alignment import (
    LayerSteps,
    Students,
    check_one_kind,
    newest_of_windows,
    steps_of_windows,
)
from core.distillation.memory_budget import MEMORY_BUDGET
from core.distillation.table_files import map_tables
from core.distillation.target_building import (
    Forecasts,
    HiddenLayers,
    Kind,
    OnProgress,
    build_tables,
    forms_for,
    size_of,
    training_rows,
)
from core.ensemble import Ensemble, Network
from core.errors import CheckpointError
from core.families.networks import SingleNetwork
from core.files import exclusive_lock, fingerprint
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import PreparedData
from core.shapes import Rows, WindowValues
from core.stgcn import Features

logger = logging.getLogger(__name__)

TARGETS_VERSION = 4
WHOLE, NEXT = "prediction", "prediction-next"
"""Folders of forecasts."""


@dataclass(frozen=True)
class StoredLayers:
    """The stored tables of one need, one per layer."""

    tables: Sequence[StepTable]
    are_distances: bool
    """Whether they hold distances; otherwise features."""
    steps_per_row: Sequence[int]
    """Per layer, how many steps are stored for each row."""

    def at(self, first_rows: Rows) -> list[StoredDistances | StoredFeatures]:
        """Refer to the segments that start at ``first_rows``; reads nothing yet."""
        stored = StoredDistances if self.are_distances else StoredFeatures
        pairs = zip(self.tables, self.steps_per_row, strict=True)
        return [stored(table, first_rows * steps) for table, steps in pairs]


@dataclass(frozen=True)
class TeacherTargets:
    """A teacher's targets for the training windows."""

    forecasts: StepTable | None
    """Scaled [R, K, N], at each window's first row; NaN at rows that start no training window.
    K is the horizon, or 1 where no more was asked for."""
    layers: Mapping[str, StoredLayers]
    """By need; those missing here are computed by the teacher for each batch."""
    teacher: Network
    """The frozen teacher."""
    data: PreparedData
    blocks: int
    """How many ST blocks of student and teacher are compared, from the first on: a layer is
    compared with the one that has seen the same share of the history, and blocks that only one of
    the two has are not compared."""
    windows: LayerSteps | None = None
    """Which time steps of each window are compared (``layer_alignment``); None: segments of
    windows are compared as they are."""

    def of(
        self,
        rows: Rows,
        needs: Collection[str],
        windows_per_segment: int = 1,
        steps_ahead: int | None = None,
    ) -> TeacherOutput:
        """Return the parts that a loss ``needs``, for the windows that start at ``rows`` [B].

        Args:
            rows: first rows of whole segments, window after window.
            needs: see ``Loss.needs``.
            windows_per_segment: W, of the student's layers.
            steps_ahead: how many time steps the student predicts, [B, H, N]; None: the next one
                without an axis of steps, [B, N].
        """
        if self.windows is not None:
            windows_per_segment = 1
        first = rows[::windows_per_segment]
        found: dict[str, Any] = {
            need: layers.at(first)[: self._layers_of(need)]
            for need, layers in self.layers.items()
            if need in needs
        }
        if "prediction" in needs and self.forecasts is not None:
            found["prediction"] = _forecasts_at(self.forecasts, rows, steps_ahead)
        missing = set(needs) - set(found) - {"prediction"}
        if missing:
            live = self._run_teacher(first, windows_per_segment)
            found |= {need: getattr(live, need) for need in missing}
        return TeacherOutput(**found)

    def compared(self, features: Features) -> Features:
        """Return those hidden layers of a student that are compared with the teacher's."""
        if self.windows is not None:
            return newest_of_windows(features, self.windows)
        return features.of_first_blocks(self.blocks)

    def _layers_of(self, need: str) -> int:
        return {"temporal": 2 * self.blocks, "spatial": self.blocks, "last": 1}[need]

    def _run_teacher(self, first_rows: Rows, windows_per_segment: int) -> TeacherOutput:
        readings = self.data.readings
        history, _, _ = cut_batch(
            readings,
            readings,
            first_rows,
            self.data.history_steps,
            windows_per_segment,
            measured=self.data.truth if self.teacher.config.missing_mask else None,
        )
        with torch.no_grad():
            _, features = self.teacher(history)
        return TeacherOutput.of_pass(None, self.compared(features))


def _forecasts_at(forecasts: StepTable, rows: Rows, steps_ahead: int | None) -> WindowValues:
    wanted = 0 if steps_ahead is None else slice(steps_ahead)
    table = StepTable(forecasts.entries[:, wanted], forecasts.scale, forecasts.low)
    return table.at(rows, 1)[:, 0]


def load_teacher_targets(
    folder: Path,
    teacher: Network,
    data: PreparedData,
    needs: Collection[str],
    memory_budget: int = MEMORY_BUDGET,
    on_progress: OnProgress | None = None,
    students: Students | None = None,
) -> TeacherTargets:
    """Map the targets in ``folder``; build those that are missing, damaged or stale first.

    Several processes may call it at once: one builds, the others wait. Targets are identified by
    the teacher's weights, the data and the layers; a file once verified is not read again.

    Args:
        folder: holds the targets, beside the teacher.
        teacher: trained, on the device of ``data``; gets frozen.
        data: the teacher's dataset.
        needs: those of the loss (``Loss.needs``).
        memory_budget: bytes that all of these targets together may take.
        on_progress: called with the number of windows done and the total while building.
        students: whom it teaches; None: networks like it that predict the whole horizon.

    Raises:
        ConfigError: the teacher has no hidden layers that the loss could compare.
        StorageError: the disk has no space for the targets.
    """
    frozen, students = teacher.requires_grad_(False), students or Students()
    shapes = [one.config for one in _members(frozen)]
    with torch.no_grad():
        _, sample = frozen(frozen.signal(data.readings[None, : data.history_steps]))
    blocks = min(len(sample.spatial), students.blocks or len(sample.spatial))
    windows = steps_of_windows(shapes, students.family, blocks)
    stored_windows = None if all(one.equivariant for one in shapes) else windows or ()
    kinds: dict[str, Kind] = {}
    if "prediction" in needs:
        kinds["prediction"] = _forecasts_for(students.steps_per_pass, frozen, data)
    if hidden := set(needs) - {"prediction"}:
        check_one_kind(shapes)
        forms = forms_for(sample, blocks, stored_windows)
        _add_within(kinds, memory_budget, {one: forms[one] for one in forms if one in hidden}, data)
    if stored_windows and not any(isinstance(kind, HiddenLayers) for kind in kinds.values()):
        stored_windows = ()  # nothing hidden is kept of any window
    key = fingerprint([TARGETS_VERSION, _weights_sha256(frozen), data.fingerprint])
    with exclusive_lock(folder.with_suffix(".lock")):
        stored = {kind.name: _stored(folder / kind.name, key) for kind in kinds.values()}
        missing = [kind for kind in kinds.values() if stored[kind.name] is None]
        if missing:
            wanted = {folder / kind.name: kind for kind in missing}
            build_tables(frozen, data, wanted, key, on_progress, stored_windows)
            stored |= {path.name: map_tables(path, key) for path in wanted}
    forecasts, layers = _read(kinds, stored, data.readings.device)
    return TeacherTargets(forecasts, layers, frozen, data, blocks, windows)


def _read(
    kinds: Mapping[str, Kind],
    stored: Mapping[str, dict[str, Tensor] | None],
    device: torch.device,
) -> tuple[StepTable | None, dict[str, StoredLayers]]:
    """Join what is ``stored`` by name to tables: the forecasts', and those of each hidden need."""
    forecasts, layers = None, {}
    for need, kind in kinds.items():
        tensors = stored[kind.name] or {}
        if isinstance(kind, Forecasts):
            forecasts = kind.read(tensors, device)
        elif isinstance(kind, HiddenLayers):
            tables = kind.read(tensors, device)
            layers[need] = StoredLayers(tables, kind.are_distances, kind.steps_per_row)
    return forecasts, layers


def _add_within(
    chosen: dict[str, Kind],
    memory_budget: int,
    forms_of_needs: Mapping[str, Sequence[HiddenLayers]],
    data: PreparedData,
) -> None:
    """Add each need's fastest form that fits into the budget left by what is ``chosen`` before."""
    rows = training_rows(data)
    for need, forms in forms_of_needs.items():
        room = memory_budget - sum(size_of(kind, rows) for kind in chosen.values())
        fitting = [form for form in forms if size_of(form, rows) <= room]
        if fitting:
            chosen[need] = fitting[0]
        else:
            least = min(size_of(form, rows) for form in forms)
            logger.warning(
                "the teacher runs on every batch, which is slow: its %s layers would take %.1f GB, "
                "%.1f GB are left of the memory budget",
                need,
                least / 1e9,
                max(0, room) / 1e9,
            )


def _forecasts_for(steps_per_pass: int | None, teacher: Network, data: PreparedData) -> Forecasts:
    """Choose whole forecasts, or the next step alone where it suffices and costs less.

    Whatever is stored: rounded to 16 bits, the first step of both differs a little.
    """
    sensors = data.readings.shape[1]
    rolled_out = teacher.config.steps_ahead is None
    if rolled_out and steps_per_pass == 1:
        return Forecasts(1, sensors, NEXT)
    return Forecasts(data.horizon_steps, sensors, WHOLE)


def _stored(folder: Path, key: str) -> dict[str, Tensor] | None:
    if not folder.exists():
        return None
    try:
        return map_tables(folder, key)
    except CheckpointError as error:
        logger.warning("building the teacher's targets anew: %s", error)
        return None


def _members(teacher: Network) -> Sequence[SingleNetwork]:
    return teacher.members if isinstance(teacher, Ensemble) else [teacher]


def _weights_sha256(teacher: Network) -> str:
    digest = hashlib.sha256("".join(str(one.config) for one in _members(teacher)).encode())
    for name, value in sorted(teacher.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
