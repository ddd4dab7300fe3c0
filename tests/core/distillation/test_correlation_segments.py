"""Terms over segments and from stored tables, against the float64 oracle on every window."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.distillation.correlation import reference as gradient_in_parts
from core.distillation.correlation.step_tables import (
    LARGEST_ENTRY,
    StoredDistances,
    StoredFeatures,
    to_fixed_point,
)
from core.distillation.correlation.terms import (
    node_distances,
    scd_loss,
    step_distances,
    tcd_loss,
)
from core.distillation.structure import mimicry_loss, structure_loss
from core.errors import ConfigError, ShapeError
from core.stgcn import Features
from tests.core.window_features import windows_of
from tests.oracles import loss_oracle as oracle

TERMS = {
    "scd": (scd_loss, oracle.scd),
    "tcd": (tcd_loss, oracle.tcd),
    "structure": (structure_loss, oracle.structure),
    "mimicry": (mimicry_loss, oracle.mimicry),
}
numba_only = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
BACKENDS = ["torch", pytest.param("numba", marks=numba_only)]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cut(signal: torch.Tensor, windows: int) -> np.ndarray:
    return windows_of(Features([signal.double()], [], windows)).temporal[0].numpy()


def windows_gradient(naive, student: torch.Tensor, teacher: torch.Tensor, windows: int):
    wanted = cut(teacher, windows)

    def judge(signal: np.ndarray) -> float:
        return naive(cut(torch.from_numpy(signal), windows), wanted)

    return judge(student.numpy()), oracle.numeric_gradient(judge, student.numpy())


@st.composite
def segments(draw_from: st.DrawFn) -> tuple[tuple[int, int, int, int, int], int]:
    """S, student C, teacher C, T, N of a layer of segments, and W."""
    windows, steps = draw_from(st.integers(1, 6)), draw_from(st.integers(2, 4))
    S, C, C2 = (draw_from(st.integers(1, most)) for most in (2, 3, 5))
    return (S, C, C2, steps + windows - 1, draw_from(st.integers(2, 4))), windows


@settings(max_examples=30, deadline=None)
@given(case=segments(), term=st.sampled_from(list(TERMS)), seed=st.integers(0, 99))
def test_a_segment_weighs_as_its_windows_one_by_one(case, term, seed):
    (S, C, C2, T, N), windows = case
    loss, naive = TERMS[term]
    student, teacher = draw(S, C, T, N, seed=seed), draw(S, C2, T, N, seed=seed + 1)
    student.requires_grad_()
    value = loss(student, teacher, windows_per_segment=windows)
    value.backward()
    expected, slopes = windows_gradient(naive, student.detach(), teacher, windows)
    assert value.item() == pytest.approx(expected, rel=1e-11)
    np.testing.assert_allclose(student.grad, slopes, rtol=1e-6, atol=1e-8)


@numba_only
@settings(max_examples=30, deadline=None)
@given(case=segments(), term=st.sampled_from(["scd", "tcd"]), seed=st.integers(0, 99))
def test_the_compiled_terms_weigh_segments_alike(case, term, seed):
    (S, C, C2, T, N), windows = case
    loss, _ = TERMS[term]
    student, teacher = draw(S, C, T, N, seed=seed), draw(S, C2, T, N, seed=seed + 1)
    exact, single = student.clone().requires_grad_(), student.float().requires_grad_()
    expected = loss(exact, teacher, windows_per_segment=windows)
    value = loss(single, teacher.float(), backend="numba", windows_per_segment=windows)
    expected.backward()
    value.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    scale = float(exact.grad.abs().max())
    np.testing.assert_allclose(single.grad, exact.grad, rtol=1e-5, atol=1e-5 * scale)


def stored(term: str, day: torch.Tensor, lags: int, rows: list[int]) -> object:
    """What is stored of a whole day's layer [1, C, R, N]."""
    first = torch.tensor(rows)
    if term == "tcd":
        values = step_distances(day, lags)[0]
    elif term == "scd":
        values = node_distances(day)[0]
    else:
        values = day[0].transpose(0, 1)
        table = to_fixed_point(values, values.flatten(1).amin(dim=1))
        return StoredFeatures(table, first)
    return StoredDistances(to_fixed_point(values, torch.zeros(len(values))), first)


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["scd", "scd from features", "tcd"])
def test_what_is_stored_stands_for_the_teachers_features(form, backend, windows):
    term = form[:3]
    loss, naive = TERMS[term]
    T, rows = 3 + windows, [5, 0, 11, 5]  # any order, one of them twice
    day, student = draw(1, 5, 20, 6).float(), draw(4, 3, T, 6, seed=1).float()
    student[0, :, 1] = student[0, :, 0]  # ties, whose slope is zero
    student[0, :, :, 1] = student[0, :, :, 0]
    teacher = torch.cat([day[:, :, row : row + T] for row in rows])
    exact = student.double().requires_grad_()
    loss(exact, teacher.double(), windows_per_segment=windows).backward()
    student.requires_grad_()
    taught = stored(form, day, T - windows, rows)
    value = loss(student, taught, backend, windows_per_segment=windows)
    value.backward()
    expected = naive(cut(student.detach(), windows), cut(teacher, windows))
    assert value.item() == pytest.approx(expected, rel=1e-4)  # what 15 bits leave of a value
    scale = float(exact.grad.abs().max())
    np.testing.assert_allclose(student.grad, exact.grad, rtol=1e-3, atol=3e-4 * scale)


@pytest.mark.parametrize("term", ["structure", "mimicry"])
def test_stored_features_stand_for_the_last_layer(term):
    loss, naive = TERMS[term]
    day, student = draw(1, 5, 20, 6).float(), draw(2, 3, 4, 6, seed=1).float()
    taught = stored(term, day, 0, [2, 9])
    teacher = torch.cat([day[:, :, row : row + 4] for row in (2, 9)])
    expected = naive(student.double().numpy(), teacher.double().numpy())
    assert loss(student, taught).item() == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("low", [True, False])
@settings(max_examples=50, deadline=None)
@given(scale=st.floats(1e-6, 1e6), seed=st.integers(0, 999))
def test_fixed_point_is_near_within_half_an_entry(low, scale, seed):
    values = draw(7, 3, 4, seed=seed).float().mul(scale)
    values = values if low else values.abs()
    values[2] = values[2, 0, 0] if low else 0.0  # all alike
    least = values.flatten(1).amin(dim=1) if low else torch.zeros(7)
    table = to_fixed_point(values, least)
    found = table.at(torch.tensor([4, 0]), 3)
    expected = torch.stack([values[4:7], values[0:3]])
    half = (values.flatten(1).amax(dim=1) - least) / LARGEST_ENTRY * 0.51
    bound = torch.stack([half[4:7], half[0:3]])[..., None, None]
    assert ((found - expected).abs() <= bound + expected.abs() * 3e-7).all()
    assert int(table.entries.min()) >= 0


def test_what_does_not_fit_is_refused():
    student = draw(2, 3, 4, 5).float()
    day = draw(1, 5, 20, 6).float()
    with pytest.raises(ShapeError, match=r"must fit the student \[2, 3, 4, 5\].* with \[15\] a"):
        scd_loss(student, stored("scd", day, 3, [0, 1]))
    with pytest.raises(ShapeError, match=r"got 1 segments with \[3, 5\] a step"):
        tcd_loss(student, stored("tcd", day[..., :5], 3, [0]))
    with pytest.raises(ShapeError, match=r"got 2 segments with \[2, 5\] a step"):
        tcd_loss(student, stored("tcd", day[..., :5], 2, [0, 1]))
    for windows in (0, 5):
        with pytest.raises(ShapeError, match=rf"must be 1 to 4, .* got {windows};"):
            scd_loss(student, student, windows_per_segment=windows)
    with pytest.raises(ShapeError, match="needs at least 2 time steps, got 1"):
        tcd_loss(student, student, windows_per_segment=4)


@pytest.mark.parametrize("term", ["scd", "tcd", "structure", "mimicry"])
def test_the_reference_has_the_gradient_that_it_says(term):
    loss, _ = TERMS[term]
    teacher = draw(2, 4, 5, 3, seed=1)
    student = draw(2, 2, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda signal: loss(signal, teacher, windows_per_segment=2), (student,)
    )


@pytest.mark.parametrize("term", ["scd", "tcd", "structure"])
def test_parts_of_a_batch_add_up_to_the_whole(term, monkeypatch):
    loss, _ = TERMS[term]
    student, teacher = draw(3, 2, 5, 4).requires_grad_(), draw(3, 6, 5, 4, seed=1)
    stored_teacher = stored("scd from features", teacher[:1], 3, [0, 0, 0])
    for taught in (teacher, stored_teacher) if term != "tcd" else (teacher,):
        found = []
        for numbers in (2**23, 50, 1):
            monkeypatch.setattr(gradient_in_parts, "NUMBERS_AT_ONCE", numbers)
            value = loss(student, taught, windows_per_segment=2)
            found.append((value, *torch.autograd.grad(value, student)))
        for parts in found[1:]:
            torch.testing.assert_close(parts, found[0])


@pytest.mark.parametrize("term", ["scd", "tcd", "structure"])
def test_the_reference_refuses_a_second_derivative(term):
    loss, _ = TERMS[term]
    student = draw(2, 3, 4, 5).requires_grad_()
    value = loss(student, draw(2, 3, 4, 5, seed=1))
    with pytest.raises(ConfigError, match="no second derivative, got create_graph=True"):
        torch.autograd.grad(value, student, create_graph=True)
    with torch.no_grad():
        assert loss(student, draw(2, 3, 4, 5, seed=1)) == value


@pytest.mark.parametrize("term", ["scd", "tcd", "structure", "mimicry"])
def test_a_loss_that_was_only_looked_at_first_still_teaches(term):
    """Weights of a shape are kept, and what inference mode makes cannot be differentiated."""
    loss, _ = TERMS[term]
    student, teacher = draw(7, 2, 9, 3).requires_grad_(), draw(7, 4, 9, 3, seed=1)
    with torch.inference_mode():
        looked_at = loss(student, teacher, windows_per_segment=4)
    value = loss(student, teacher, windows_per_segment=4)
    value.backward()
    assert value == looked_at
    assert student.grad.any()


@numba_only
def test_compiled_distances_are_those_of_the_reference():
    from core.distillation.correlation import cpu as correlation_numba

    signal = draw(2, 7, 6, 5).float()
    for found, expected in (
        (correlation_numba.node_distances(signal), node_distances(signal)),
        (correlation_numba.step_distances(signal, 4), step_distances(signal, 4)),
    ):
        torch.testing.assert_close(found, expected)
