"""Find and open trained teachers on the disk, by a fingerprint of their data and settings.

The same data and settings have the same fingerprint, so an existing teacher is found instead of
being trained again. Does not train (``core.experiments`` does).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from core.checkpoint import load_file, load_model, load_network
from core.ensemble import Network
from core.errors import CheckpointError, ConfigError, UnknownNameError
from core.families import DEFAULT_FAMILY, NetworkConfig, find_family, form_fields, read_config
from core.families.networks import SingleNetwork
from core.files import fingerprint, log_left_out
from core.forms import find_form, form_of
from core.preprocessing.gaps import INTERPOLATE
from core.preprocessing.prepare import PreparedData
from core.stgcn import TEACHER_CHANNELS, BlockChannels
from core.stgcn_config import NetworkForm
from core.training.teacher_files import TARGETS_FOLDER, TEACHER_FILE, teacher_folder
from core.training.trainer import TrainingConfig

DEFAULT_TRAINING = TrainingConfig(
    epochs=18,
    learning_rate=2e-3,
    optimizer="adam",
    schedule="cosine",
    windows_per_segment=5,
    patience=6,
)
"""Segments of windows are no less accurate for the same training time (docs/RESULTS.md)."""
DIRECT_TRAINING = replace(
    DEFAULT_TRAINING, epochs=30, learning_rate=3e-3, error="mae", patience=None
)
"""How it was chosen: docs/RESULTS.md."""
TRAININGS = {"paper": DEFAULT_TRAINING}
"""Of teachers by their form; ``DIRECT_TRAINING`` of all others, with their own error."""


@dataclass(frozen=True)
class TeacherConfig:
    """A teacher's shape and training."""

    channels: tuple[BlockChannels, ...] = TEACHER_CHANNELS
    training: TrainingConfig = field(default=DEFAULT_TRAINING)
    form: NetworkForm = field(default_factory=NetworkForm)
    family: str = DEFAULT_FAMILY

    def fingerprint_for(self, data: PreparedData) -> str:
        """Return the fingerprint of the teacher with this config on ``data``."""
        return fingerprint([data.fingerprint, data.history_steps, self.to_json()])

    def to_json(self) -> dict[str, Any]:
        """Return plain values without the paper's own: its fingerprints never change."""
        fields = asdict(self)
        if self.training.error == "mse":
            del fields["training"]["error"]
        fields["form"] = self.form.to_json()
        if self.form == NetworkForm():
            del fields["form"]
        if self.family == DEFAULT_FAMILY:
            del fields["family"]
        return fields


@dataclass(frozen=True)
class Teacher:
    """A trained teacher."""

    folder: Path
    configs: tuple[NetworkConfig, ...]
    """Shapes of its networks: one, or those of an ensemble."""
    dataset_fingerprint: str
    settings: dict[str, Any]
    metrics: dict[str, float]
    """Metrics of its best epoch, such as ``val_mae``."""
    seconds: float
    """Training time."""
    gaps: str = INTERPOLATE
    """How gaps in its data were filled; teachers from before there were two rules do not say it."""

    @property
    def fingerprint(self) -> str:
        """Hash of training data and settings; the folder's name."""
        return self.folder.name

    def load(self, data: PreparedData) -> Network:
        """Load the network or the ensemble onto the device of ``data``, without gradients."""
        network, _ = load_network(self.folder / TEACHER_FILE, data.graph_kernel)
        return network.to(data.readings.device).requires_grad_(False)

    def load_single(self, data: PreparedData) -> SingleNetwork:
        """Load the one network, to prune it; otherwise like ``load``.

        Raises:
            ConfigError: it is an ensemble.
        """
        self._check_single()
        model, _ = load_model(self.folder / TEACHER_FILE, data.graph_kernel)
        return model.to(data.readings.device).requires_grad_(False)

    @property
    def config(self) -> NetworkConfig:
        """The shape of its one network.

        Raises:
            ConfigError: it is an ensemble.
        """
        self._check_single()
        return self.configs[0]

    @property
    def is_ensemble(self) -> bool:
        """Whether it consists of several networks."""
        return len(self.configs) > 1

    @property
    def families(self) -> set[str]:
        """The families of its networks."""
        return {config.family for config in self.configs}

    @property
    def form(self) -> str | None:
        """The form of its networks; None where they have none that is named, or differ."""
        forms = {form_of(config) for config in self.configs}
        return forms.pop() if len(forms) == 1 else None

    @property
    def is_pruning_base(self) -> bool:
        """Whether it was trained to be pruned: it has the channels of its family's pruning base."""
        if self.is_ensemble or "sweep" in self.settings:
            return False
        return self.config.channels == find_family(self.config.family).pruning_base

    def _check_single(self) -> None:
        if self.is_ensemble:
            raise ConfigError(
                f"what is pruned must be one network, but {self.fingerprint} is an ensemble of "
                f"{len(self.configs)}; name one of its members"
            )

    @property
    def targets_folder(self) -> Path:
        """Default folder of its teacher targets, whether they exist or not."""
        return self.folder / TARGETS_FOLDER


def open_teacher(folder: Path) -> Teacher:
    """Read the metadata of the teacher in ``folder``, not its network.

    Raises:
        CheckpointError: its file is missing or damaged, or holds something else.
    """
    _, metadata = load_file(folder / TEACHER_FILE)
    try:
        shapes = metadata.pop("members") if "members" in metadata else [metadata.pop("config")]
        configs = tuple(read_config(shape) for shape in shapes)
        teacher = Teacher(folder, configs, **metadata)
        float(teacher.metrics["val_mae"])  # by which teachers are ranked
    # ValueError, AttributeError: settings that no network can have, and values of other types.
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{folder} must hold a teacher: {error}; train it again") from error
    return teacher


def default_teacher(form: str, family: str = DEFAULT_FAMILY) -> TeacherConfig:
    """Return the teacher of a form and family that is trained where no other is asked for.

    Raises:
        UnknownNameError: no such form or family.
        ConfigError: the family has no networks of that form.
    """
    found, widths = find_form(form), find_family(family).teacher or find_form(form).teacher
    network = found.with_rank(found.teacher_rank)
    form_fields(family, network)
    training = TRAININGS.get(form, replace(DIRECT_TRAINING, error=found.error))
    if family != DEFAULT_FAMILY:
        # Its windows share nothing, so segments of them save nothing.
        training = replace(training, windows_per_segment=1)
    return TeacherConfig(widths, training, network, family)


def find_teachers(storage: Path, dataset_fingerprint: str) -> list[Teacher]:
    """Return the teachers trained on exactly this data, the best by validation MAE first.

    Damaged ones are left out, with a warning: whoever needs one of them opens it by name.
    """
    found = [_opened(folder) for folder in _teacher_folders(storage).values()]
    fitting = [
        one for one in found if one is not None and one.dataset_fingerprint == dataset_fingerprint
    ]
    return sorted(fitting, key=lambda teacher: teacher.metrics["val_mae"])


def best_teacher(
    storage: Path, dataset_fingerprint: str, form: str | None = None
) -> Teacher | None:
    """Return the best teacher of a form trained on exactly this data, or None if there is none.

    With ``form`` None, the best of all forms.
    """
    # The base of pruning, ensembles and networks of other families lie beside the teachers, and
    # teach if asked for by name.
    teachers = [
        one
        for one in find_teachers(storage, dataset_fingerprint)
        if not (one.is_pruning_base or one.is_ensemble or one.families != {DEFAULT_FAMILY})
        and form in (None, one.form)
    ]
    return teachers[0] if teachers else None


def named_teacher(storage: Path, wanted: str, dataset_fingerprint: str) -> Teacher | None:
    """Return the teacher with fingerprint ``wanted``, or None if this data has none.

    Opens no other one, so that a damaged one stands in nobody's way.

    Raises:
        CheckpointError: its file is damaged.
    """
    folder = _teacher_folders(storage).get(wanted)
    teacher = None if folder is None else open_teacher(folder)
    fits = teacher is not None and teacher.dataset_fingerprint == dataset_fingerprint
    return teacher if fits else None


def find_teacher(
    storage: Path, data: PreparedData, wanted: str | None, form: str | None = None
) -> Teacher | None:
    """Return the teacher with fingerprint ``wanted``, or else the best one of ``form``, or None.

    Raises:
        UnknownNameError: there is no teacher ``wanted``.
        ConfigError: it was trained on other data, or with gaps filled otherwise.
        CheckpointError: the file of ``wanted`` is damaged.
    """
    if wanted is None:
        return best_teacher(storage, data.fingerprint, form)
    folder = _teacher_folders(storage).get(wanted)
    if folder is None:
        known = [one.fingerprint for one in find_teachers(storage, data.fingerprint)]
        raise UnknownNameError(f"teacher of {data.card.name}", wanted, known)
    teacher = open_teacher(folder)
    if teacher.dataset_fingerprint != data.fingerprint:
        raise ConfigError(
            f"a teacher must have been trained on {data.card.name} as it is now, with gaps filled "
            f"by the rule {data.gaps}, but {wanted} was trained on other data or with the rule "
            f"{teacher.gaps}; train one by `hpo teacher {data.card.name}`"
        )
    return teacher


def _teacher_folders(storage: Path) -> dict[str, Path]:
    files = teacher_folder(storage, "").glob(f"*/{TEACHER_FILE}")
    return {path.parent.name: path.parent for path in files}


def _opened(folder: Path) -> Teacher | None:
    try:
        return open_teacher(folder)
    except CheckpointError as error:
        log_left_out("a damaged teacher", error)
        return None
