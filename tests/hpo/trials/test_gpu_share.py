"""Trials that share a GPU: from measured memory to a share, and who is asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray

from core.errors import ConfigError
from core.forms import FORMS
from hpo.cli.display.progress.sweep_display import share_in_words
from hpo.driver.ray_cluster import trial_resources
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_plan import SweepPlan
from hpo.space.parameters import NETWORK_PARAMETERS, STUDENT_WIDTHS
from hpo.space.search_space import built_in_search_space
from hpo.sweep_config import AUTO, SweepConfig
from hpo.trials.gpu_share import find_share, largest_settings, share_of
from tests.memory_probes import MEMORY, fail, measure_resident

GIGABYTE = 10**9


@pytest.mark.parametrize(
    ("peak", "total", "sharing"),
    [(1, 140, 8), (10, 80, 6), (11, 80, 6), (12, 80, 5), (40, 80, 1), (33, 80, 2), (90, 80, 1)],
)
def test_as_many_share_a_gpu_as_fit_with_a_margin(peak: int, total: int, sharing: int) -> None:
    share = share_of({"peak": peak * GIGABYTE, "total": total * GIGABYTE})
    assert 1.2 * peak * sharing <= total or sharing == 1
    config = SweepConfig("night", "none", "small", gpus_per_trial=share)
    available = {"CPU": 64.0, "GPU": 2.0}
    assert trial_resources(config, available)[1] == 2 * sharing
    # Ray rounds to ten-thousandths.
    assert round(share * 10_000) * sharing <= 10_000


def test_what_was_chosen_is_said() -> None:
    share = {"gpus_per_trial": 0.1666, "peak": 10.52e9, "total": 80e9}
    said = "the largest student takes 10.5 of a GPU's 80.0 GB: "
    assert share_in_words(share) == said + "6 trials share one"
    assert share_in_words({**share, "gpus_per_trial": 1.0}) == said + "one trial per GPU"


@pytest.mark.parametrize("form", FORMS)
def test_the_probe_is_the_largest_student_in_the_largest_batches(form: str) -> None:
    space = built_in_search_space("widths", form)
    settings = largest_settings(space)
    assert settings.keys() == space.parameters.keys()
    large = {"batch_size", *NETWORK_PARAMETERS} & space.parameters.keys()
    assert large > STUDENT_WIDTHS.keys()
    assert {name: settings[name] for name in large} == {name: space.largest(name) for name in large}
    assert settings["learning_rate"] == space.points()[0]["learning_rate"]


@pytest.fixture(scope="module")
def sweep(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[SweepFolder, Any]:
    folder = SweepFolder(tmp_path_factory.mktemp("runs") / "night")
    config = SweepConfig("night", "none", "small", epochs=2, gpus_per_trial=AUTO)
    plan = plan_sweep(config, Places(small_data, folder.storage))[0]
    folder.write_plan(plan)
    return folder, plan


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[dict[str, float]]:
    """A Ray that believes in two GPUs."""
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray.cluster_resources()
    ray.shutdown()


def test_without_gpus_nobody_is_asked(sweep: tuple[SweepFolder, SweepPlan]) -> None:
    folder, plan = sweep
    ledger = Ledger(folder.ledger_file)
    assert find_share(folder, plan, ledger, {"CPU": 4.0}, fail) == 0.0
    assert ledger.state.gpu_share is None
    assert trial_resources(plan.config, {"CPU": 4.0}) == ({"cpu": 1.0, "gpu": 0.0}, 4)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_share_is_measured_once_by_a_worker_and_kept(
    sweep: tuple[SweepFolder, SweepPlan], two_gpus: dict[str, float]
) -> None:
    folder, plan = sweep
    with pytest.raises(
        ConfigError, match=r"auto must be able .*CUDA out of memory; give a num"
    ) as (caught):
        find_share(folder, plan, Ledger(folder.ledger_file), two_gpus, fail)
    assert "\n" not in str(caught.value)
    share = find_share(folder, plan, Ledger(folder.ledger_file), two_gpus, measure_resident)
    known = read_ledger(folder.ledger_file).gpu_share
    assert known is not None
    assert known["gpus_per_trial"] == share == share_of(known)  # type: ignore[arg-type]
    # An interpreter with torch that has trained takes more than 100 MB.
    assert 1e8 < known["peak"] < known["total"] == MEMORY
    # A driver that resumes asks nobody.
    assert find_share(folder, plan, Ledger(folder.ledger_file), two_gpus, fail) == share
