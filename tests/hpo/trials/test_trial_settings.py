"""A trial's settings sorted for training, and the size of its student before it is trained."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import ConfigError
from core.evaluation.profiling import count_flops, count_parameters
from core.experiments import network_shape
from core.forms import FORMS
from core.preprocessing.prepare import PreparedData
from core.stgcn import PRUNING_BASE_CHANNELS, STGCN, STUDENT_CHANNELS, STGCNConfig
from hpo.sweep_config import SweepConfig
from hpo.trials.trial_settings import StudentSizes, pruning_config, student_channels, student_config

WIDTHS = {"block1_hidden": 3, "block1_out": 5, "block2_hidden": 1, "block2_out": 7}
PRUNING = {
    "pruning_interval": 5,
    "fine_tuning_epochs": 2,
    "pruning_ratio": 0.5,
    "alpha1": 0.1,
    "alpha2": 0.2,
    "alpha3": 0.3,
    "batch_size": 25,
    "learning_rate": 0.002,
}


def sweep(**changes: Any) -> SweepConfig:
    return SweepConfig(**{"name": "night", "method": "stcd", "dataset": "small", **changes})


def test_a_paper_student_without_widths_is_table_1s() -> None:
    assert student_channels(sweep(form="paper"), {"alpha1": 0.3}) == STUDENT_CHANNELS


def test_widths_go_to_their_layers() -> None:
    assert student_channels(sweep(), WIDTHS) == ((1, 3, 5), (5, 1, 7))
    assert student_channels(sweep(form="paper"), {"block1_out": 9}) == ((1, 2, 9), (9, 2, 8))
    settings = {**WIDTHS, "alpha1": 0.4, "optimizer": "adam"}
    config = student_config(sweep(method="ord", epochs=7), settings, 11)
    assert config.channels == ((1, 3, 5), (5, 1, 7))
    assert config.weights == {"alpha1": 0.4}
    assert (config.training.optimizer, config.training.epochs, config.training.seed) == (
        "adam",
        7,
        11,
    )


def test_pruning_takes_its_own_settings_the_losss_and_those_of_training() -> None:
    config = pruning_config(sweep(method="prune", epochs=9, loss="scd"), PRUNING, seed=3)
    assert (config.method, config.weights) == ("scd", {"alpha1": 0.1, "alpha3": 0.3})
    assert (config.pruning_interval, config.fine_tuning_epochs) == (5, 2)
    assert (config.pruning_ratio, config.target_parameters) == (0.5, None)
    training = config.training
    assert (training.epochs, training.batch_size, training.learning_rate, training.seed) == (
        9,
        25,
        0.002,
        3,
    )


def test_pruning_goes_to_the_budget_where_no_share_is_searched() -> None:
    config = sweep(method="prune", max_parameters=321)
    settings = {name: value for name, value in PRUNING.items() if name != "pruning_ratio"}
    assert pruning_config(config, settings, 0).target_parameters == 321
    # Where a share is searched, the budget only says what fits.
    assert pruning_config(config, PRUNING, 0).target_parameters is None
    with pytest.raises(ConfigError, match="exactly one of pruning_ratio, target_parameters"):
        pruning_config(sweep(method="prune"), settings, 0)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("settings", [{}, WIDTHS])
def test_sizes_are_those_of_the_network(
    settings: dict[str, int], form: str, prepared: PreparedData
) -> None:
    config = sweep(form=form)
    channels = student_channels(config, settings)
    shape = network_shape(prepared, channels, FORMS[form].network)
    network = STGCN(shape, prepared.graph_kernel)
    sizes = StudentSizes(config, prepared, base=None).of(settings)
    assert sizes == {"parameters": count_parameters(network), "flops": count_flops(network)}


def test_a_pruned_student_is_known_to_fit_before_it_is_pruned(prepared: PreparedData) -> None:
    base = STGCNConfig(4, PRUNING_BASE_CHANNELS, prepared.history_steps)
    config = sweep(method="prune", epochs=2)
    shape = StudentSizes(config, prepared, base).shape(PRUNING)
    assert shape.parameters == pytest.approx(0.5 * base.parameters, rel=0.02)
    assert StudentSizes(config, prepared, base).of(PRUNING)["parameters"] == shape.parameters
