"""Create a problem of PeMSD7's size: 228 sensors, weekdays of 5-minute steps, random readings.

The cost of a step depends neither on the readings nor on how well a teacher is trained, so this
needs no public files and trains no teacher.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from core.datasets.dataset import open_dataset, save_dataset
from core.distillation.layer_alignment import Students
from core.distillation.losses import make_loss
from core.distillation.teacher_targets import TeacherTargets, load_teacher_targets
from core.experiments import DistillationObjective, network_shape, new_network
from core.families.networks import SingleNetwork
from core.forms import find_form
from core.preprocessing.prepare import PreparedData, prepare
from core.stgcn import STUDENT_CHANNELS, BlockChannels
from core.training.step_replay import Recorder
from core.training.trainer import Trainer, TrainingConfig

NUM_SENSORS = 228
STCD = {"alpha1": 0.4, "alpha2": 0.5, "alpha3": 0.5}


def make_data(
    folder: Path, training_days: int, validation_days: int, num_sensors: int = NUM_SENSORS
) -> PreparedData:
    """Write random readings below ``folder`` and prepare them."""
    split = (training_days, validation_days, 1)
    generator = np.random.default_rng(0)
    readings = generator.normal(60, 10, (sum(split) * 288, num_sensors)).astype(np.float32)
    adjacency = (generator.random((num_sensors, num_sensors)) < 0.05).astype(np.float32)
    adjacency = np.triu(adjacency, 1) + np.triu(adjacency, 1).T
    fields = {
        "unit": "mph",
        "interval_minutes": 5,
        "day_kind": "weekdays",
        "split": split,
        "sensor_ids": tuple(f"sensor-{index}" for index in range(num_sensors)),
        "graph": "random",
        "sources": {"readings.csv": "0" * 64},
    }
    save_dataset(folder / "data", fields, readings, adjacency)
    return prepare(open_dataset(folder / "data"))


def make_network(
    data: PreparedData, channels: tuple[BlockChannels, ...], form: str = "paper"
) -> SingleNetwork:
    """Return an untrained network."""
    shape = network_shape(data, channels, find_form(form).network)
    return new_network(shape, data.graph_kernel, seed=0)


def make_targets(
    folder: Path, data: PreparedData, form: str = "paper", steps_per_pass: int = 1
) -> TeacherTargets:
    """Build or map the targets of STCD from an untrained teacher.

    Args:
        folder: where they lie, below it.
        data: to be taught about.
        form: of the teacher.
        steps_per_pass: how many steps the students predict.
    """
    needs = make_loss("stcd", STCD).needs
    teacher = make_network(data, find_form(form).teacher, form)
    return load_teacher_targets(
        folder / "targets", teacher, data, needs, students=Students(steps_per_pass)
    )


def train_student(
    data: PreparedData,
    targets: TeacherTargets | None,
    windows_per_segment: int,
    epochs: int = 1,
    recorder: Recorder | None = None,
) -> None:
    """Train and validate the student of Table 1, with STCD if there are targets."""
    loss = make_loss("none", {}) if targets is None else make_loss("stcd", STCD)
    objective = DistillationObjective(loss, targets)
    train_network(data, STUDENT_CHANNELS, objective, windows_per_segment, epochs, recorder)


def train_network(
    data: PreparedData,
    channels: tuple[BlockChannels, ...],
    objective: DistillationObjective,
    windows_per_segment: int,
    epochs: int = 1,
    recorder: Recorder | None = None,
    form: str = "paper",
) -> None:
    """Train a new network; reading its validation errors waits for the GPU to finish."""
    config = TrainingConfig(epochs=epochs, windows_per_segment=windows_per_segment)
    network = make_network(data, channels, form)
    trainer = Trainer(network, data, objective, config, recorder=recorder)
    trainer.run(lambda report: None)
