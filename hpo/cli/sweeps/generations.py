"""Chain sweeps whose students teach the next: ``hpo sweep … --generations N``.

NAME is the first sweep, NAME-2 the second and so on. Each is searched, its best configuration is
confirmed on fresh seeds, and these students together are the next one's teacher. The same command
goes on after a stop. Whether a generation is better than the one before is for the user to see.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError, StorageError
from hpo.cli.display.output import Format, console, error_console, print_json

if TYPE_CHECKING:
    from hpo.driver.observers import SweepObserver
    from hpo.planning.places import Places
    from hpo.records.sweep_folder import SweepFolder
    from hpo.records.trial_records import TrialRecord
    from hpo.space.search_space import SearchSpace
    from hpo.sweep_config import SweepConfig

STUDENTS: Final = 5
"""Confirmed students that teach the next generation: seeds of the best configuration."""


def search_generations(
    generations: int,
    config: SweepConfig,
    places: Places,
    space: SearchSpace,
    tensorboard: bool,
    mlflow: str | None,
    output: Format,
) -> None:
    """Run the sweeps and confirmations of all generations that have not ended.

    Args:
        generations: how many, at least one.
        config: of the first; the others differ in name and teachers.
        places: datasets, storage and cluster.
        space: what all of them search.
        tensorboard: whether to log for TensorBoard.
        mlflow: address of an MLflow to log to.
        output: how to print the answer, what each generation's best has over fresh seeds.

    Raises:
        UserError: with what to do about it.
    """
    from core.distillation.losses import LOSSES
    from hpo.records.sweep_folder import find_sweep

    if generations < 1:
        raise ConfigError(f"--generations must be at least 1, got {generations}")
    if generations > 1 and not LOSSES[config.loss_name].needs:
        raise ConfigError(
            f"--generations needs a method that learns from teachers, got {config.loss_name}; use "
            "another method, or one generation"
        )
    wanted = [generation_of(config, at) for at in range(1, generations + 1)]
    for at, own in enumerate(wanted, start=1):
        error_console.print(f"generation {at} of {generations}: {own.name}", highlight=False)
        _search(own, places, space, tensorboard, mlflow)
        _confirm(own.name, places)
    answers = [_answer(find_sweep(places.storage.resolve(), own.name)) for own in wanted]
    if output is Format.json:
        print_json(answers)
    else:
        _show(config.metric, answers)


def generation_of(config: SweepConfig, at: int) -> SweepConfig:
    """Return the settings of one generation's sweep; ``at`` counts from 1."""
    if at == 1:
        return config
    before = generation_of(config, at - 1).name
    taught = f"best:{before}:{STUDENTS}"
    return replace(config, name=f"{config.name}-{at}", teacher=None, teachers=taught)


def _search(
    config: SweepConfig,
    places: Places,
    space: SearchSpace,
    tensorboard: bool,
    mlflow: str | None,
) -> None:
    from hpo.cli.sweeps.sweep import drive_shown
    from hpo.records.sweep_folder import SweepFolder
    from hpo.sweep import resume_sweep, run_sweep

    folder = SweepFolder(places.storage.resolve() / config.name)
    begun = _has_begun(folder, config)

    def run(observer: SweepObserver) -> list[TrialRecord]:
        if begun:
            return resume_sweep(config.name, places, observer)
        return run_sweep(config, places, space, observer)

    drive_shown(run, folder.path, tensorboard, mlflow)


def _has_begun(folder: SweepFolder, config: SweepConfig) -> bool:
    """Whether this generation's sweep is there; refuses another sweep of its name."""
    folder.refresh()
    if not folder.plan_file.exists():
        return False
    if folder.read_plan().config != config:
        raise StorageError(
            f"{config.name!r} must be a sweep of this command, but has other settings; choose "
            "another --name, or repeat the command that began it"
        )
    return True


def _confirm(name: str, places: Places) -> None:
    from hpo.cli.students.confirm import run_shown
    from hpo.outcomes.confirmation_planning import plan_confirmation
    from hpo.records.sweep_folder import find_sweep

    plan = plan_confirmation(find_sweep(places.storage.resolve(), name), STUDENTS, top=1)
    if plan.seconds or plan.runs:
        run_shown(plan, places.address, "the same command")


def _answer(folder: SweepFolder) -> dict[str, Any]:
    from hpo.outcomes.confirmation_runs import ranked_confirmations

    plan, best = folder.read_plan(), ranked_confirmations(folder)[0]
    return {
        "sweep": folder.name,
        "trial": best.trial.trial,
        "teacher": plan.teacher_fingerprint,
        "teacher_error": plan.baselines.get("teacher", {}).get(plan.config.metric),
        **best.summary(),
    }


def _show(metric: str, answers: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from hpo.cli.students.confirm import in_words

    table = Table(
        title=f"{metric} of each generation over fresh seeds", title_justify="left", box=None
    )
    for heading in ("sweep", "its teacher", "best configuration, mean ± spread"):
        table.add_column(heading, no_wrap=True)
    for answer in answers:
        table.add_row(answer["sweep"], f"{answer['teacher_error']:.3f}", in_words(answer))
    console.print(table)
    console.print(f"next: hpo export {answers[-1]['sweep']} --top 1", highlight=False)
