"""Name the files of trained teachers on the disk. Touches none of them, and needs no torch.

STORAGE/teachers/FINGERPRINT/teacher.safetensors   weights, config, settings, metrics
STORAGE/teachers/FINGERPRINT/targets/              what students imitate (TeacherTargets)
STORAGE/teachers/FINGERPRINT/checkpoints/          while it trains
"""

from __future__ import annotations

from pathlib import Path

TEACHERS_FOLDER = "teachers"
"""All teachers of a storage; the folders of each are named by its fingerprint."""
TEACHER_FILE = "teacher.safetensors"
"""File name of a teacher's weights, in its folder."""
CHECKPOINTS_FOLDER = "checkpoints"
TARGETS_FOLDER = "targets"
MEAN, FITTED = WEIGHTINGS = ("mean", "fitted")
"""How several teachers' forecasts are weighed: alike, or as fits the training days best."""


def teacher_folder(storage: Path, teacher_fingerprint: str) -> Path:
    """Return the folder of a teacher, whether it exists or not."""
    return storage / TEACHERS_FOLDER / teacher_fingerprint
