"""What a teacher run and a trial do from beginning to end, without any search around them.

Prepared data and settings in, a trained network and its validation errors out. Test days are not
looked at here. A run that is killed goes on from its checkpoints with the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from core.checkpoint import CheckpointFolder, save_model
from core.distillation.correlation.pair_samples import check_pairs, sample_pairs
from core.distillation.interface import LossValue, TeacherOutput
from core.distillation.losses import LOSSES, Loss, make_loss
from core.distillation.target_building import OnProgress
from core.distillation.teacher_targets import (
    MEMORY_BUDGET,
    TeacherTargets,
    load_teacher_targets,
)
from core.errors import ConfigError
from core.files import exclusive_lock
from core.preprocessing.prepare import PreparedData
from core.pruning.algorithm import PruningStep, prune
from core.pruning.config import PruningConfig
from core.pruning.plan import plan_pruning
from core.seeding import derived_seed
from core.shapes import GraphKernel, Rows, WindowValues
from core.stgcn import STGCN, STUDENT_CHANNELS, BlockChannels, Features, STGCNConfig
from core.training.step_replay import CudaGraphs, Recorder
from core.training.teachers import (
    TEACHER_FILE,
    Teacher,
    TeacherConfig,
    open_teacher,
    teacher_folder,
)
from core.training.trainer import EpochReport, Trainer, TrainingConfig

__all__ = [
    "DistillationObjective",
    "OnEpoch",
    "OnStep",
    "PruningConfig",
    "PruningStep",
    "StudentConfig",
    "TrainedStudent",
    "distill_student",
    "new_network",
    "prune_student",
    "train_teacher",
]

OnEpoch = Callable[[EpochReport], None]
OnStep = Callable[[int, int, int], None]


@dataclass(frozen=True)
class StudentConfig:
    """A student, the loss that teaches it and its training."""

    method: str
    """A name in ``LOSSES``."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """The loss's hyperparameters: alpha1, alpha2, alpha3, alpha, beta as the method has them."""
    training: TrainingConfig = field(default_factory=TrainingConfig)
    channels: tuple[BlockChannels, ...] = STUDENT_CHANNELS
    pairs: int | None = None
    """Pairs of sensors that SCD compares per time step, a sample; None: all of them."""

    def __post_init__(self) -> None:
        """Refuse pairs that cannot be sampled."""
        check_sampling(self.method, self.pairs)


def check_sampling(method: str, pairs: int | None) -> None:
    """Raise ``ConfigError`` where ``pairs`` are no number of pairs or ``method`` compares none."""
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

    model: STGCN
    metrics: dict[str, float]
    """Of that epoch."""
    best_epoch: int
    epochs: int
    """Trained, at most those configured."""
    seconds: float
    trajectory: list[PruningStep] | None = None
    """Of a pruned student, whose masks are ``model.config.kept``; else None."""


@dataclass(frozen=True)
class TargetStorage:
    """Where teachers' targets lie on this machine, and how much room they may take."""

    folder: Path | None = None
    """Of all teachers' targets, on a disk of this machine; None: beside each teacher."""
    memory_budget: int = MEMORY_BUDGET
    """Bytes of targets of one teacher."""

    def folder_of(self, teacher: Teacher) -> Path:
        """Return where the targets of ``teacher`` lie or will lie."""
        if self.folder is None:
            return teacher.targets_folder
        return self.folder / teacher.fingerprint / "targets"


@dataclass(frozen=True)
class DistillationObjective:
    """Joins a loss with the teacher's targets for the windows of each batch."""

    loss: Loss
    targets: TeacherTargets | None
    pairs: int | None = None
    """See ``StudentConfig``."""
    seed: int = 0
    """Of the pairs."""

    def __call__(
        self, prediction: WindowValues, features: Features, target: WindowValues, rows: Rows
    ) -> LossValue:
        """Judge one batch (``core.training.trainer.Objective``)."""
        teacher = TeacherOutput()
        if self.targets is not None:
            teacher = self.targets.of(rows, self.loss.needs, features.windows_per_segment)
        if self.pairs is not None:
            teacher = replace(teacher, pairs=sample_pairs(self.pairs, self.seed, rows))
        return self.loss(prediction, features, target, teacher)


def new_network(config: STGCNConfig, graph_kernel: GraphKernel, seed: int) -> STGCN:
    """Return a network whose fresh weights depend on ``seed`` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "weights"))
        return STGCN(config, graph_kernel.cpu()).to(graph_kernel.device)


def train_teacher(
    data: PreparedData,
    config: TeacherConfig,
    storage: Path,
    on_epoch: OnEpoch,
    on_step: OnStep | None = None,
) -> Teacher:
    """Train the teacher that ``config`` describes, or return it if it is there.

    Args:
        data: on the device to train on.
        config: shape and training.
        storage: teachers lie below it (``core.training.teachers``).
        on_epoch: see ``Trainer.run``.
        on_step: see ``Trainer.run``.
    """
    folder = teacher_folder(storage, config.fingerprint_for(data))
    with exclusive_lock(folder / "training.lock"):
        if (folder / TEACHER_FILE).exists():
            return open_teacher(folder)
        checkpoints = CheckpointFolder(folder / "checkpoints")
        objective = DistillationObjective(make_loss("none", {}), targets=None)
        shape = STGCNConfig(data.card.num_sensors, config.channels, data.history_steps)
        model = new_network(shape, data.graph_kernel, config.training.seed)
        trainer = Trainer(model, data, objective, config.training, checkpoints)
        metrics = trainer.run(on_epoch, on_step)
        metadata = {
            "dataset_fingerprint": data.fingerprint,
            "settings": asdict(config),
            "metrics": metrics,
            "seconds": trainer.state.seconds,
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
) -> TeacherTargets:
    """Map what a loss ``needs`` of ``teacher``; whoever asks first on a machine builds it.

    Args:
        data: the teacher's, on the device to train on.
        teacher: a trained one.
        needs: see ``Loss.needs``.
        storage: where targets lie.
        on_progress: see ``OnProgress``; not called where they are there already.
    """
    folder, network = storage.folder_of(teacher), teacher.load(data)
    return load_teacher_targets(folder, network, data, needs, storage.memory_budget, on_progress)


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
        teacher: may be None if the method needs none.
        config: the trial's settings.
        checkpoints: where this very run keeps its states, or None.
        on_epoch: called after every epoch.
        storage: of the teacher's targets; None: beside the teacher.
        cuda_graphs: record a training step and replay it (``core.training.step_replay``).

    Raises:
        ConfigError: the settings cannot be met.
        TrainingDivergedError: the numbers left the finite ones.
    """
    loss = make_loss(config.method, config.weights)
    _check_teacher(config.method, loss, teacher)
    recorder = _recorder_for(data) if cuda_graphs else None
    targets = _load_targets(loss, teacher, data, storage)
    shape = STGCNConfig(data.card.num_sensors, config.channels, data.history_steps)
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
    """Find one student by pruning ``base`` while ``teacher`` teaches it (Algorithm 1).

    Args:
        data: on the device to train on.
        base: what pruning starts from, trained on this data; the teacher itself, or a network of
            ``PRUNING_BASE_CHANNELS``.
        teacher: may be None if the method needs none.
        config: the trial's settings.
        checkpoints: where this very run keeps its states, or None.
        on_epoch: called after every epoch, of the loop and of the fine-tuning.
        storage: of the teacher's targets; None: beside the teacher.

    Raises:
        ConfigError: the settings cannot be met; before anything is trained.
        TrainingDivergedError: the numbers left the finite ones.
    """
    loss = make_loss(config.method, config.weights)
    _check_teacher(config.method, loss, teacher)
    for role, network in {"base": base, "teacher": teacher}.items():
        if network is not None and network.dataset_fingerprint != data.fingerprint:
            raise ConfigError(
                f"the {role} must have been trained on {data.card.name}, but {network.fingerprint} "
                f"was trained on other data; train a {role} on it first"
            )
    start = base.load(data)
    # Refuses what cannot be reached before targets are built, which takes a while.
    plan_pruning(start.config, data, config)
    objective = DistillationObjective(loss, _load_targets(loss, teacher, data, storage))
    plain = DistillationObjective(make_loss("none", {}), targets=None)
    found = prune(start, data, objective, plain, config, checkpoints, on_epoch)
    return TrainedStudent(**vars(found))


def _check_teacher(method: str, loss: Loss, teacher: Teacher | None) -> None:
    if loss.needs and teacher is None:
        raise ConfigError(f"method {method} needs a teacher; train one first")


def _recorder_for(data: PreparedData) -> Recorder:
    device = data.readings.device
    if device.type != "cuda":
        raise ConfigError(f"CUDA graphs need a GPU, got data on the {device}; train without them")
    return CudaGraphs()


def _load_targets(
    loss: Loss, teacher: Teacher | None, data: PreparedData, storage: TargetStorage | None
) -> TeacherTargets | None:
    if teacher is None or not loss.needs:
        return None
    return open_targets(data, teacher, loss.needs, storage or TargetStorage())
