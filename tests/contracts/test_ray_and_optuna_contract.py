"""What this project assumes of Ray Tune and Optuna beyond what they promise, one test each.

Run it against a new version of either before raising its upper bound in ``pyproject.toml``; what
fails says which module to look at. No test starts a cluster.
"""

from __future__ import annotations

import ast
import inspect
import math
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import optuna
import pytest
import ray
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
from packaging.requirements import Requirement
from ray import tune
from ray._common.utils import get_default_ray_temp_dir
from ray._private.utils import validate_socket_filepath
from ray.exceptions import RayTaskError
from ray.tune.execution.class_cache import _ActorClassCache
from ray.tune.execution.tune_controller import TuneController, _get_max_pending_trials
from ray.tune.experiment import Trial
from ray.tune.experimental.output import get_air_verbosity
from ray.tune.schedulers import FIFOScheduler, MedianStoppingRule, TrialScheduler
from ray.tune.search import Searcher
from ray.tune.search.search_generator import SearchGenerator
from ray.tune.utils.callback import _create_default_callbacks

from hpo.driver.ray_tune import WORKER_DEATHS, _Housekeeping
from hpo.internals.optuna_attributes import CMAES_GENERATION, NSGA2_GENERATION
from hpo.internals.optuna_hypervolume import unit_hypervolume
from hpo.internals.optuna_trials import STATES, discard, ended_trial, report_end
from hpo.internals.ray_environment import VARIABLES, set_ray_environment
from hpo.internals.ray_sockets import FOLDER_VARIABLES, too_long_socket
from hpo.internals.ray_trials import (
    DetachedScheduler,
    drop_metric_history,
    pending_trials,
    reset_failure_count,
)
from hpo.search.early_stopping import Hyperband, MedianStopping
from hpo.search.ledger_searcher import LedgerSearcher
from hpo.search.replaying_scheduler import ReplayingScheduler
from hpo.search.samplers import POPULATION, make_sampler
from hpo.search.schedulers import SCHEDULERS, make_scheduler
from hpo.search.stopping_searcher import StoppingSearcher
from hpo.search.worker_queue import WorkerQueue

ROOT = Path(__file__).parents[2]


# Versions.


def bounds(package: str) -> Requirement:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    return next(one for one in map(Requirement, dependencies) if one.name == package)


@pytest.mark.parametrize("package", ["ray", "optuna"])
def test_the_installed_version_is_one_that_was_tested(package: str) -> None:
    allowed = bounds(package).specifier
    assert any(one.operator == "<" for one in allowed), f"{package} must have an upper bound"
    assert version(package) in allowed, (
        f"{package} {version(package)} is outside of {allowed}: if all other tests of this file "
        "pass, raise the bound in pyproject.toml"
    )


# Ray's environment variables: hpo/internals/ray_environment.py.


def searcher_and_scheduler() -> Any:
    algorithm = SimpleNamespace(metric="val_mae")
    return SimpleNamespace(_metric=None, _scheduler_alg=algorithm, _search_alg=algorithm)


def accepts_a_result_without_the_metric() -> bool:
    try:
        TuneController._validate_result_metrics(
            searcher_and_scheduler(), {"ended": True, "reason": "diverged"}
        )
    except ValueError:
        return False
    return True


def loggers() -> list[str]:
    return [
        type(one).__name__
        for one in _create_default_callbacks([])
        if "Logger" in type(one).__name__
    ]


def pending_at_once() -> int:
    return int(_get_max_pending_trials(SearchGenerator(StoppingSearcher(Searcher()))))


def telemetry_is_off() -> bool:
    from ray._common.usage.usage_lib import UsageStatsEnabledness, _usage_stats_enabledness

    return bool(_usage_stats_enabledness() is UsageStatsEnabledness.DISABLED_EXPLICITLY)


EFFECTS: list[tuple[str, Callable[[], Any], Any]] = [
    ("RAY_AIR_NEW_OUTPUT", lambda: get_air_verbosity(0), None),
    ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", loggers, []),
    ("TUNE_DISABLE_STRICT_METRIC_CHECKING", accepts_a_result_without_the_metric, True),
    ("TUNE_MAX_PENDING_TRIALS_PG", pending_at_once, 10_000),
    ("RAY_USAGE_STATS_ENABLED", telemetry_is_off, True),
]


@pytest.mark.parametrize(("name", "effect", "expected"), EFFECTS, ids=[row[0] for row in EFFECTS])
def test_ray_reads_the_variable(
    name: str, effect: Callable[[], Any], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_CONFIG_PATH", "/nowhere/config.json")
    monkeypatch.setenv(name, VARIABLES[name])
    assert effect() == expected, f"{name}={VARIABLES[name]} no longer has its effect"
    monkeypatch.delenv(name)
    assert effect() != expected, f"Ray now does by itself what {name} is set for; drop it"


def test_a_task_without_gpus_keeps_the_visible_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private.utils import set_visible_accelerator_ids

    context = SimpleNamespace(get_accelerator_ids=lambda: {"GPU": []})
    monkeypatch.setattr(ray, "get_runtime_context", lambda: context)
    name, kept = "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", {}
    for value in (VARIABLES[name], "1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
        monkeypatch.setenv(name, value)
        set_visible_accelerator_ids()
        kept[value] = os.environ["CUDA_VISIBLE_DEVICES"]
    assert kept == {VARIABLES[name]: "0,1", "1": ""}, f"{name} no longer has its effect"


def test_workers_that_ray_starts_in_advance_are_of_no_use_to_tune() -> None:
    raylet = Path(ray.__file__).parent / "core" / "src" / "ray" / "raylet" / "raylet"
    assert b"RAY_prestart_worker_first_driver" in raylet.read_bytes(), "Ray no longer knows it"
    trainable = _ActorClassCache().get(type("Trainable", (), {}))
    assert trainable._default_options["runtime_env"], "they would do now; drop the variable"


def test_every_variable_has_a_test() -> None:
    others = {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_prestart_worker_first_driver"}
    assert VARIABLES.keys() == {row[0] for row in EFFECTS} | others


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AIR_NEW_OUTPUT", "1")
    monkeypatch.delenv("TUNE_MAX_PENDING_TRIALS_PG")
    set_ray_environment()
    assert os.environ["RAY_AIR_NEW_OUTPUT"] == "1"
    assert os.environ["TUNE_MAX_PENDING_TRIALS_PG"] == "10000"


WATCHER = """
import os, sys
class Watcher:
    def find_spec(self, name, path=None, target=None):
        if name == "ray":
            stop("at once")
def stop(when):
    print(when, *sorted(set({names}) - set(os.environ)), sep=",", flush=True)
    os._exit(0)
sys.meta_path.insert(0, Watcher())
import {module}
stop("later")
"""


def unset_when_ray_is_imported(module: str, path: Path = ROOT) -> list[str]:
    """Import ``module`` in a fresh interpreter: when does it import Ray, what is unset by then?"""
    environment = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    environment["PYTHONPATH"] = os.pathsep.join([str(path), str(ROOT)])
    script = WATCHER.format(names=list(VARIABLES), module=module)
    command = [sys.executable, "-c", script]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip().split(",")


def imports_ray(source: str) -> bool:
    names = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return any(name.split(".")[0] == "ray" for name in names)


RAY_MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "hpo").rglob("*.py")
    if imports_ray(path.read_text())
)


@pytest.mark.parametrize("module", RAY_MODULES)
def test_whichever_module_comes_first_ray_finds_its_variables(module: str) -> None:
    _, *unset = unset_when_ray_is_imported(module)
    assert unset == [], f"{module} must import a package that calls set_ray_environment before Ray"


def test_that_check_can_fail(tmp_path: Path) -> None:
    (tmp_path / "early.py").write_text("import ray\nimport hpo.search\n")
    (tmp_path / "late.py").write_text("def f():\n    import ray\n")
    assert unset_when_ray_is_imported("early", tmp_path) == ["at once", *sorted(VARIABLES)]
    assert unset_when_ray_is_imported("late", tmp_path) == ["later", *sorted(VARIABLES)]
    assert imports_ray((tmp_path / "late.py").read_text())
    assert not imports_ray("import raytracer\nfrom hpo.driver import ray_tune")
    assert {"hpo.driver.ray_cluster", "hpo.search.schedulers"} <= set(RAY_MODULES)


# Ray's trials: hpo/internals/ray_trials.py.


@pytest.fixture
def trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A trial as Tune makes it, but for its folder; nothing runs it."""
    monkeypatch.setattr(Trial, "local_path", str(tmp_path))
    return Trial("run", config={"trial": 7}, stub=True, max_failures=WORKER_DEATHS)


def lose_worker(trial: Trial) -> None:
    trial.handle_error(ray.exceptions.RayActorError())


def test_a_trial_whose_failures_were_reset_is_tried_again(trial: Trial) -> None:
    for _ in range(WORKER_DEATHS):
        lose_worker(trial)
    assert trial.should_recover(), "Tune must retry as often as FailureConfig allows"
    lose_worker(trial)
    assert not trial.should_recover(), "Tune must count what reset_failure_count resets"
    reset_failure_count(trial)
    assert trial.should_recover(), "Tune must decide by the count that reset_failure_count resets"


def test_what_tune_keeps_of_metrics_is_what_is_dropped(trial: Trial) -> None:
    def kept() -> str:
        return trial.run_metadata.get_json_state()

    empty = kept()
    trial.update_last_result({"epoch": 1, "val_mae_of_this_test": 2.0, "training_iteration": 1})
    trial.run_metadata.last_result, trial.run_metadata.last_result_time = {}, -math.inf
    assert "val_mae_of_this_test" in kept(), "Tune keeps metrics elsewhere, or not at all"
    drop_metric_history(trial)
    trial.run_metadata.invalidate_cache()
    assert kept() == empty, "Tune keeps more of a trial's metrics than drop_metric_history clears"


def test_a_trial_says_who_it_is_and_whether_it_waits(trial: Trial) -> None:
    controller = SimpleNamespace(get_trials=lambda: [trial])
    assert trial.trial_id
    assert trial.config["trial"] == 7
    assert pending_trials(controller) == [trial], "a new trial must be PENDING"
    trial.status = Trial.RUNNING
    assert pending_trials(controller) == []


def test_tune_lets_a_scheduler_see_the_trials() -> None:
    running = Mock(get_trials=lambda: ["a"])
    assert TuneController._wrapped(running).get_trials() == ["a"], "worker_queue chooses from them"


@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_takes_stand_ins_for_trials_and_controller(name: str) -> None:
    """Also where it has too few trials to compare, and where the end says nothing."""
    scheduler = DetachedScheduler(make_scheduler(name, metric="val_mae", mode="min", epochs=9))
    for number in range(8):
        scheduler.add(number)
        scheduler.add(number)
        for epoch in range(1, 10):
            decision = scheduler.decide(number, {"epoch": epoch, "val_mae": 1.0 + number})
            assert decision in {"CONTINUE", "STOP"}, f"{name} must neither pause nor wait"
            if decision == "STOP":
                break
        scheduler.complete(number, {} if number % 2 else {"epoch": epoch, "val_mae": 1.0})


def test_that_a_scheduler_which_looks_at_the_controller_is_seen() -> None:
    pausing = MedianStoppingRule("epoch", "val_mae", "min", grace_period=1)
    scheduler = DetachedScheduler(pausing)
    scheduler.add(0)
    with pytest.raises(AttributeError, match="get_live_trials"):
        scheduler.decide(0, {"epoch": 1, "val_mae": 1.0})


def test_decisions_have_these_names() -> None:
    assert (TrialScheduler.CONTINUE, TrialScheduler.STOP) == ("CONTINUE", "STOP")


OVERRIDING = [
    (LedgerSearcher, Searcher),
    (StoppingSearcher, Searcher),
    (Hyperband, FIFOScheduler),
    (MedianStopping, MedianStoppingRule),
    (ReplayingScheduler, FIFOScheduler),
    (WorkerQueue, FIFOScheduler),
    (_Housekeeping, tune.Callback),
]


@pytest.mark.parametrize(("ours", "base"), OVERRIDING, ids=lambda one: one.__name__)
def test_what_is_overridden_exists_and_is_called_the_same_way(ours: type, base: type) -> None:
    inherited = {name for name in vars(base) if not name.startswith("_")}
    hooks = [name for name in vars(ours) if name in inherited or name.startswith("on_")]
    assert hooks, f"{ours.__name__} overrides nothing of {base.__name__}"
    for name in hooks:
        assert hasattr(base, name), f"{base.__name__}.{name} is gone: {ours.__name__} is not called"
        expected, found = (inspect.signature(getattr(one, name)) for one in (base, ours))
        assert len(found.parameters) == len(expected.parameters), f"{base.__name__}.{name}"


def test_callbacks_are_called_by_these_names(trial: Trial) -> None:
    housekeeping = _Housekeeping()
    lose_worker(trial)
    parameters = {"iteration": 1, "trials": [trial], "trial": trial}
    callbacks = ray.tune.callback.CallbackList([housekeeping])
    callbacks.on_trial_result(**parameters, result={"epoch": 1})
    assert trial.num_failures == 0
    callbacks.on_trial_complete(**parameters)
    assert housekeeping.epochs == {}


def test_tune_saves_nothing_of_our_searchers(tmp_path: Path) -> None:
    """It asks whatever is called ``searcher`` within a searcher for a state of its own."""

    class Unsaved(Searcher):  # type: ignore[misc]
        def save(self, checkpoint_path: str) -> None:
            raise AssertionError("Tune saved the searcher within")

        get_state = save

    searcher = StoppingSearcher(Unsaved(metric="val_mae", mode="min"))
    SearchGenerator(searcher).save_to_dir(str(tmp_path), "session")
    assert [path.name for path in tmp_path.iterdir()] == ["search_gen_state-session.json"]


def test_a_failed_task_tells_its_cause() -> None:
    error = RayTaskError("probe", "traceback", ValueError("no room"))
    assert str(error.cause) == "no room", "hpo/trials/gpu_share.py shows the cause alone"


# Optuna: hpo/internals/optuna_*.py.

AXES = {axis: FloatDistribution(-1, 1) for axis in "xy"}
FIELDS: dict[str, Any] = {"params": {"x": 0.5, "y": 0.0}, "distributions": AXES}


@pytest.fixture(autouse=True)
def quiet_optuna():
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(level)


def next_generation(sampler: str, attribute: str, read: str) -> Any:
    """The generation of the trial that comes after a whole one, marked in ``attribute``."""
    study = optuna.create_study(sampler=make_sampler(sampler, 3))
    for index in range(POPULATION):
        point = {"x": index / POPULATION, "y": -index / POPULATION}
        fields = {"params": point, "distributions": AXES, "values": [point["x"] ** 2]}
        study.add_trial(ended_trial("finished", {attribute: 0}, **fields))
    asked = study.ask(AXES)
    return study.trials[asked.number].system_attrs.get(read)


@pytest.mark.parametrize(
    ("sampler", "attribute"), [("cmaes", CMAES_GENERATION), ("nsga2", NSGA2_GENERATION)]
)
def test_the_sampler_reads_and_writes_the_generation_in_this_attribute(
    sampler: str, attribute: str
) -> None:
    noted = next_generation(sampler, attribute, attribute)
    assert noted is not None, f"{sampler} notes generations elsewhere than in {attribute}"
    assert noted == 1, f"{sampler} does not find generations in {attribute}"
    assert next_generation(sampler, "elsewhere", attribute) == 0


@pytest.mark.parametrize("status", STATES)
def test_a_study_takes_trials_that_ended_elsewhere(status: str) -> None:
    values = {"finished": [2.0], "infeasible": [math.inf]}.get(status)
    fields = {"intermediate_values": {1: 3.0}, "user_attrs": {"trial": 0}, "values": values}
    study = optuna.create_study()
    study.add_trial(ended_trial(status, {"cma:generation": 4}, **FIELDS, **fields))
    found = study.trials[0]
    assert (found.state, found.values) == (STATES[status], values)
    assert found.params == FIELDS["params"]
    assert found.intermediate_values == {1: 3.0}
    assert found.system_attrs == {"cma:generation": 4}, "samplers read what is handed over here"


@pytest.mark.parametrize("status", STATES)
def test_a_study_is_told_the_same_state_of_its_own_trials(status: str) -> None:
    values = {"finished": [2.0], "infeasible": [math.inf]}.get(status)
    study = optuna.create_study()
    asked = study.ask(AXES)
    report_end(study, asked, status, values)
    assert (study.trials[0].state, study.trials[0].values) == (STATES[status], values)


def test_a_pruned_trial_without_a_value_keeps_what_it_reported() -> None:
    study = optuna.create_study()
    asked = study.ask(AXES)
    asked.report(3.0, step=1)
    report_end(study, asked, "pruned")
    assert study.trials[0].intermediate_values == {1: 3.0}
    assert study.trials[0].state is TrialState.PRUNED


def test_constraints_of_both_ways_are_the_same() -> None:
    added, asked = optuna.create_study(), optuna.create_study()
    constraints = {"parameters": 12.0}
    trial = ended_trial("infeasible", {}, **FIELDS, values=[math.inf], constraints=constraints)
    added.add_trial(trial)
    own = asked.ask(AXES)
    own.set_constraint("parameters", 12.0)
    report_end(asked, own, "infeasible", [math.inf])
    assert added.trials[0].constraints == asked.trials[0].constraints == constraints


def test_a_socket_whose_path_is_too_long_is_recognised(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "/tmp/" + 200 * "x"
    with pytest.raises(OSError, match="bytes") as caught:
        validate_socket_filepath(long)
    found = too_long_socket(caught.value)
    assert found is not None
    assert (found.path, found.most_bytes) == (long, 107)
    assert too_long_socket(OSError("no such host")) is None
    for name in reversed(FOLDER_VARIABLES):
        monkeypatch.setenv(name, f"/{name}")
        assert get_default_ray_temp_dir() == f"/{name}/ray"


def test_an_enqueued_configuration_is_suggested_next_as_it_is() -> None:
    study = optuna.create_study(sampler=make_sampler("tpe", 0))
    study.add_trial(ended_trial("failed", {}, **FIELDS))
    for point in ({"x": 0.25, "y": 1.0}, {"x": -1.0, "y": 0.1}):
        study.enqueue_trial(point)
    assert [study.ask(AXES).params for _ in range(2)] == [
        {"x": 0.25, "y": 1.0},
        {"x": -1.0, "y": 0.1},
    ]


def test_a_discarded_trial_teaches_no_sampler() -> None:
    study = optuna.create_study()
    discard(study, study.ask(AXES))
    assert study.get_trials(states=[TrialState.COMPLETE, TrialState.PRUNED]) == []
    assert study.trials[0].state is TrialState.FAIL


def test_the_hypervolume_is_the_share_of_the_unit_cube() -> None:
    assert unit_hypervolume([[0.5, 0.5]]) == pytest.approx(0.25)
    assert unit_hypervolume([[0.5, 0.0], [0.0, 0.5], [0.9, 0.9]]) == pytest.approx(0.75)
    assert unit_hypervolume([[0.5, 0.5, 0.5]]) == pytest.approx(0.125)
