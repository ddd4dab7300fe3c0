"""Define the settings of a sweep, check them, and convert them to JSON and back.

Holds what is the same for all trials; what varies between trials is the search space's. Starts
nothing.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final, Literal

from core.distillation.memory_budget import MEMORY_BUDGET
from core.errors import ConfigError, UnknownNameError
from core.families import DEFAULT_FAMILY, FAMILIES, form_fields
from core.files import check_name
from core.forms import DEFAULT_FORM, FORMS, find_form
from core.preprocessing.gaps import CAUSAL, GAP_RULES, INTERPOLATE, check_gap_rule
from core.training.teacher_files import MEAN, WEIGHTINGS
from hpo.space.objectives import read_objectives
from hpo.space.parameters import PRUNE
from hpo.space.plain_numbers import read_decimal

AUTO: Final = "auto"
BASES = ("table1", "teacher")
"""What pruning starts from: the pruning base of Table 1, or the teacher itself."""
NETWORKS = ("student", "teacher")
"""What a sweep trains from scratch."""
PRUNING_LOSS: Final = "stcd"
"""The loss that teaches while pruning, unless another one is chosen."""

_COUNTS = (
    "trials",
    "epochs",
    "cpus_per_trial",
    "max_concurrent",
    "max_parameters",
    "keep_checkpoints",
    "pairs",
)


def read_gpus(text: str) -> float | Literal["auto"]:
    """Return what ``--gpus-per-trial`` says.

    Raises:
        ConfigError: neither a number nor ``auto``.
    """
    try:
        return "auto" if text == AUTO else read_decimal(text)
    except ValueError as error:
        raise ConfigError(f"--gpus-per-trial takes a number or auto, got {text!r}") from error


@dataclass(frozen=True)
class SweepConfig:
    """The settings of one sweep: trials of one method on one dataset.

    Each field is also an option of ``hpo sweep``; ``hpo.cli.settings_options`` says what its
    metadata may hold.
    """

    name: str
    method: str
    dataset: str = field(metadata={"help": "A dataset's name; `hpo data list` shows them."})
    trials: int = field(default=20, metadata={"help": "How many configurations to try."})
    epochs: int = field(
        default=30,
        metadata={"help": "The most epochs of a trial; of prune without the fine-tuning."},
    )
    sampler: str = field(default="tpe", metadata={"help": "{samplers}; auto chooses one."})
    scheduler: str = field(
        default="none", metadata={"help": "none, or {schedulers} to stop bad trials early."}
    )
    stop_when_settled: bool = field(
        default=False,
        metadata={
            "help": "End once what more trials could gain is below what another seed changes; "
            "after 20 trials the best runs on three seeds for that.",
        },
    )
    """How: ``hpo.search.settling``."""
    gaps: str = field(
        default=CAUSAL,
        metadata={
            "help": "How missing readings are filled: causal, from earlier ones, or interpolate, "
            "as the paper does; such errors look ahead.",
            "metavar": "|".join(GAP_RULES),
        },
    )
    """See ``core.preprocessing.gaps``. No trial of one rule is compared with one of the other."""
    objective: str = field(
        default="val_mae",
        metadata={
            "help": "What to minimise: {objectives}; after commas also costs, {costs}, as in "
            "val_mae,parameters,latency_ms."
        },
    )
    max_parameters: int | None = field(
        default=None,
        metadata={"help": "The most a student may have; what prune goes to by itself."},
    )
    max_latency_ms: float | None = field(
        default=None,
        metadata={"help": "The longest a student's forecast may take here, on one CPU thread."},
    )
    """How it is measured: ``hpo.trials.student_costs``."""
    form: str = field(
        default=DEFAULT_FORM,
        metadata={
            "help": "Of students and teacher: direct forecasts 45 minutes in one pass, paper step "
            "by step; the search space may vary it.",
            "metavar": "|".join(FORMS),
        },
    )
    """See ``core.forms``. Where the teacher is not named, it is one of this form."""
    family: str = field(
        default=DEFAULT_FAMILY,
        metadata={
            "help": "What kind of networks the students are, whoever teaches them.",
            "metavar": "|".join(FAMILIES),
        },
    )
    """See ``core.families``. A teacher that is not named is an STGCN."""
    network: str = field(
        default=NETWORKS[0],
        metadata={
            "help": "What is trained: students, or networks with the widths of a teacher.",
            "metavar": "|".join(NETWORKS),
        },
    )
    """``teacher``: every trial has the widths of the form's teacher, whatever the space says."""
    base: str | None = field(
        default=None,
        metadata={
            "help": "What prune starts from: the pruning base of Table 1, or the teacher.",
            "metavar": "|".join(BASES),
            "show_default": BASES[0],
        },
    )
    loss: str | None = field(
        default=None,
        metadata={
            "help": "What teaches while pruning; none prunes alone.",
            "show_default": PRUNING_LOSS,
        },
    )
    seed: int = field(default=0, metadata={"help": "Of the sampler and of every trial."})
    teacher: str | None = field(
        default=None, metadata={"help": "A teacher's fingerprint; by default the best there is."}
    )
    """None where there is none yet: a new one is trained."""
    teachers: str | None = field(
        default=None,
        metadata={
            "help": "Several that teach as one, between commas: fingerprints, exports, or "
            "best:NAME:K, the K best confirmed students of a sweep.",
            "metavar": "A,B,…",
        },
    )
    """What it may hold: ``hpo.teachers.named_members``."""
    teacher_weighting: str = field(
        default=MEAN,
        metadata={
            "help": "How several teachers' forecasts are weighed: alike, or by what fits the "
            "training days best.",
            "metavar": "|".join(WEIGHTINGS),
        },
    )
    cpus_per_trial: int = field(default=1, metadata={"help": "CPU cores of a trial."})
    gpus_per_trial: float | Literal["auto"] | None = field(
        default=None,
        metadata={
            "help": "GPUs of a trial, or a share of one; auto measures it.",
            "metavar": "NUMBER|auto",
            "read": read_gpus,
        },
    )
    """None: one if the cluster has GPUs, else none; ``auto``: as large a share as a trial was
    measured to need (``hpo.trials.gpu_share``)."""
    max_concurrent: int | None = field(
        default=None,
        metadata={"help": "Trials at once; by default as many as there is room for."},
    )
    targets_gigabytes: float = field(
        default=MEMORY_BUDGET / 1e9,
        metadata={"help": "Memory for what is stored of the teacher, on each machine."},
    )
    """What does not fit is stored in a smaller form, or computed by the teacher for every batch."""
    keep_checkpoints: int | None = field(
        default=None,
        metadata={"help": "Keep the students of so many trials, the best; by default of all."},
    )
    pairs: int | None = field(
        default=None,
        metadata={"help": "Pairs of sensors SCD compares per time step; by default all."},
    )
    cuda_graphs: bool = field(
        default=False,
        metadata={"help": "Replay recorded training steps: fewer GPU launches."},
    )
    """See ``core.training.step_replay``."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot run."""
        check_name("sweep", self.name)
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{_option(name)} must be at least 1, got {value}")
        check_seed(self.seed)
        if self.gpus_per_trial is not None:
            _check_gpus(self.gpus_per_trial)
        if self.max_latency_ms is not None and not 0 < self.max_latency_ms < math.inf:
            raise ConfigError(f"--max-latency-ms must be above 0, got {self.max_latency_ms}")
        if not 0 <= self.targets_gigabytes < math.inf:
            raise ConfigError(
                f"--targets-gigabytes must be at least 0, got {self.targets_gigabytes}"
            )
        read_objectives(self.objective)
        form_fields(self.family, find_form(self.form).network)
        check_gap_rule(self.gaps)
        if self.network not in NETWORKS:
            raise UnknownNameError("network", self.network, NETWORKS)
        self._check_settling()
        self._check_teachers()
        self._check_pruning()

    @property
    def objectives(self) -> tuple[str, ...]:
        """The names of all objectives, all minimised."""
        return read_objectives(self.objective)

    @property
    def metric(self) -> str:
        """The first objective: the validation error that trials are ranked by."""
        return self.objectives[0]

    @property
    def loss_name(self) -> str:
        """The loss that teaches, a name in ``LOSSES``."""
        return (self.loss or PRUNING_LOSS) if self.method == PRUNE else self.method

    @property
    def base_name(self) -> str | None:
        """The network that pruning starts from; None where nothing is pruned."""
        return (self.base or BASES[0]) if self.method == PRUNE else None

    def _check_teachers(self) -> None:
        if self.teacher_weighting not in WEIGHTINGS:
            raise UnknownNameError("weighting of teachers", self.teacher_weighting, WEIGHTINGS)
        if self.teachers is None:
            if self.teacher_weighting != MEAN:
                raise ConfigError(
                    "--teacher-weighting weighs several teachers, but none are named; name them by "
                    "--teachers, or leave it out"
                )
            return
        if self.teacher is not None:
            raise ConfigError(
                "--teacher names one and --teachers several, got both; keep one of them"
            )
        if self.base_name == "teacher":
            raise ConfigError(
                "--base teacher prunes one network, but --teachers names several; prune the "
                "pruning base, --base table1"
            )

    def _check_settling(self) -> None:
        if self.stop_when_settled and len(self.objectives) > 1:
            raise ConfigError(
                f"--stop-when-settled needs one objective, got {self.objective}; leave one of both"
            )

    def _check_pruning(self) -> None:
        given = {"--base": self.base, "--loss": self.loss}
        for option, value in given.items():
            if value is not None and self.method != PRUNE:
                raise ConfigError(
                    f"{option} is for method {PRUNE}, got method {self.method}; leave it out"
                )
        if self.cuda_graphs and self.method == PRUNE:
            raise ConfigError(
                f"--cuda-graphs replays steps of one network, which {PRUNE} changes; leave it out"
            )
        if self.network != NETWORKS[0] and self.method == PRUNE:
            raise ConfigError(
                f"--network says what is trained from scratch, but {PRUNE} starts from its --base; "
                "leave it out"
            )
        if self.base is not None and self.base not in BASES:
            raise UnknownNameError("base", self.base, BASES)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> SweepConfig:
        """Read what ``to_json`` returned, or JSON of it; unknown keys are errors.

        Sweeps that began when there was one form, and one rule for gaps, do not name them.
        """
        values = {"form": "paper", "gaps": INTERPOLATE, **values}
        for name in values:
            if name not in {field.name for field in fields(cls)}:
                raise UnknownNameError("sweep setting", name, [field.name for field in fields(cls)])
        try:
            return cls(**values)
        except TypeError as error:
            raise ConfigError(
                f"a sweep needs name, method and dataset, got {json.dumps(values)}"
            ) from error


def check_seed(seed: int) -> None:
    """Raise ``ConfigError`` unless ``seed`` is one that all generators take."""
    if not 0 <= seed < 2**32:
        raise ConfigError(f"--seed must be from 0 to {2**32 - 1}, got {seed}")


def _check_gpus(gpus: float | str) -> None:
    if gpus == AUTO:
        return
    # Written so that NaN is refused too.
    if isinstance(gpus, str) or not 0 <= gpus < math.inf:
        raise ConfigError(f"--gpus-per-trial must be auto, or not negative or infinite, got {gpus}")
    if gpus > 1 and gpus % 1:
        raise ConfigError(
            f"--gpus-per-trial must be at most 1 or a whole number, got {gpus}; "
            "a trial cannot share parts of several GPUs"
        )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
