from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from core.distillation.correlation.backends import import_compiled_terms
from core.distillation.gradient_revision import revised_gradient, without_conflict
from core.distillation.losses import (
    TeacherOutput,
    make_loss,
    mimicry_loss,
    ord_loss,
    rd_kl_loss,
    rd_l2_loss,
    response_kl_loss,
    scd_loss,
    structure_loss,
    tcd_loss,
)
from core.distillation.response import ERRORS, response_error
from core.errors import ConfigError, ShapeError, UnknownNameError
from core.stgcn import Features
from core.training.config import TrainingConfig
from tests.oracles import loss_oracle as oracle

FEATURE_TERMS = {
    "scd": (scd_loss, oracle.scd),
    "tcd": (tcd_loss, oracle.tcd),
    "structure": (structure_loss, oracle.structure),
    "mimicry": (mimicry_loss, oracle.mimicry),
}
# B, student C, teacher C, T, N: odd sizes, one window, one channel, the fewest pairs.
FEATURE_SHAPES = [
    (3, 2, 5, 4, 7),
    (1, 1, 3, 3, 2),
    (2, 3, 1, 2, 5),
    (1, 1, 1, 2, 2),
    (2, 4, 4, 3, 3),
]

# Name -> torch function of (student, teacher, target), oracle of the same.
RESPONSE_TERMS = {
    "kl": (lambda s, t, y: response_kl_loss(s, t), lambda s, t, y: oracle.response_kl(s, t)),
    "rd_l2": (lambda s, t, y: rd_l2_loss(s, t, y, 0.3), lambda s, t, y: oracle.rd_l2(s, t, y, 0.3)),
    "rd_kl": (lambda s, t, y: rd_kl_loss(s, t, y, 0.7), lambda s, t, y: oracle.rd_kl(s, t, y, 0.7)),
    "ord": (lambda s, t, y: ord_loss(s, t, y, 0.4), lambda s, t, y: oracle.ord_(s, t, y, 0.4)),
}


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_value_and_gradient(loss, naive, student: torch.Tensor) -> None:
    student = student.clone().requires_grad_()
    value = loss(student)
    value.backward()
    assert value.item() == pytest.approx(naive(student.detach().numpy()), rel=1e-12, abs=1e-15)
    expected = oracle.numeric_gradient(naive, student.detach().numpy())
    np.testing.assert_allclose(student.grad.numpy(), expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("shape", FEATURE_SHAPES)
@pytest.mark.parametrize("term", FEATURE_TERMS)
def test_feature_terms_follow_the_equations(term, shape):
    loss, naive = FEATURE_TERMS[term]
    B, C, C2, T, N = shape
    student, teacher = draw(B, C, T, N), draw(B, C2, T, N, seed=1)
    assert_value_and_gradient(
        lambda s: loss(s, teacher), lambda s: naive(s, teacher.numpy()), student
    )


@pytest.mark.parametrize("shape", [(3, 5), (1, 4), (2, 2), (2, 1), (3, 2, 5), (2, 4, 1), (1, 3, 2)])
@pytest.mark.parametrize("term", RESPONSE_TERMS)
def test_response_terms_follow_the_equations(term, shape):
    loss, naive = RESPONSE_TERMS[term]
    student, teacher, target = draw(*shape), draw(*shape, seed=1), draw(*shape, seed=2)
    assert_value_and_gradient(
        lambda s: loss(s, teacher, target),
        lambda s: naive(s, teacher.numpy(), target.numpy()),
        student,
    )


def with_gaps(target: torch.Tensor) -> torch.Tensor:
    """The same target with a third of it missing, and nothing left of the last window."""
    gappy = target.clone()
    gappy[torch.rand(target.shape, generator=torch.Generator().manual_seed(4)) < 0.3] = torch.nan
    gappy[-1] = torch.nan
    return gappy


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4), (1, 2)])
def test_a_reading_that_is_missing_enters_no_response(shape, error):
    student, teacher = 2 * draw(*shape), draw(*shape, seed=1)
    target = with_gaps(draw(*shape, seed=2))
    for loss, naive, weight in (
        (rd_l2_loss, oracle.rd_l2, 0.3),
        (rd_kl_loss, oracle.rd_kl, 0.7),
        (ord_loss, oracle.ord_, 0.2),
    ):
        assert_value_and_gradient(
            lambda s, loss=loss, weight=weight: loss(s, teacher, target, weight, error),
            lambda s, naive=naive, weight=weight: naive(
                s, teacher.numpy(), target.numpy(), weight, error
            ),
            student,
        )
    assert_value_and_gradient(
        lambda s: response_error(s, target, error),
        lambda s: oracle.response_error(s, target.numpy(), error),
        student,
    )


@pytest.mark.parametrize("term", FEATURE_TERMS)
def test_ties_have_the_right_value_and_finite_gradients(term):
    loss, naive = FEATURE_TERMS[term]
    student, teacher = draw(2, 3, 4, 5), draw(2, 2, 4, 5, seed=1)
    student[:, :, 1] = student[:, :, 0]  # two equal time steps
    student[:, :, :, 3] = student[:, :, :, 2]  # two equal nodes
    student[0] = 0.0  # a dead layer: every pair is a tie
    student.requires_grad_()
    value = loss(student, teacher)
    value.backward()
    assert value.item() == pytest.approx(naive(student.detach().numpy(), teacher.numpy()))
    assert student.grad.isfinite().all()
    assert student.grad[1].any()


@pytest.mark.parametrize("term", FEATURE_TERMS)
def test_a_student_like_its_teacher_loses_nothing(term):
    loss, _ = FEATURE_TERMS[term]
    student = draw(2, 3, 4, 5).requires_grad_()
    value = loss(student, student.detach().clone())
    value.backward()
    assert value.item() == 0.0
    assert not student.grad.any()


@pytest.mark.parametrize("term", FEATURE_TERMS)
def test_the_teacher_gets_no_gradient(term):
    loss, _ = FEATURE_TERMS[term]
    student, teacher = draw(2, 3, 4, 5).requires_grad_(), draw(2, 3, 4, 5, seed=1).requires_grad_()
    loss(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad.any()


def test_duplicated_channels_change_no_correlation():
    student, teacher = draw(2, 3, 4, 5), draw(2, 2, 4, 5, seed=1)
    twice = teacher.repeat(1, 2, 1, 1)
    for loss in (scd_loss, tcd_loss, mimicry_loss, structure_loss):
        torch.testing.assert_close(loss(student, teacher), loss(student, twice))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), st.integers(1, 4), st.integers(2, 5), st.integers(2, 7), st.randoms())
def test_the_order_of_the_nodes_is_immaterial(B, C, T, N, random):
    order = random.sample(range(N), N)
    seed = random.randrange(2**31)
    student, teacher = draw(B, C, T, N, seed=seed), draw(B, 2, T, N, seed=seed + 1)
    prediction, taught, target = draw(3, B, N, seed=seed + 2)
    for loss, _ in FEATURE_TERMS.values():
        torch.testing.assert_close(
            loss(student, teacher), loss(student[..., order], teacher[..., order])
        )
    for loss, _ in RESPONSE_TERMS.values():
        permuted = loss(prediction[:, order], taught[:, order], target[:, order])
        torch.testing.assert_close(loss(prediction, taught, target), permuted)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_ord_and_its_teacher_share_follow_the_equations(B, N, alpha1, seed):
    prediction, taught, target = draw(3, B, N, seed=seed).mul(2).round()  # rounding makes ties
    value = make_loss("ord", {"alpha1": alpha1})(
        prediction, Features([], []), target, TeacherOutput(taught)
    )
    _, share = oracle.ord_mixture(taught.numpy(), target.numpy(), alpha1)
    expected = oracle.ord_(prediction.numpy(), taught.numpy(), target.numpy(), alpha1)
    assert value.total.item() == pytest.approx(expected)
    assert value.parts["teacher_share"].item() == pytest.approx(share)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 4)])
def test_every_response_is_compared_by_the_error_asked_for(shape, error):
    student, teacher, target = 2 * draw(*shape), draw(*shape, seed=1), draw(*shape, seed=2)
    for loss, naive, weight in (
        (rd_l2_loss, oracle.rd_l2, 0.3),
        (rd_kl_loss, oracle.rd_kl, 0.7),
        (ord_loss, oracle.ord_, 0.4),
    ):
        assert_value_and_gradient(
            lambda s, loss=loss, weight=weight: loss(s, teacher, target, weight, error),
            lambda s, naive=naive, weight=weight: naive(
                s, teacher.numpy(), target.numpy(), weight, error
            ),
            student,
        )


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("error", ERRORS)
def test_the_error_of_the_training_reaches_every_loss(error, gaps):
    prediction, taught, target = draw(3, 2, 3, 5)
    target = with_gaps(target) if gaps else target
    own, wanted = features_of(2, 20), features_of(4, 50)
    batch = prediction, own, target, TeacherOutput.of_pass(taught, wanted)
    arrays = prediction.numpy(), taught.numpy(), target.numpy()
    task = oracle.response_error(arrays[0], arrays[2], error)
    ord_ = oracle.ord_(*arrays, 0.4, error)

    def value_of(method: str, **weights: float):
        loss = make_loss(method, weights, error)
        assert loss.error == error
        return loss(*batch)

    assert value_of("none").total.item() == pytest.approx(task)
    assert value_of("rd_l2", beta=0.4).total.item() == pytest.approx(
        oracle.rd_l2(*arrays, 0.4, error)
    )
    assert value_of("rd_kl", beta=0.4).total.item() == pytest.approx(
        oracle.rd_kl(*arrays, 0.4, error)
    )
    skd = value_of("skd", alpha=0.4)
    assert skd.parts["task"].item() == pytest.approx(task)
    assert skd.parts["response"].item() == pytest.approx(oracle.response_kl(*arrays[:2]))
    assert value_of("ord", alpha1=0.4).total.item() == pytest.approx(ord_)
    for method in ("tcd", "scd", "stcd"):
        weights = {"alpha1": 0.4, "alpha3": 0.5}
        if method == "stcd":
            weights["alpha2"] = 0.5
        parts = value_of(method, **weights).parts
        assert parts["response"].item() == pytest.approx(ord_)
        _, share = oracle.ord_mixture(*arrays[1:], 0.4)
        assert parts["teacher_share"].item() == pytest.approx(share)


def test_an_error_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="error must be mse or mae or huber, got 'l3'"):
        make_loss("none", {}, "l3")
    with pytest.raises(ConfigError, match="error must be mse or mae or huber, got 'l3'"):
        TrainingConfig(error="l3")


def test_ord_ranks_the_sensors_of_each_step_ahead_by_themselves():
    prediction, taught, target = draw(3, 4, 6, 5)
    steps = [ord_loss(*values, 0.3) for values in zip(prediction, taught, target, strict=True)]
    torch.testing.assert_close(ord_loss(prediction, taught, target, 0.3), torch.stack(steps).mean())


def test_ord_at_its_ends():
    prediction, taught, target = draw(3, 4, 6)
    plain = nn.functional.mse_loss(prediction, target)
    assert ord_loss(prediction, taught, target, 1.0) == plain
    # At 0 only the node with the smallest error of each window keeps its target.
    loss = make_loss("ord", {"alpha1": 0.0})
    value = loss(prediction, Features([], []), target, TeacherOutput(taught))
    assert value.parts["teacher_share"].item() == pytest.approx(5 / 6)
    # Where all nodes err alike none is overseen; whole and half numbers subtract exactly.
    whole = target.round()
    expected = nn.functional.mse_loss(prediction, whole)
    assert ord_loss(prediction, whole + 0.5, whole, 0.0) == expected


def test_a_teacher_that_is_not_a_number_shows_in_the_loss():
    prediction, taught, target = draw(3, 2, 4)
    taught[0, 1] = torch.nan
    assert ord_loss(prediction, taught, target, 1.0).isnan()
    assert rd_l2_loss(prediction, taught, target, 0.5).isnan()


def test_without_weight_the_teacher_is_unheard():
    prediction, taught, target = draw(3, 4, 6)
    plain = nn.functional.mse_loss(prediction, target)
    assert rd_l2_loss(prediction, taught, target, 0.0) == plain
    assert rd_kl_loss(prediction, taught, target, 0.0) == plain


def features_of(channels: int, seed: int) -> Features:
    temporal = [draw(2, channels, 4 - layer, 5, seed=seed + layer) for layer in range(3)]
    spatial = [draw(2, channels + 1, 3, 5, seed=seed + 10 + layer) for layer in range(2)]
    return Features(temporal, spatial)


def over_layers(naive, student: list[torch.Tensor], teacher: list[torch.Tensor]) -> float:
    return sum(naive(s.numpy(), t.numpy()) for s, t in zip(student, teacher, strict=True))


def test_stcd_weighs_its_terms_as_eq_11():
    prediction, taught, target = draw(3, 2, 5)
    own, wanted = features_of(2, 20), features_of(4, 50)
    weights = {"alpha1": 0.4, "alpha2": 0.3, "alpha3": 0.9}
    value = make_loss("stcd", weights)(
        prediction, own, target, TeacherOutput.of_pass(taught, wanted)
    )
    scd = over_layers(oracle.scd, own.spatial, wanted.spatial)
    tcd = over_layers(oracle.tcd, own.temporal, wanted.temporal)
    response = oracle.ord_(prediction.numpy(), taught.numpy(), target.numpy(), 0.4)
    assert value.total.item() == pytest.approx(response + 0.9 * (0.3 * scd + 0.7 * tcd))
    assert value.parts["scd"].item() == pytest.approx(scd)
    assert value.parts["tcd"].item() == pytest.approx(tcd)
    assert value.parts["response"].item() == pytest.approx(response)
    assert 0 < value.parts["teacher_share"] < 1


@pytest.mark.parametrize(("alpha2", "part"), [(0.0, "tcd"), (1.0, "scd")])
def test_stcd_at_its_ends_is_one_of_its_parts(alpha2, part):
    prediction, taught, target = draw(3, 2, 5)
    batch = (
        prediction,
        features_of(2, 20),
        target,
        TeacherOutput.of_pass(taught, features_of(4, 50)),
    )
    shared = {"alpha1": 0.4, "alpha3": 0.9}
    both, alone = make_loss("stcd", {**shared, "alpha2": alpha2}), make_loss(part, shared)
    torch.testing.assert_close(both(*batch).total, alone(*batch).total)
    assert make_loss(part, {**shared, "alpha3": 0.0})(*batch).total == ord_loss(
        prediction, taught, target, 0.4
    )


def test_skd_reports_the_weighted_sum_of_its_terms():
    prediction, taught, target = draw(3, 2, 5)
    own, wanted = features_of(2, 20), features_of(4, 50)
    value = make_loss("skd", {"alpha": 0.3})(
        prediction, own, target, TeacherOutput.of_pass(taught, wanted)
    )
    last = own.temporal[-1].numpy(), wanted.temporal[-1].numpy()
    distilling = (
        oracle.response_kl(prediction.numpy(), taught.numpy())
        + oracle.mimicry(*last)
        + oracle.structure(*last)
    )
    expected = 0.3 * distilling + 0.7 * oracle.response_error(prediction.numpy(), target.numpy())
    assert value.total.item() == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.floats(0, 1), st.integers(0, 2**31))
def test_gradients_are_revised_as_the_oracle_does(count, alpha, seed):
    vectors = draw(count + 1, 7, seed=seed)
    parameter = nn.Parameter(torch.zeros(7, dtype=torch.float64))
    # The gradient of v . p is v itself.
    task, *distilling = [vector @ parameter for vector in vectors]
    ours = revised_gradient(task, distilling, alpha, [parameter])
    task_vector, *distilling_vectors = vectors.numpy()
    expected = oracle.revised(task_vector, distilling_vectors, alpha)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


def test_a_conflicting_gradient_becomes_orthogonal_and_an_agreeing_one_stays():
    task, distilling = draw(2, 50)
    agreeing = distilling if distilling @ task > 0 else -distilling
    assert torch.equal(without_conflict(agreeing, task), agreeing)
    revised = without_conflict(-agreeing, task)
    assert abs(revised @ task) < 1e-12
    assert abs(-agreeing @ task) > 0.1
    still = without_conflict(agreeing, torch.zeros_like(task))
    assert torch.equal(still, agreeing)


class TwoHeads(nn.Module):
    """A hidden layer that distillation reaches and a head that only predictions reach."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(1, 2, 1, dtype=torch.float64)
        self.head = nn.Parameter(draw(2, seed=5))
        self.frozen = nn.Parameter(draw(3, seed=6), requires_grad=False)

    def forward(self, history):
        hidden = torch.tanh(self.hidden(history))
        return torch.einsum("bctn,c->bn", hidden, self.head), Features([hidden], [hidden])


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_skd_backward_leaves_the_revised_gradient(sign):
    torch.manual_seed(3)
    model, history = TwoHeads(), draw(2, 1, 3, 5)
    prediction, features = model(history)
    teacher = TeacherOutput(draw(2, 5, seed=8), last=[draw(2, 3, 3, 5, seed=9)])
    # A target on the other side of the prediction turns the task gradient round.
    target = prediction.detach() + sign * draw(2, 5, seed=7)
    value = make_loss("skd", {"alpha": 0.6})(prediction, features, target, teacher)

    trained = [model.hidden.weight, model.hidden.bias, model.head]
    flat = [_flat_gradient(loss, trained) for loss in (value.task, *value.distilling)]
    conflicts = {bool(gradient @ flat[0] < 0) for gradient in flat[1:]}
    expected = oracle.revised(flat[0], flat[1:], 0.6)
    model.head.grad = torch.ones_like(model.head)  # backward() adds to what is there
    value.backward(list(model.parameters()))
    found = np.concatenate([parameter.grad.numpy().ravel() for parameter in trained])
    expected[-2:] += 1.0
    np.testing.assert_allclose(found, expected, atol=1e-12)
    assert model.frozen.grad is None
    assert True in conflicts  # else this test would show nothing of the revision


def _flat_gradient(loss, parameters):
    gradients = torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return np.concatenate([gradient.numpy().ravel() for gradient in gradients])


@pytest.fixture
def unchecked_shapes():
    """Switch the tests' shape checks off, to meet the errors that users meet."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.mark.usefixtures("unchecked_shapes")
def test_shapes_that_do_not_fit_are_refused():
    for loss, _ in FEATURE_TERMS.values():
        with pytest.raises(
            ShapeError, match=r"must agree .* \[1, 2, 3, 4\] and teacher \[2, 2, 3, 4\]"
        ):
            loss(draw(1, 2, 3, 4), draw(2, 2, 3, 4))
        with pytest.raises(ShapeError, match=r"must be \[B, C, T, N\], got student \[2, 3, 4\]"):
            loss(draw(2, 3, 4), draw(2, 3, 4))
    for loss, _ in RESPONSE_TERMS.values():
        with pytest.raises(ShapeError, match=r"of one shape, got \[2, 4\], \[1, 4\]"):
            loss(draw(2, 4), draw(1, 4), draw(1, 4))
    with pytest.raises(ShapeError, match=r"of one shape, got \[2, 1, 4\]"):
        ord_loss(draw(2, 1, 4), draw(2, 4), draw(2, 4), 0.5)


def test_features_without_a_pair_are_refused():
    with pytest.raises(ShapeError, match="at least 2 time steps, got 1"):
        tcd_loss(draw(2, 3, 1, 5), draw(2, 3, 1, 5))
    for loss in (scd_loss, structure_loss):
        with pytest.raises(ShapeError, match="between sensors needs at least 2 of them, got 1"):
            loss(draw(2, 3, 4, 1), draw(2, 3, 4, 1))


def test_layers_that_do_not_match_are_refused():
    short = Features([draw(2, 4, 4, 5)], [draw(2, 4, 3, 5)])
    loss = make_loss("tcd", {"alpha1": 0.5, "alpha3": 0.5})
    with pytest.raises(ShapeError, match="as many hidden layers, got 3 and 1"):
        loss(draw(2, 5), features_of(2, 0), draw(2, 5), TeacherOutput.of_pass(draw(2, 5), short))


def test_make_loss_names_everything_that_is_wrong_at_once():
    with pytest.raises(UnknownNameError, match="unknown method 'stdc'; did you mean 'stcd'"):
        make_loss("stdc", {})
    expected = (
        r"'stcd' takes alpha1, alpha2, alpha3: alpha3 is missing; beta is unknown; "
        r"alpha1 must be a number in \[0, 1\], got 1.5; alpha2 must be .* got '1e-4'"
    )
    with pytest.raises(ConfigError, match=expected):
        make_loss("stcd", {"alpha1": 1.5, "alpha2": "1e-4", "beta": 0.5})
    with pytest.raises(ConfigError, match="'none' takes no hyperparameters: beta is unknown"):
        make_loss("none", {"beta": 0.5})
    for value in (float("nan"), True, None, -0.1):
        with pytest.raises(ConfigError, match="beta must be a number in"):
            make_loss("rd_l2", {"beta": value})
    with pytest.raises(ConfigError, match=r"alpha1 must be a number in \[0, 1\], got 2.0"):
        ord_loss(draw(2, 4), draw(2, 4), draw(2, 4), 2.0)
    assert make_loss("rd_l2", {"beta": 1}).beta == 1.0


numba_only = pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed")
PAIR_TERMS = {name: FEATURE_TERMS[name] for name in ("scd", "tcd")}
# Odd tails of vector loops, channels that are no multiple of four, one window, the fewest pairs.
COMPILED_SHAPES = [*FEATURE_SHAPES, (3, 7, 6, 3, 37), (2, 2, 32, 9, 20), (5, 5, 3, 2, 3)]


@numba_only
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", COMPILED_SHAPES)
@pytest.mark.parametrize("term", PAIR_TERMS)
def test_compiled_terms_follow_the_equations(term, shape, threads, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    loss, naive = PAIR_TERMS[term]
    B, C, C2, T, N = shape
    student, teacher = draw(B, C, T, N).float(), draw(B, C2, T, N, seed=1).float()
    student[0, :, 1] = student[0, :, 0]  # ties, whose slope is zero
    student[0, :, :, 1] = student[0, :, :, 0]
    exact = student.double().requires_grad_()
    loss(exact, teacher.double(), backend="torch").backward()
    student.requires_grad_()
    value = loss(student, teacher, backend="numba")
    value.backward(torch.tensor(2.0))
    assert value.dtype == torch.float32
    expected = naive(student.detach().double().numpy(), teacher.double().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-5)
    scale = float(exact.grad.abs().max())
    np.testing.assert_allclose(student.grad, 2 * exact.grad, rtol=1e-5, atol=1e-5 * scale)


@numba_only
@pytest.mark.parametrize("term", PAIR_TERMS)
def test_compiled_terms_take_features_that_are_not_contiguous(term):
    loss, _ = PAIR_TERMS[term]
    student = draw(4, 5, 3, 2).float().permute(3, 2, 1, 0).requires_grad_()
    teacher = draw(2, 6, 5, 8, seed=1).float()[..., ::2]
    value = loss(student, teacher, backend="numba")
    (gradient,) = torch.autograd.grad(value, student)
    expected = loss(student, teacher, backend="torch")
    (expected_gradient,) = torch.autograd.grad(expected, student)
    torch.testing.assert_close(value, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-5, atol=1e-7)


@numba_only
@pytest.mark.parametrize("term", PAIR_TERMS)
def test_compiled_terms_let_what_is_no_number_show(term):
    loss, _ = PAIR_TERMS[term]
    for poison in (torch.nan, torch.inf):
        student, teacher = draw(2, 3, 4, 5).float(), draw(2, 2, 4, 5, seed=1).float()
        student[1, 2, 3, 4] = poison
        assert not loss(student, teacher, backend="numba").isfinite()


@numba_only
@pytest.mark.parametrize("term", PAIR_TERMS)
def test_compiled_terms_refuse_a_second_derivative(term):
    loss, _ = PAIR_TERMS[term]
    student, teacher = draw(2, 3, 4, 5).float().requires_grad_(), draw(2, 3, 4, 5, seed=1).float()
    value = loss(student, teacher, backend="numba")
    with pytest.raises(ConfigError, match="no second derivative, got create_graph=True"):
        torch.autograd.grad(value, student, create_graph=True)


@numba_only
@pytest.mark.parametrize("term", PAIR_TERMS)
def test_the_compiled_term_is_taken_where_it_fits(term, monkeypatch):
    from core.distillation.correlation import cpu as correlation_numba

    loss, _ = PAIR_TERMS[term]
    single, double = draw(2, 3, 4, 5).float(), draw(2, 3, 4, 5)
    monkeypatch.setattr(correlation_numba, term, lambda *_: torch.tensor(-1.0))
    assert loss(single, single) == -1
    assert loss(single, single, backend="torch") == 0
    assert loss(double, double) == 0
    with pytest.raises(ConfigError, match=r"needs float32 on the cpu, got torch.float64 on cpu"):
        loss(double, double.detach(), backend="numba")


def test_an_unknown_backend_is_refused():
    with pytest.raises(UnknownNameError, match="unknown backend 'nunba'; did you mean 'numba'"):
        scd_loss(draw(2, 3, 4, 5), draw(2, 3, 4, 5), backend="nunba")


def test_without_numba_the_reference_steps_in_and_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "core.distillation.correlation.cpu", None)
    import_compiled_terms.cache_clear()
    student, teacher = draw(2, 3, 4, 5).float(), draw(2, 3, 4, 5, seed=1).float()
    assert tcd_loss(student, teacher) == tcd_loss(student, teacher, backend="torch")
    assert scd_loss(student, teacher) == scd_loss(student, teacher, backend="torch")
    assert caplog.text.count("pip install numba") == 1
    with pytest.raises(ConfigError, match="needs the package numba, found none"):
        scd_loss(student, teacher, backend="numba")
    import_compiled_terms.cache_clear()


MEMORY_SCRIPT = """
import resource
import torch
from core.distillation.losses import scd_loss
student = torch.randn(50, 32, 10, 228, requires_grad=True)
teacher = torch.randn(50, 32, 10, 228)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
scd_loss(student, teacher, backend={backend!r}).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backend", "share"), [("torch", 1 / 3), pytest.param("numba", 1 / 20, marks=numba_only)]
)
def test_scd_never_holds_pairs_and_channels_at_once(backend, share):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY_SCRIPT.format(backend=backend)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
    )
    full_tensor_kib = 50 * 10 * 228 * 228 * 32 * 4 / 1024
    assert int(done.stdout) < full_tensor_kib * share
