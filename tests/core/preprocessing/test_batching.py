"""Segments of consecutive windows against the same windows one by one."""

from __future__ import annotations

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.distillation.losses import TeacherOutput, make_loss
from core.preprocessing.batching import cut_batch
from core.stgcn import STGCN, Features, STGCNConfig
from tests.core.window_features import windows_of

HISTORY, SENSORS = 7, 3
EXACT = {"rtol": 0.0, "atol": 1e-10}


def network(channels: int, seed: int) -> STGCN:
    torch.manual_seed(seed)
    config = STGCNConfig(SENSORS, ((1, channels, 2), (2, channels, 3)), HISTORY, 2, 2)
    return STGCN(config, torch.stack([torch.eye(SENSORS), torch.randn(SENSORS, SENSORS)])).double()


def readings(rows: int) -> torch.Tensor:
    source = torch.Generator().manual_seed(rows)
    return torch.randn(rows, SENSORS, generator=source, dtype=torch.float64)


@st.composite
def segments(draw: st.DrawFn) -> tuple[int, list[int], int]:
    """Rows of readings, first rows of segments that fit into them, windows per segment."""
    size = draw(st.integers(1, 6))
    rows = HISTORY + size + draw(st.integers(0, 20))
    first = st.integers(0, rows - HISTORY - size)
    return rows, draw(st.lists(first, min_size=1, max_size=5)), size


@given(case=segments())
def test_every_window_is_cut_as_by_itself(case):
    rows, first_rows, size = case
    values = readings(rows)
    history, target, window_rows = cut_batch(
        values, values, torch.tensor(first_rows), HISTORY, size
    )
    assert history.shape == (len(first_rows), 1, HISTORY + size - 1, SENSORS)
    wanted = [first + window for first in first_rows for window in range(size)]
    assert window_rows.tolist() == wanted
    for index, row in enumerate(wanted):
        assert torch.equal(target[index], values[row + HISTORY])
        segment, place = divmod(index, size)
        seen = history[segment, 0, place : place + HISTORY]
        assert torch.equal(seen, values[row : row + HISTORY])


@given(case=segments(), steps_ahead=st.integers(1, 4))
def test_every_window_has_the_readings_of_all_its_steps_ahead(case, steps_ahead):
    rows, first_rows, size = case
    values = readings(rows + steps_ahead - 1)
    first = torch.tensor(first_rows)
    history, target, window_rows = cut_batch(values, values, first, HISTORY, size, steps_ahead)
    plain = cut_batch(values, values, first, HISTORY, size)
    assert torch.equal(history, plain[0])
    assert torch.equal(window_rows, plain[2])
    assert target.shape == (len(first_rows) * size, steps_ahead, SENSORS)
    assert torch.equal(target[:, 0], plain[1])
    for found, row in zip(target, window_rows.tolist(), strict=True):
        assert torch.equal(found, values[row + HISTORY : row + HISTORY + steps_ahead])


@given(case=segments())
def test_a_mask_says_what_was_missing_in_every_window(case):
    rows, first_rows, size = case
    values, first = readings(rows), torch.tensor(first_rows)
    measured = torch.where(readings(rows + 1)[1:] > 0.5, torch.nan, values)
    plain = cut_batch(values, measured, first, HISTORY, size)
    history, *others = cut_batch(values, measured, first, HISTORY, size, measured=measured)
    assert torch.equal(history[:, :1], plain[0])
    for found, wanted in zip(others, plain[1:], strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)
    for segment, row in zip(history[:, 1], first_rows, strict=True):
        seen = measured[row : row + HISTORY + size - 1]
        assert torch.equal(segment, seen.isnan().double())


@settings(max_examples=25, deadline=None)
@given(case=segments(), method=st.sampled_from(["none", "skd", "stcd"]))
def test_a_segment_batch_is_its_windows_one_by_one(case, method):
    """Prediction, target, features, and with them every loss and its gradient."""
    rows, first_rows, size = case
    values, student, teacher = readings(rows), network(2, 0), network(4, 1)
    weights = {"none": [], "skd": ["alpha"], "stcd": ["alpha1", "alpha2", "alpha3"]}[method]
    loss = make_loss(method, dict.fromkeys(weights, 0.4))

    def judge(first: torch.Tensor, size: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        history, target, window_rows = cut_batch(values, values, first, HISTORY, size)
        outputs = []
        for model in (student, teacher):
            prediction, features = model(history)
            outputs += [prediction.flatten(0, 1), replace(features, windows_per_segment=size)]
        taught = TeacherOutput.of_pass(outputs[2].detach(), outputs[3])
        student.zero_grad()
        value = loss(outputs[0], outputs[1], target, taught)
        value.backward(list(student.parameters()))
        gradients = [parameter.grad.clone() for parameter in student.parameters()]
        cut = windows_of(outputs[1])
        seen = [outputs[0], target, *cut.temporal, *cut.spatial]
        return [window_rows, value.total, *seen], gradients

    together = judge(torch.tensor(first_rows), size)
    every = torch.tensor([first + window for first in first_rows for window in range(size)])
    torch.testing.assert_close(together, judge(every, 1), **EXACT)


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 4), st.integers(1, 3)),
    size=st.integers(1, 5),
)
def test_features_are_cut_at_the_window_that_they_belong_to(shape, size):
    S, C, T, N = shape
    signal = torch.arange(S * C * (T + size - 1) * N).reshape(S, C, T + size - 1, N).float()
    cut = windows_of(Features([signal], [2 * signal], size))
    assert cut.temporal[0].shape == (S * size, C, T, N)
    for segment in range(S):
        for window in range(size):
            found = cut.temporal[0][segment * size + window]
            assert torch.equal(found, signal[segment, :, window : window + T])
    assert torch.equal(cut.spatial[0], 2 * cut.temporal[0])
