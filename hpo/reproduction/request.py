"""Hold what a reproduction is asked for, and derive the settings of its sweeps from it.

The same request gives the same names, so that asking again goes on with the same sweeps. Reads and
writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from core.errors import ConfigError, UnknownNameError
from core.files import check_name, fingerprint
from core.forms import FORMS, find_form
from hpo.reproduction.contenders import Contender
from hpo.sweep_config import SweepConfig

RECIPES: Final = ("tuned", "paper")
EPOCHS: Final = {"tuned": 30, "paper": 50}
FEWEST_SEEDS: Final = 2
"""A single one gives no interval."""
FINE_TUNING: Final = 1 / 3
"""Share of a pruned student's epochs after the loop; the paper does not say its own."""
_LONGEST_DATASET: Final = 20
"""Characters of its name in the names of sweeps, which have at most 80."""


@dataclass(frozen=True)
class ReproductionRequest:
    """The settings that all rows of a reproduction share."""

    dataset: str = field(metadata={"help": "A dataset's name; `hpo data list` shows them."})
    seeds: int = field(default=5, metadata={"help": "Trainings of each row that are compared."})
    trials: int | None = field(
        default=None,
        metadata={
            "help": "Configurations that each row may search; 0: the first start of its space.",
            "show_default": "12; 0 of recipe paper",
        },
    )
    epochs: int | None = field(
        default=None,
        metadata={
            "help": "Of each training; of a pruned student with its fine-tuning.",
            "show_default": "30; 50 of recipe paper",
        },
    )
    recipe: str = field(
        default=RECIPES[0],
        metadata={
            "help": "tuned: an equal search for every row; paper: its weights, RMSProp and steps.",
            "metavar": "|".join(RECIPES),
        },
    )
    form: str = field(
        default="paper",
        metadata={
            "help": "Of students and teacher: the paper's, or direct, the better forecaster.",
            "metavar": "|".join(FORMS),
        },
    )
    scheduler: str = field(
        default="none", metadata={"help": "none, or {schedulers} to stop bad trials early."}
    )

    def __post_init__(self) -> None:
        """Refuse what could not be compared."""
        check_name("dataset", self.dataset)
        find_form(self.form)
        if self.recipe not in RECIPES:
            raise UnknownNameError("recipe", self.recipe, RECIPES)
        if self.seeds < FEWEST_SEEDS:
            raise ConfigError(
                f"an interval needs --seeds of at least {FEWEST_SEEDS}, got {self.seeds}"
            )
        if self.trials is not None and self.trials < 0:
            raise ConfigError(f"--trials must be at least 0, got {self.trials}")
        if self.epochs is not None and self.epochs < 1:
            raise ConfigError(f"--epochs must be at least 1, got {self.epochs}")
        if self.recipe == "paper":
            self._check_recipe()

    def _check_recipe(self) -> None:
        if self.form != "paper":
            raise ConfigError(
                f"--recipe paper is for --form paper, got {self.form}; --trials 0 compares the "
                "first start of every row in that form"
            )
        if self.trials:
            raise ConfigError(
                f"--recipe paper searches nothing, got --trials {self.trials}; leave one out"
            )

    @property
    def fixed(self) -> bool:
        """Whether nothing is searched: every row has one configuration."""
        return self.recipe == "paper" or self.trials == 0

    @property
    def searched(self) -> int:
        """Trials of the search of each row; 0 where nothing is searched."""
        return 0 if self.fixed else (12 if self.trials is None else self.trials)

    @property
    def all_epochs(self) -> int:
        """Epochs of each training."""
        return self.epochs or EPOCHS[self.recipe]

    @property
    def fine_tuning_epochs(self) -> int:
        """Those of them that a pruned student spends on the plain loss."""
        return int(self.all_epochs * FINE_TUNING)

    def sweep_name(self, contender: Contender) -> str:
        """Return the name of a row's sweep, the same whenever it is asked for."""
        dataset = self.dataset
        if len(dataset) > _LONGEST_DATASET:
            dataset = f"{dataset[:_LONGEST_DATASET]}-{fingerprint(dataset)[:6]}"
        settings = [self.form, self.recipe, f"{self.searched}x{self.all_epochs}"]
        if self.scheduler != "none":
            settings.append(self.scheduler)
        return "-".join(["reproduce", dataset, *settings, contender.name.replace("_", "")])

    def sweep_config(self, contender: Contender, most: int) -> SweepConfig:
        """Return the settings of a row's sweep.

        Args:
            contender: the row.
            most: parameters that a student may have where its shape is searched.
        """
        pruned, direct = contender.base is not None, self.form != "paper"
        # In the paper's form the shape is fixed, or the share to remove is the paper's.
        limited = direct and contender.base != "table1"
        return SweepConfig(
            self.sweep_name(contender),
            contender.method,
            self.dataset,
            trials=self.seeds if self.fixed else self.searched,
            epochs=self.all_epochs - (self.fine_tuning_epochs if pruned else 0),
            scheduler=self.scheduler,
            form=self.form,
            base=contender.base,
            loss=contender.loss if pruned else None,
            max_parameters=most if limited else None,
        )
