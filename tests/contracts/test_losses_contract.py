"""What every registered loss must hold."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from itertools import pairwise

import pytest
import torch

from core.distillation.hyperparameters import Bounds, hyperparameter_bounds
from core.distillation.losses import LOSSES, TeacherOutput, make_loss
from core.errors import ConfigError
from core.stgcn import STGCN, STGCNConfig
from hpo.space.parameters import PRUNING_PARAMETERS, STUDENT_WIDTHS, training_parameters
from tests.loss_settings import settings_of

HYPERPARAMETERS = {
    "none": [],
    "rd_l2": ["beta"],
    "rd_kl": ["beta"],
    "skd": ["alpha"],
    "ord": ["alpha1"],
    "tcd": ["alpha1", "alpha3"],
    "scd": ["alpha1", "alpha3"],
    "stcd": ["alpha1", "alpha2", "alpha3"],
}
REPORTS_TEACHER_SHARE = {"ord", "tcd", "scd", "stcd"}

each_loss = pytest.mark.parametrize("method", LOSSES)


@pytest.fixture
def batch():
    """A tiny student and the outputs of a wider teacher on two windows of five sensors."""
    torch.manual_seed(0)
    graph_kernel = torch.cat([torch.eye(5)[None], torch.randn(2, 5, 5) / 5])
    student = STGCN(STGCNConfig(5, ((1, 2, 4), (4, 2, 8))), graph_kernel)
    teacher = STGCN(STGCNConfig(5, ((1, 3, 6), (6, 3, 7))), graph_kernel)
    history, target = torch.randn(2, 1, 12, 5), torch.randn(2, 5)
    with torch.no_grad():
        prediction, features = teacher(history)
    return student, history, target, TeacherOutput.of_pass(prediction[:, 0], features)


def only_needed(teacher: TeacherOutput, needs: frozenset[str]) -> TeacherOutput:
    return TeacherOutput(**{name: getattr(teacher, name) for name in needs})


def test_the_papers_methods_have_its_hyperparameters_each_between_0_and_1():
    for method, names in HYPERPARAMETERS.items():
        assert hyperparameter_bounds(LOSSES[method]) == dict.fromkeys(names, Bounds(0.0, 1.0))
        assert list(settings_of(method)) == names


@each_loss
def test_its_hyperparameters_are_called_like_no_other_setting(method):
    ranges = hyperparameter_bounds(LOSSES[method])
    assert not ranges.keys() & {*training_parameters(), *STUDENT_WIDTHS, *PRUNING_PARAMETERS}


@each_loss
def test_is_documented(method):
    loss = LOSSES[method]
    assert loss.__doc__
    assert not loss.__doc__.startswith(f"{loss.__name__}(")  # what dataclasses write by themselves
    body = ast.parse(inspect.getsource(loss)).body[0].body
    for statement, following in pairwise(body):
        if isinstance(statement, ast.AnnAssign) and statement.target.id in settings_of(method):
            assert isinstance(following, ast.Expr), f"{statement.target.id} has no docstring"
            assert isinstance(following.value, ast.Constant)


@each_loss
def test_is_frozen_and_comparable(method):
    loss = make_loss(method, settings_of(method))
    assert loss == make_loss(method, settings_of(method))
    for name in settings_of(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(loss, name, 0.5)


@each_loss
def test_refuses_each_hyperparameter_outside_its_range(method):
    for name, bounds in hyperparameter_bounds(LOSSES[method]).items():
        for value in (bounds.low - 0.01, bounds.high + 0.01, float("nan")):
            with pytest.raises(ConfigError, match=rf"{name} must be .* got {value}"):
                LOSSES[method](**{**settings_of(method), name: value})
    for end in (0.0, 1.0):
        make_loss(method, settings_of(method, end))


def test_a_field_without_a_range_is_refused():
    @dataclasses.dataclass(frozen=True)
    class Forgetful(LOSSES["none"]):
        temperature: float

    with pytest.raises(TypeError, match=r"temperature has none; write temperature: float = field"):
        Forgetful(2.0)


@each_loss
@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_trains_a_student_with_what_it_needs_alone(method, share, batch):
    student, history, target, teacher = batch
    loss = make_loss(method, settings_of(method, share))
    assert loss.needs <= {"prediction", "temporal", "spatial", "last"}
    prediction, features = student(history)
    outcome = loss(prediction[:, 0], features, target, only_needed(teacher, loss.needs))
    outcome.backward(list(student.parameters()))
    assert outcome.total.isfinite()
    assert outcome.total.ndim == 0
    assert all(parameter.grad.isfinite().all() for parameter in student.parameters())
    assert any(parameter.grad.any() for parameter in student.parameters())


@each_loss
@pytest.mark.parametrize("kept", [4, 0])
def test_a_reading_that_is_missing_teaches_nothing(method, kept, batch):
    """Whatever stood there: neither the loss nor a gradient knows it, and both stay numbers."""
    student, history, target, teacher = batch
    loss, found = make_loss(method, settings_of(method)), []
    target[:, kept:] = torch.nan
    for guess in (0.0, 100.0):
        student.zero_grad()
        prediction, features = student(history)
        held = torch.where(target.isnan(), guess, target)
        wanted = held.masked_fill(target.isnan(), torch.nan)
        value = loss(prediction[:, 0], features, wanted, teacher)
        value.backward(list(student.parameters()))
        found.append([value.total, *(one.grad for one in student.parameters())])
    assert all(map(torch.equal, *found))
    assert all(one.isfinite().all() for one in found[0])


@each_loss
def test_says_so_when_a_need_is_missing(method, batch):
    student, history, target, teacher = batch
    loss = make_loss(method, settings_of(method))
    prediction, features = student(history)
    for need in loss.needs:
        incomplete = only_needed(teacher, loss.needs - {need})
        with pytest.raises(ConfigError, match=f"needs the teacher's {need}, got none"):
            loss(prediction[:, 0], features, target, incomplete)


@each_loss
def test_reports_detached_scalars(method, batch):
    student, history, target, teacher = batch
    prediction, features = student(history)
    loss = make_loss(method, settings_of(method))
    parts = loss(prediction[:, 0], features, target, teacher).parts
    assert ("teacher_share" in parts) == (method in REPORTS_TEACHER_SHARE)
    for part in parts.values():
        assert part.ndim == 0
        assert not part.requires_grad


@each_loss
@pytest.mark.parametrize("steps", [1, 3])
def test_several_steps_ahead_are_judged_as_one_is(method, steps, batch):
    """One step is the same to the bit; several are as so many windows of one step."""
    student, history, target, teacher = batch
    loss, parameters = make_loss(method, settings_of(method)), list(student.parameters())
    taught = teacher.prediction

    def judged(prediction, target, taught):
        student.zero_grad()
        value = loss(prediction, features, target, dataclasses.replace(teacher, prediction=taught))
        value.backward(parameters)
        return value.total, [parameter.grad.clone() for parameter in parameters]

    def ahead(values):
        return torch.stack([values * (1 + step) for step in range(steps)], dim=1)

    prediction, features = student(history)
    found = judged(ahead(prediction[:, 0]), ahead(target), ahead(taught))
    prediction, features = student(history)
    one_by_one = [ahead(values).flatten(0, 1) for values in (prediction[:, 0], target, taught)]
    assert [list(one.shape) for one in one_by_one] == [[2 * steps, 5]] * 3
    wanted = judged(*one_by_one)
    assert torch.equal(found[0], wanted[0])
    assert all(map(torch.equal, found[1], wanted[1]))


@each_loss
def test_gradients_add_up_like_those_of_backward(method, batch):
    student, history, target, teacher = batch
    loss = make_loss(method, settings_of(method))
    parameters = list(student.parameters())

    def accumulate(times: int) -> list[torch.Tensor]:
        student.zero_grad()
        for _ in range(times):
            prediction, features = student(history)
            loss(prediction[:, 0], features, target, teacher).backward(parameters)
        return [parameter.grad.clone() for parameter in parameters]

    for once, twice in zip(accumulate(1), accumulate(2), strict=True):
        torch.testing.assert_close(2 * once, twice)
