"""Run a whole teacher training or trial, from prepared data to a trained network and its errors.

``train_teacher``, ``distill_student`` and ``prune_student``; each resumes from its checkpoints with
the same numbers. Does not search over settings and does not look at test days.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from core.checkpoint import CheckpointFolder, save_model
from core.distillation.correlation.pair_samples import check_pairs, sample_pairs
from core.distillation.interface import LossValue, TeacherOutput
from core.distillation.layer_alignment import Students
from core.distillation.losses import LOSSES, Loss, make_loss
from core.distillation.memory_budget import MEMORY_BUDGET
from core.distillation.target_building import OnProgress
from core.distillation.teacher_targets import TeacherTargets, load_teacher_targets
from core.errors import ConfigError
from core.families import DEFAULT_FAMILY, NetworkConfig, find_family, form_fields
from core.families.networks import SingleNetwork, build
from core.files import exclusive_lock
from core.preprocessing.prepare import PreparedData
from core.pruning.algorithm import PruningStep, prune
from core.pruning.config import PruningConfig
from core.pruning.plan import plan_pruning
from core.seeding import derived_seed
from core.shapes import GraphKernel, Rows, WindowValues
from core.stgcn import STUDENT_CHANNELS, BlockChannels, Features
from core.stgcn_config import NetworkForm
from core.training.step_replay import CudaGraphs, Recorder
from core.training.teacher_files import (
    CHECKPOINTS_FOLDER,
    TARGETS_FOLDER,
    TEACHER_FILE,
    teacher_folder,
)
from core.training.teachers import Teacher, TeacherConfig, open_teacher
from core.training.trainer import EpochReport, Trainer, TrainingConfig

__all__ = [
    "DistillationObjective",
    "OnEpoch",
    "OnStep",
    "StudentConfig",
    "TargetStorage",
    "TrainedStudent",
    "check_sampling",
    "distill_student",
    "network_shape",
    "new_network",
    "open_targets",
    "prune_student",
    "train_teacher",
]

OnEpoch = Callable[[EpochReport], None]
OnStep = Callable[[int, int, int], None]


@dataclass(frozen=True)
class StudentConfig:
    """A student, the loss it is trained with and its training settings."""

    method: str
    """A name in ``LOSSES``."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """The loss's hyperparameters: alpha1, alpha2, alpha3, alpha, beta as the method has them."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    channels: tuple[BlockChannels, ...] = STUDENT_CHANNELS
    pairs: int | None = None
    """Number of sampled pairs of sensors that SCD compares per time step; None: all pairs."""
    form: NetworkForm = field(default_factory=NetworkForm)
    family: str = DEFAULT_FAMILY

    def __post_init__(self) -> None:
        """Check that ``method`` can sample ``pairs``."""
        check_sampling(self.method, self.pairs)


def check_sampling(method: str, pairs: int | None) -> None:
    """Raise ``ConfigError`` if ``pairs`` is not a valid number or ``method`` compares no pairs."""
    if pairs is None:
        return
    check_pairs(pairs)
    sampling = [name for name, loss in LOSSES.items() if "spatial" in loss.needs]
    if method not in sampling:
        raise ConfigError(
            f"pairs are for methods with SCD, {' and '.join(sampling)}, got {method!r}; "
            "leave pairs out or choose one of these"
        )


@dataclass(frozen=True)
class TrainedStudent:
    """A student with the weights of its best validation epoch."""

    model: SingleNetwork
    metrics: dict[str, float]
    """Metrics of that epoch."""
    best_epoch: int
    epochs: int
    """Epochs trained, at most those configured."""
    seconds: float
    trajectory: list[PruningStep] | None = None
    """Size and error of a pruned student over its training, whose masks are ``model.config.kept``;
    None of an unpruned one."""


@dataclass(frozen=True)
class TargetStorage:
    """Where the teacher targets are stored on this machine, and how much memory they may take."""

    folder: Path | None = None
    """The folder of all teachers' targets, on a local disk; None: in each teacher's folder."""
    memory_budget: int = MEMORY_BUDGET
    """Most bytes of the targets of one teacher."""

    def folder_of(self, teacher: Teacher) -> Path:
        """Return the folder of the targets of ``teacher``, whether they exist or not."""
        if self.folder is None:
            return teacher.targets_folder
        return self.folder / teacher.fingerprint / TARGETS_FOLDER


@dataclass(frozen=True)
class DistillationObjective:
    """Computes a loss on the student's outputs and the teacher targets of each batch."""

    loss: Loss
    targets: TeacherTargets | None
    pairs: int | None = None
    """See ``StudentConfig``."""
    seed: int = 0
    """Seed of the sampled pairs."""

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> LossValue:
        """Compute the loss of one batch (``core.training.interface.Objective``)."""
        teacher = TeacherOutput()
        if self.targets is not None:
            ahead = prediction.shape[1] if prediction.ndim == 3 else None
            teacher = self.targets.of(rows, self.loss.needs, features.windows_per_segment, ahead)
            features = self.targets.compared(features)
        if self.pairs is not None:
            teacher = replace(teacher, pairs=sample_pairs(self.pairs, self.seed, rows))
        return self.loss(prediction, features, target, teacher)


def network_shape(
    data: PreparedData,
    channels: tuple[BlockChannels, ...],
    form: NetworkForm,
    family: str = DEFAULT_FAMILY,
) -> NetworkConfig:
    """Return the shape of a network of some ``form`` that forecasts the horizon of ``data``.

    Raises:
        ConfigError: the ``family`` has no such network.
    """
    return find_family(family).config(
        data.card.num_sensors,
        channels,
        data.history_steps,
        **form_fields(family, form),
        horizon_steps=data.horizon_steps,
    )


def new_network(config: NetworkConfig, graph_kernel: GraphKernel, seed: int) -> SingleNetwork:
    """Return a network whose initial weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        return build(config, graph_kernel.cpu()).to(graph_kernel.device)


def train_teacher(
    data: PreparedData,
    config: TeacherConfig,
    storage: Path,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
) -> Teacher:
    """Train the teacher that ``config`` describes, or return it if it has been trained already.

    Args:
        data: on the device to train on.
        config: shape and training.
        storage: root folder of the teachers (``core.training.teachers``).
        on_epoch: see ``Trainer.run``.
        on_step: see ``Trainer.run``.
    """
    folder = teacher_folder(storage, config.fingerprint_for(data))
    with exclusive_lock(folder / "training.lock"):
        if (folder / TEACHER_FILE).exists():
            return open_teacher(folder)
        checkpoints = CheckpointFolder(folder / CHECKPOINTS_FOLDER)
        objective = _plain_objective(config.training)
        shape = network_shape(data, config.channels, config.form, config.family)
        model = new_network(shape, data.graph_kernel, config.training.seed)
        trainer = Trainer(model, data, objective, config.training, checkpoints)
        metrics = trainer.run(on_epoch, on_step)
        metadata = {
            "dataset_fingerprint": data.fingerprint,
            "settings": config.to_json(),
            "metrics": metrics,
            "seconds": trainer.state.seconds,
            "gaps": data.gaps,
        }
        save_model(folder / TEACHER_FILE, model, metadata)
        checkpoints.clear()
    return open_teacher(folder)


def open_targets(
    data: PreparedData,
    teacher: Teacher,
    needs: Collection[str],
    storage: TargetStorage,
    on_progress: OnProgress | None = None,
    students: Students | None = None,
) -> TeacherTargets:
    """Map the targets of ``teacher`` that a loss needs; the first caller on a machine builds them.

    Args:
        data: what the teacher was trained on, on the device to train on.
        teacher: a trained teacher.
        needs: see ``Loss.needs``.
        storage: where targets are stored.
        on_progress: see ``OnProgress``; not called if the targets exist.
        students: whom it teaches; None: networks like it that predict the whole horizon.
    """
    return load_teacher_targets(
        storage.folder_of(teacher),
        teacher.load(data),
        data,
        needs,
        storage.memory_budget,
        on_progress,
        students,
    )


def distill_student(
    data: PreparedData,
    teacher: Teacher | None,
    config: StudentConfig,
    checkpoints: CheckpointFolder | None,
    on_epoch: OnEpoch,
    storage: TargetStorage | None = None,
    cuda_graphs: bool = False,
) -> TrainedStudent:
    """Train one student with one loss.

    Args:
        data: on the device to train on.
        teacher: None if the method needs none.
        config: the trial's settings.
        checkpoints: of this run, to resume from; None: keep none.
        on_epoch: called after every epoch.
        storage: where teacher targets are stored; None: in the teacher's folder.
        cuda_graphs: record and replay training steps (``core.training.step_replay``).

    Raises:
        ConfigError: the settings cannot be met.
        TrainingDivergedError: the loss or the validation error is not finite.
    """
    loss = make_loss(config.method, config.weights, config.training.error)
    _check_teacher(config.method, loss, teacher)
    recorder = _recorder_for(data) if cuda_graphs else None
    shape = network_shape(data, config.channels, config.form, config.family)
    targets = _load_targets(loss, teacher, data, storage, shape)
    model = new_network(shape, data.graph_kernel, config.training.seed)
    seed = derived_seed(config.training.seed, "pairs")
    objective = DistillationObjective(loss, targets, config.pairs, seed)
    trainer = Trainer(model, data, objective, config.training, checkpoints, recorder=recorder)
    metrics = trainer.run(on_epoch)
    state = trainer.state
    return TrainedStudent(model, metrics, state.best_epoch, state.epoch, state.seconds)


def prune_student(
    data: PreparedData,
    base: Teacher,
    teacher: Teacher | None,
    config: PruningConfig,
    checkpoints: CheckpointFolder | None,
    on_epoch: OnEpoch,
    storage: TargetStorage | None = None,
) -> TrainedStudent:
    """Train one student by pruning ``base`` while distilling from ``teacher`` (Algorithm 1).

    Args:
        data: on the device to train on.
        base: the network to prune, trained on this data: the teacher itself, or a network of
            ``PRUNING_BASE_CHANNELS``.
        teacher: None if the method needs none.
        config: the trial's settings.
        checkpoints: of this run, to resume from; None: keep none.
        on_epoch: called after every epoch, of the loop and of the fine-tuning.
        storage: where teacher targets are stored; None: in the teacher's folder.

    Raises:
        ConfigError: the settings cannot be met; before anything is trained.
        TrainingDivergedError: the loss or the validation error is not finite.
    """
    loss = make_loss(config.method, config.weights, config.training.error)
    _check_teacher(config.method, loss, teacher)
    for role, network in {"base": base, "teacher": teacher}.items():
        if network is not None and network.dataset_fingerprint != data.fingerprint:
            raise ConfigError(
                f"the {role} must have been trained on {data.card.name}, but {network.fingerprint} "
                f"was trained on other data; train a {role} on it first"
            )
    start = base.load_single(data)
    # Refuse an unreachable target before the teacher targets are built, which takes a while.
    plan_pruning(start.config, data, config)
    targets = _load_targets(loss, teacher, data, storage, start.config)
    objective = DistillationObjective(loss, targets)
    plain = _plain_objective(config.training)
    found = prune(start, data, objective, plain, config, checkpoints, on_epoch)
    return TrainedStudent(**vars(found))


def _plain_objective(training: TrainingConfig) -> DistillationObjective:
    return DistillationObjective(make_loss("none", {}, training.error), targets=None)


def _check_teacher(method: str, loss: Loss, teacher: Teacher | None) -> None:
    if loss.needs and teacher is None:
        raise ConfigError(f"method {method} needs a teacher; train one first")


def _recorder_for(data: PreparedData) -> Recorder:
    device = data.readings.device
    if device.type != "cuda":
        raise ConfigError(f"CUDA graphs need a GPU, got data on the {device}; train without them")
    return CudaGraphs()


def _load_targets(
    loss: Loss,
    teacher: Teacher | None,
    data: PreparedData,
    storage: TargetStorage | None,
    student: NetworkConfig,
) -> TeacherTargets | None:
    if teacher is None or not loss.needs:
        return None
    return open_targets(
        data,
        teacher,
        loss.needs,
        storage or TargetStorage(),
        students=Students.like(student),
    )
