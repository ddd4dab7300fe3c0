"""Find and open trained teachers on the disk, by a fingerprint of their data and settings.

    STORAGE/teachers/FINGERPRINT/teacher.safetensors   weights, config, settings, metrics
    STORAGE/teachers/FINGERPRINT/targets/              what students imitate (TeacherTargets)
    STORAGE/teachers/FINGERPRINT/checkpoints/          while it trains

The same data and settings have the same fingerprint, so an existing teacher is found instead of
being trained again. Does not train (``core.experiments`` does).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from core.checkpoint import load_file, load_model
from core.errors import CheckpointError, UnknownNameError
from core.files import fingerprint
from core.preprocessing.prepare import PreparedData
from core.stgcn import PRUNING_BASE_CHANNELS, STGCN, TEACHER_CHANNELS, BlockChannels
from core.training.trainer import TrainingConfig

TEACHER_FILE = "teacher.safetensors"
"""File name of a teacher's weights, in its folder."""
DEFAULT_TRAINING = TrainingConfig(
    epochs=18,
    learning_rate=2e-3,
    optimizer="adam",
    schedule="cosine",
    windows_per_segment=5,
    patience=6,
)
"""Segments of windows are no less accurate for the same training time (docs/RESULTS.md)."""


@dataclass(frozen=True)
class TeacherConfig:
    """A teacher's shape and training."""

    channels: tuple[BlockChannels, ...] = TEACHER_CHANNELS
    training: TrainingConfig = field(default=DEFAULT_TRAINING)

    def fingerprint_for(self, data: PreparedData) -> str:
        """Return the fingerprint of the teacher with this config on ``data``."""
        return fingerprint([data.fingerprint, data.history_steps, asdict(self)])


@dataclass(frozen=True)
class Teacher:
    """A trained teacher."""

    folder: Path
    dataset_fingerprint: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    """Metrics of its best epoch, such as ``val_mae``."""
    seconds: float
    """Training time."""

    @property
    def fingerprint(self) -> str:
        """Hash of training data and settings; the folder's name."""
        return self.folder.name

    def load(self, data: PreparedData) -> STGCN:
        """Load the network onto the device of ``data``, without gradients."""
        model, _ = load_model(self.folder / TEACHER_FILE, data.graph_kernel)
        return model.to(data.readings.device).requires_grad_(False)

    @property
    def is_pruning_base(self) -> bool:
        """Whether it has the channels of the pruning base in Table 1."""
        channels = self.settings.get("channels", ())
        return tuple(tuple(block) for block in channels) == PRUNING_BASE_CHANNELS

    @property
    def targets_folder(self) -> Path:
        """Default folder of its teacher targets, whether they exist or not."""
        return self.folder / "targets"


def teacher_folder(storage: Path, teacher_fingerprint: str) -> Path:
    """Return the folder of a teacher, whether it exists or not."""
    return storage / "teachers" / teacher_fingerprint


def open_teacher(folder: Path) -> Teacher:
    """Read the metadata of the teacher in ``folder``."""
    _, metadata = load_file(folder / TEACHER_FILE)
    metadata.pop("config", None)
    try:
        return Teacher(folder, **metadata)
    except TypeError as error:
        raise CheckpointError(f"{folder} must hold a teacher: {error}; train it again") from error


def find_teachers(storage: Path, data: PreparedData) -> list[Teacher]:
    """Return the teachers trained on exactly this data, the best by validation MAE first."""
    files = (storage / "teachers").glob(f"*/{TEACHER_FILE}")
    teachers = [open_teacher(path.parent) for path in files]
    fitting = [one for one in teachers if one.dataset_fingerprint == data.fingerprint]
    return sorted(fitting, key=lambda teacher: teacher.metrics["val_mae"])


def find_teacher(storage: Path, data: PreparedData, wanted: str | None) -> Teacher | None:
    """Return the teacher with fingerprint ``wanted``, or else the best one, or None.

    Raises:
        UnknownNameError: ``wanted`` is not a teacher of this data.
    """
    teachers = find_teachers(storage, data)
    if wanted is None:
        # A pruning base is stored among the teachers, but teaches only if requested by fingerprint.
        own = [one for one in teachers if not one.is_pruning_base]
        return own[0] if own else None
    known = {teacher.fingerprint: teacher for teacher in teachers}
    if wanted not in known:
        raise UnknownNameError(f"teacher of {data.card.name}", wanted, known)
    return known[wanted]
