from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import ConfigError
from core.preprocessing.prepare import PreparedData, prepare
from core.pruning import PruningConfig
from core.pruning.plan import PruningPlan, plan_pruning
from core.stgcn import PRUNING_BASE_CHANNELS, STUDENT_CHANNELS, TEACHER_CHANNELS, STGCNConfig
from core.training.trainer import TrainingConfig, count_steps, fewest_steps

TRAINING = TrainingConfig(epochs=3, batch_size=80, windows_per_segment=4)
CONFIG = PruningConfig("none", {}, TRAINING, 2, 1, pruning_ratio=0.5)


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def plan(data: PreparedData, shape: STGCNConfig, interval: int = 2, **target: float) -> PruningPlan:
    chosen = {"pruning_ratio": None, **target}
    return plan_pruning(shape, data, replace(CONFIG, pruning_interval=interval, **chosen))


def full(shape: STGCNConfig) -> tuple[int, ...]:
    return tuple(len(kept) for kept in shape.kept_channels)


def assert_only_ever_smaller(found: PruningPlan, shape: STGCNConfig) -> None:
    before = full(shape)
    for widths in found.widths:
        assert all(1 <= new <= old for new, old in zip(widths, before, strict=True))
        before = widths
    assert found.widths[-1] != full(shape)


# Targets


@pytest.mark.parametrize("num_sensors", [170, 228])
@pytest.mark.parametrize(
    ("channels", "ratio"),
    [
        (PRUNING_BASE_CHANNELS, 0.25),
        (PRUNING_BASE_CHANNELS, 0.5),
        (PRUNING_BASE_CHANNELS, 0.75),
        (TEACHER_CHANNELS, 0.97),
    ],
)
def test_the_papers_ratios_are_met_within_2_percent(data, num_sensors, channels, ratio):
    shape = STGCNConfig(num_sensors, channels)
    found = plan(data, shape, pruning_ratio=ratio)
    kept = shape.with_widths(found.widths[-1]).parameters / shape.parameters
    assert kept == pytest.approx(1 - ratio, rel=0.02)
    assert_only_ever_smaller(found, shape)
    # About the same share of every layer.
    shares = [new / old for new, old in zip(found.widths[-1], full(shape), strict=True)]
    assert max(shares) - min(shares) < 0.08


def test_97_percent_of_the_teacher_is_the_students_shape(data):
    found = plan(data, STGCNConfig(228, TEACHER_CHANNELS), pruning_ratio=0.97)
    assert found.widths[-1] == full(STGCNConfig(228, STUDENT_CHANNELS))
    assert found == plan(data, STGCNConfig(228, TEACHER_CHANNELS), target_parameters=10_144)


@settings(max_examples=8, deadline=None)
@given(
    channels=st.sampled_from([PRUNING_BASE_CHANNELS, TEACHER_CHANNELS]), share=st.floats(0.04, 0.99)
)
def test_a_number_of_parameters_is_never_exceeded(data, channels, share):
    shape = STGCNConfig(228, channels)
    target = int(share * shape.parameters)
    found = plan(data, shape, target_parameters=target)
    assert 0.98 * target - 1 <= shape.with_widths(found.widths[-1]).parameters <= target
    assert_only_ever_smaller(found, shape)


@settings(max_examples=8, deadline=None)
@given(share=st.floats(0.0, 1.0), wide=st.tuples(*[st.integers(1, 5)] * 4))
def test_tiny_networks_end_at_or_below_the_target(data, share, wide):
    shape = STGCNConfig(3, ((1, wide[0], wide[1]), (wide[1], wide[2], wide[3])))
    smallest = shape.with_widths([1] * 8).parameters
    target = int(smallest + share * (shape.parameters - smallest))
    if target == shape.parameters:
        return
    found = plan(data, shape, target_parameters=target)
    assert shape.with_widths(found.widths[-1]).parameters <= target
    assert_only_ever_smaller(found, shape)


def test_a_pruned_network_is_pruned_further(data):
    shape = STGCNConfig(228, PRUNING_BASE_CHANNELS).with_widths([6, 6, 12, 6, 6, 24, 24, 24])
    found = plan(data, shape, pruning_ratio=0.5)
    kept = shape.with_widths(found.widths[-1]).parameters / shape.parameters
    assert kept == pytest.approx(0.5, rel=0.02)
    assert_only_ever_smaller(found, shape)


def test_removals_are_spread_over_the_run_in_equal_shares(data):
    shape = STGCNConfig(228, TEACHER_CHANNELS)
    found = plan(data, shape, interval=1, pruning_ratio=0.75)
    removals = len(found.widths)
    assert removals == found.loop_steps > 20
    share = found.widths[-1][5] / 128
    for step, widths in enumerate(found.widths, start=1):
        assert widths[5] == pytest.approx(128 * share ** (step / removals), abs=1.0)


# A share per step


def test_a_share_leaves_every_layer_at_every_removal(data):
    shape = STGCNConfig(5, ((1, 4, 100), (100, 10, 2)))
    found = plan(data, shape, interval=3, share_per_step=0.1)
    assert found.widths[0] == (4, 4, 90, 9, 9, 2, 2, 2)
    assert found.widths[1] == (3, 3, 81, 8, 8, 2, 2, 2)
    assert found.widths[2] == (3, 3, 73, 7, 7, 1, 1, 1)
    assert_only_ever_smaller(found, shape)


def test_one_filter_per_layer_always_stays(data):
    found = plan(data, STGCNConfig(5, STUDENT_CHANNELS), interval=1, share_per_step=0.9)
    assert found.widths[-1] == (1,) * 8


def test_the_last_removal_is_the_last_whole_interval_of_the_loop(data):
    found = plan(data, STGCNConfig(5, PRUNING_BASE_CHANNELS), interval=7, pruning_ratio=0.5)
    assert len(found.widths) == found.loop_steps // 7
    assert found.last_removal <= found.loop_steps < found.last_removal + 7


# Refused before training


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ({"pruning_ratio": 0.99}, r"at least 1642 parameters, the fewest .*48628.* 486 "),
        ({"target_parameters": 1641}, r"but 1641 are asked for; choose another pruning_ratio or"),
        ({"target_parameters": 48_628}, r"fewer than its base's 48628, but 48628 are asked for"),
        ({"target_parameters": -3}, r"but -3 are asked for"),
        ({"share_per_step": 1e-6}, r"share_per_step must remove a filter within \d+ removals, got"),
    ],
)
def test_what_cannot_be_reached_is_refused(data, target, text):
    with pytest.raises(ConfigError, match=text):
        plan(data, STGCNConfig(228, PRUNING_BASE_CHANNELS), **target)


def test_an_interval_longer_than_the_run_is_refused(data):
    shape = STGCNConfig(6, PRUNING_BASE_CHANNELS)
    steps = plan(data, shape, pruning_ratio=0.5).loop_steps
    assert len(plan(data, shape, interval=steps, pruning_ratio=0.5).widths) == 1
    text = (
        rf"pruning_interval must not exceed the {steps} steps of 3 epochs, got {steps + 1}; shorten"
    )
    with pytest.raises(ConfigError, match=text):
        plan(data, shape, interval=steps + 1, pruning_ratio=0.5)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"pruning_ratio": 0.0}, "pruning_ratio must lie between 0 and 1, both excluded, got 0.0"),
        ({"pruning_ratio": 1.0}, "both excluded, got 1.0; to remove nothing"),
        ({"pruning_ratio": 97.0}, "both excluded, got 97.0"),
        ({"pruning_ratio": float("nan")}, "both excluded, got nan"),
        ({"pruning_ratio": None, "share_per_step": 1.0}, "share_per_step must lie between 0 and 1"),
        ({"pruning_ratio": None}, "must be given, got none; give one"),
        ({"target_parameters": 10}, "got pruning_ratio and target_parameters; give one"),
        ({"share_per_step": 0.1}, "got pruning_ratio and share_per_step; give one"),
        ({"pruning_interval": 0}, "pruning_interval must be at least 1, got 0"),
        ({"fine_tuning_epochs": -1}, "fine_tuning_epochs must be at least 0, got -1"),
        ({"training": replace(TRAINING, patience=3)}, "patience must be None, got 3; leave it out"),
    ],
)
def test_bad_settings_are_refused(fields, text):
    with pytest.raises(ConfigError, match=text):
        replace(CONFIG, **fields)


@pytest.mark.parametrize("batch_size", range(20, 60, 5))
def test_no_seed_has_fewer_steps_than_the_fewest(data: PreparedData, batch_size: int) -> None:
    config = TrainingConfig(epochs=2, batch_size=batch_size, windows_per_segment=5)
    counts = [count_steps(data, replace(config, seed=seed)) for seed in range(60)]
    assert min(counts) == fewest_steps(data, config)
