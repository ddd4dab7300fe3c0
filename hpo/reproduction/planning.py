"""Find the sweeps that tables need, and what is left to run of them.

A row's sweep is found by its name, or is any other of the same settings, space and data. Checks
everything before anything is trained. Trains and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean

from core.datasets.loading import load_dataset
from core.errors import ConfigError, StorageError
from core.families import DEFAULT_FAMILY
from core.files import log_left_out
from core.preprocessing.prepare import PreparedData, prepare
from hpo.planning.networks import find_networks, needs_teacher, student_sizes
from hpo.planning.places import Places
from hpo.planning.space_fitting import check_objectives, fit_space
from hpo.records.ledger import read_ledger
from hpo.records.ranking import configurations, ranked_records
from hpo.records.sweep_folder import SweepFolder, all_sweeps
from hpo.records.sweep_plan import SweepPlan, extended_plan
from hpo.records.trial_records import TrialRecord, read_records
from hpo.report.paper import MAIN, PaperDataset, paper_dataset, paper_datasets
from hpo.reproduction.contenders import CONTENDERS, Contender
from hpo.reproduction.request import ReproductionRequest
from hpo.reproduction.starts import held_at_first_start, most_parameters, search_space
from hpo.reproduction.tables import PaperTable, contenders_of
from hpo.search.schedulers import make_scheduler
from hpo.space.search_space import SearchSpace
from hpo.sweep_config import SweepConfig
from hpo.trials.student_costs import timed_once


@dataclass(frozen=True)
class Part:
    """One row: its sweep, and how far it is."""

    contender: Contender
    config: SweepConfig
    space: SearchSpace
    """Fitted to the sweep."""
    seeds: int
    fixed: bool
    """Whether the sweep's own trials are the runs that are compared."""
    folder: SweepFolder
    """Of the sweep, whether it exists or not."""

    @property
    def exists(self) -> bool:
        """Whether the sweep has begun."""
        return self.folder.plan_file.is_file()

    @property
    def home(self) -> SweepFolder:
        """The folder of the runs that are compared."""
        return self.folder if self.fixed else self.folder.confirmation

    @property
    def searched(self) -> int:
        """Trials of the search that have ended; 0 where nothing is searched."""
        return 0 if self.fixed else read_ledger(self.folder.ledger_file).num_ended

    @property
    def trials(self) -> int:
        """Trials that the search is to have; 0 where nothing is searched."""
        return 0 if self.fixed else self.config.trials

    def chosen(self) -> TrialRecord | None:
        """Return the record of the configuration that is compared: the search's best trial."""
        ranked = ranked_records(read_records(self.folder.results), self.config.metric)
        found = configurations(ranked)
        return found[0] if found else None

    def runs(self) -> list[TrialRecord]:
        """Return the ended runs of that configuration, by trial number."""
        chosen = self.chosen()
        if chosen is None:
            return []
        return [run for run in read_records(self.home.results) if run.settings == chosen.settings]

    def left(self) -> int:
        """Return how many trainings are missing, of the search and of the seeds."""
        if self.fixed:
            return max(0, self.seeds - read_ledger(self.folder.ledger_file).num_ended)
        search = max(0, self.trials - self.searched)
        return search + (self.seeds if search else max(0, self.seeds - len(self.runs())))


@dataclass(frozen=True)
class ReproductionPlan:
    """All that is needed for some tables of one dataset."""

    request: ReproductionRequest
    tables: list[PaperTable]
    places: Places
    data: PreparedData
    paper: PaperDataset | None
    """What the paper reports of the same sensors; of other data nothing."""
    parts: list[Part]

    @property
    def left(self) -> int:
        """Number of trainings that are missing."""
        return sum(part.left() for part in self.parts)

    def teacher(self) -> str | None:
        """Return the fingerprint of the one teacher of all sweeps that have begun.

        Raises:
            ConfigError: they have different ones.
        """
        taught = {
            plan.teacher_fingerprint: plan.config.name
            for part in self.parts
            if part.exists and needs_teacher(part.config)
            for plan in [part.folder.read_plan()]
        }
        if len(taught) > 1:
            raise ConfigError(
                "rows are comparable if one teacher taught all of them, but sweeps "
                f"{' and '.join(taught.values())} have different ones; delete all but one"
            )
        return next(iter(taught), None)

    @cached_property
    def seconds_per_training(self) -> float | None:
        """Mean seconds of an ended training of this data and as many epochs; None without any."""
        found = [
            record.seconds / record.epochs
            for sweep in all_sweeps(self.places.storage)
            for record in read_records(sweep.results)
            if record.dataset_fingerprint == self.data.fingerprint
            and (record.form, record.family) == (self.request.form, DEFAULT_FAMILY)
            and record.epochs
        ]
        return fmean(found) * self.request.all_epochs if found else None


def plan_reproduction(
    request: ReproductionRequest, tables: Sequence[PaperTable], places: Places
) -> ReproductionPlan:
    """Find and check the sweeps of all rows of some tables.

    Raises:
        UserError: before anything is trained, with what to do about it.
    """
    data = prepare(load_dataset(places.data, request.dataset))
    make_scheduler(request.scheduler, metric="val_mae", mode="min", epochs=request.all_epochs)
    paper = paper_dataset(data.card.num_sensors, data.card.unit)
    own = paper or paper_datasets()[MAIN]
    known = _Known(places, data, most_parameters(request, data))
    parts = [_part(request, CONTENDERS[name], known, own) for name in contenders_of(tables)]
    return ReproductionPlan(request, list(tables), places, data, paper, parts)


class _Known:
    """The data, and the sweeps of it that exist."""

    def __init__(self, places: Places, data: PreparedData, most: int) -> None:
        self.places, self.data, self.most = places, data, most
        self.latency_of = timed_once(data)
        self._folders = all_sweeps(places.storage)  # downloads them where they are elsewhere

    @cached_property
    def sweeps(self) -> list[tuple[SweepFolder, SweepPlan]]:
        """Those whose plan is whole; only read where some row has no sweep of its own."""
        return _readable(self._folders)


def _readable(folders: Sequence[SweepFolder]) -> list[tuple[SweepFolder, SweepPlan]]:
    """Return the sweeps whose plan is whole; the others are left out, and said to be."""
    whole = []
    for folder in folders:
        try:
            whole.append((folder, folder.read_plan()))
        except StorageError as error:
            log_left_out(f"sweep {folder.name!r}", error)
    return whole


def _part(
    request: ReproductionRequest, contender: Contender, known: _Known, paper: PaperDataset
) -> Part:
    config = request.sweep_config(contender, known.most)
    check_objectives(config)
    networks = find_networks(config, known.places.storage, known.data)
    sizes = student_sizes(config, known.data, networks.base)
    space = fit_space(search_space(request, contender, paper), sizes, known.latency_of)
    if request.fixed:
        space = fit_space(held_at_first_start(space, sizes), sizes, known.latency_of)
    folder = SweepFolder(known.places.storage.resolve() / config.name)
    part = Part(contender, config, space, request.seeds, request.fixed, folder)
    if folder.plan_file.exists():
        _check_same(part, folder.read_plan(), known.data)
        return part
    return _shared(part, known)


def _check_same(part: Part, plan: SweepPlan, data: PreparedData) -> None:
    """Refuse a sweep of the name that a row's sweep would have, but of something else."""
    if plan.dataset_fingerprint != data.fingerprint:
        raise ConfigError(
            f"sweep {part.config.name!r} began with other data, for dataset "
            f"{part.config.dataset!r} has changed since; `hpo delete {part.config.name}` first, or "
            "import the data under another name"
        )
    if not _is_same(part, plan):
        raise ConfigError(
            f"sweep {part.config.name!r} must have the settings of this version, but began with "
            f"others; `hpo delete {part.config.name}` first"
        )


def _shared(part: Part, known: _Known) -> Part:
    """Return the row with another sweep that is the same search, if there is one."""
    for folder, plan in known.sweeps:
        if plan.dataset_fingerprint != known.data.fingerprint:
            continue
        extended = extended_plan(plan, read_ledger(folder.ledger_file))
        if not part.fixed and _is_same(part, extended) and _has_trials(part, extended):
            return replace(part, folder=folder)
    return part


def _is_same(part: Part, plan: SweepPlan) -> bool:
    """Whether a sweep searches the same space with the same settings, whatever its name."""
    same = replace(
        plan.config, name=part.config.name, trials=part.config.trials, teacher=part.config.teacher
    )
    return same == part.config and plan.space.fingerprint == part.space.fingerprint


def _has_trials(part: Part, plan: SweepPlan) -> bool:
    return plan.config.trials == part.config.trials
