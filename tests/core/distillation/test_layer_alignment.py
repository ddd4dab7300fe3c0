"""Networks of one family teaching those of another, against the teacher run on every window."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from core.distillation import teacher_targets
from core.distillation.layer_alignment import Students, newest_of_windows, steps_of_windows
from core.distillation.losses import LOSSES, TeacherOutput, make_loss, scd_loss
from core.distillation.teacher_targets import TeacherTargets, load_teacher_targets
from core.ensemble import Ensemble
from core.errors import ConfigError
from core.experiments import DistillationObjective, network_shape, new_network
from core.families.networks import SingleNetwork
from core.forms import FORMS
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import segment_rows
from core.stgcn import Features
from tests.loss_settings import settings_of

PAIRS = [("astgcn", "stgcn"), ("stgcn", "astgcn"), ("astgcn", "astgcn")]
"""Families of teacher and student of which one is not equivariant."""
STEPS = {
    ("astgcn", "stgcn"): (10, 10, 8, 6, 6, 4),
    ("stgcn", "astgcn"): (10, 10, 8, 6, 6, 4),
    ("astgcn", "astgcn"): (12, 12, 12, 12, 12, 12),
}
"""Of 12 steps of history STGCN's layers lose two at each convolution along time."""
ALL_NEEDS = ("prediction", "temporal", "spatial", "last")
each_pair = pytest.mark.parametrize("pair", PAIRS, ids="-teaches-".join)


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def network(data: PreparedData, family: str, seed: int = 0, width: int = 5) -> SingleNetwork:
    widths = ((1, width, 4), (4, 3, width))
    shape = network_shape(data, widths, FORMS["direct"].network, family)
    return new_network(shape, data.graph_kernel, seed)


def load(tmp_path, pair, data: PreparedData, needs=ALL_NEEDS, budget=10**9) -> TeacherTargets:
    teacher, student = (network(data, family, seed) for seed, family in enumerate(pair, start=1))
    students = Students.like(student.config)
    return load_teacher_targets(tmp_path / "t", teacher, data, needs, budget, students=students)


def some_rows(data: PreparedData) -> torch.Tensor:
    rows, _ = segment_rows(data.stretches("train"), data.window_steps, 5, 2)
    return torch.cat([rows[:2], rows[-2:]])


def judged(targets, data, student, method, windows_per_segment):
    """The loss of a student on segments, as the training loop computes it, and its gradients."""
    W, first = windows_per_segment, some_rows(data)
    if W == 1:
        first = (first[:, None] + torch.arange(5)).flatten()
    ahead = student.config.steps_ahead
    history, target, rows = cut_batch(
        data.readings, data.readings, first, data.history_steps, W, ahead
    )
    prediction, features = student(history)
    if student.config.equivariant:
        features = replace(features, windows_per_segment=W)
    student.zero_grad()
    loss = make_loss(method, settings_of(method))
    value = DistillationObjective(loss, targets)(prediction.flatten(0, 1), features, target, rows)
    value.backward(list(student.parameters()))
    return value.total.item(), [one.grad for one in student.parameters() if one.grad is not None]


def by_hand(pair, data, student, method) -> float:
    """The loss with the teacher run on each window, its newest steps cut out one by one."""
    teacher, steps = network(data, pair[0], 1), STEPS[pair]
    first = (some_rows(data)[:, None] + torch.arange(5)).flatten()
    ahead = data.horizon_steps
    history, target, _ = cut_batch(data.readings, data.readings, first, 12, 1, ahead)

    def last_steps(features: Features) -> Features:
        layers = [[], []]
        for at in range(6):
            spatial = at % 3 == 1
            own = features.spatial[at // 3] if spatial else features.temporal[at - (at + 1) // 3]
            layers[spatial].append(own[:, :, own.shape[2] - steps[at] :])
        return Features(*layers)

    with torch.no_grad():
        said, hidden = teacher(history)
        prediction, features = student(history)
        taught = TeacherOutput.of_pass(said[:, 0], last_steps(hidden))
        loss = make_loss(method, settings_of(method))
        return loss(prediction[:, 0], last_steps(features), target, taught).total.item()


@each_pair
def test_the_newest_steps_that_both_have_are_compared(pair, tmp_path, data):
    assert load(tmp_path, pair, data, {"last"}).windows == STEPS[pair]
    assert steps_of_windows([network(data, "stgcn").config], "stgcn", 2) is None


@each_pair
@pytest.mark.parametrize("budget", [10**9, 0])
def test_every_loss_is_as_with_the_teacher_on_each_window(pair, budget, tmp_path, data):
    targets = load(tmp_path, pair, data, budget=budget)
    assert set(targets.layers) == (set() if budget == 0 else {"temporal", "spatial", "last"})
    student = network(data, pair[1], 2)
    for method in LOSSES:
        wanted = by_hand(pair, data, student, method)
        found, _ = judged(targets, data, student, method, windows_per_segment=1)
        assert found == pytest.approx(wanted, rel=1e-3), method


@each_pair
def test_segments_are_taught_as_their_windows(pair, tmp_path, data):
    targets, student = load(tmp_path, pair, data), network(data, pair[1], 2)
    for method in ("ord", "skd", "stcd"):
        value, gradients = judged(targets, data, student, method, windows_per_segment=5)
        expected, wanted = judged(targets, data, student, method, windows_per_segment=1)
        assert value == pytest.approx(expected, rel=1e-5)
        for one, other in zip(gradients, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_features_are_stored_where_distances_take_too_much_room(tmp_path, data):
    shape = network_shape(data, ((1, 1, 4), (4, 1, 2)), FORMS["direct"].network, "astgcn")
    teacher, student = new_network(shape, data.graph_kernel, 1), network(data, "stgcn", 2)
    found = {}
    for name, budget in {"whole": 10**9, "tight": 300_000}.items():
        students = Students.like(student.config)
        targets = load_teacher_targets(
            tmp_path / name, teacher, data, {"spatial"}, budget, students=students
        )
        found[name] = targets.layers["spatial"], judged_spatial(targets, data, student)
    assert [stored.are_distances for stored, _ in found.values()] == [True, False]
    assert found["whole"][1] == pytest.approx(found["tight"][1], rel=1e-3)


def judged_spatial(targets: TeacherTargets, data: PreparedData, student: SingleNetwork) -> float:
    """SCD alone, of windows one by one."""
    first = (some_rows(data)[:, None] + torch.arange(5)).flatten()
    history, _, rows = cut_batch(data.readings, data.readings, first, 12, 1)
    with torch.no_grad():
        _, features = student(history)
    taught = targets.of(rows, {"spatial"}).require_spatial()
    own = targets.compared(features).spatial
    return sum(scd_loss(*layers).item() for layers in zip(own, taught, strict=True))


def test_a_stored_step_takes_as_many_rows_as_its_window(tmp_path, data):
    rows = max(stretch.stop for stretch in data.stretches("train"))
    of_windows = load(tmp_path / "a", ("astgcn", "stgcn"), data)
    by_step = load(tmp_path / "b", ("stgcn", "astgcn"), data)
    for need, steps in (("temporal", [10, 8, 6, 4]), ("spatial", [10, 6]), ("last", [4])):
        tables = of_windows.layers[need].tables
        assert [len(table.entries) for table in tables] == [rows * one for one in steps]
        assert {len(table.entries) for table in by_step.layers[need].tables} == {rows}
    names = {path.name for path in (tmp_path / "a" / "t").iterdir()}
    assert names == {
        "prediction",
        "temporal-windows-10-8-6-4",
        "spatial-distances-windows-10-6",
        "last-windows-4",
    }


def test_responses_alone_store_no_hidden_layer(tmp_path, data):
    targets = load(tmp_path, ("astgcn", "stgcn"), data, {"prediction"})
    assert {path.name for path in (tmp_path / "t").iterdir()} == {"prediction"}
    student = network(data, "stgcn", 2)
    wanted = by_hand(("astgcn", "stgcn"), data, student, "rd_l2")
    assert judged(targets, data, student, "rd_l2", 5)[0] == pytest.approx(wanted, rel=1e-4)


def test_students_of_one_block_learn_from_its_first(tmp_path, data):
    shape = network_shape(data, ((1, 3, 4),), FORMS["direct"].network)
    student, teacher = new_network(shape, data.graph_kernel, 2), network(data, "astgcn", 1)
    targets = load_teacher_targets(
        tmp_path / "t", teacher, data, ALL_NEEDS, students=Students.like(shape)
    )
    assert (targets.blocks, targets.windows) == (1, (10, 10, 8))
    for method in ("skd", "stcd"):
        assert judged(targets, data, student, method, 5)[0] > 0


def test_an_ensemble_of_several_families_teaches_by_its_forecasts(tmp_path, data, monkeypatch):
    both = Ensemble([network(data, "stgcn", 1), network(data, "astgcn", 1)])
    students = Students.like(network(data, "stgcn", 2).config)
    targets = load_teacher_targets(tmp_path / "t", both, data, {"prediction"}, students=students)
    rows = some_rows(data)
    found = targets.of(rows, {"prediction"}, steps_ahead=data.horizon_steps).prediction
    history, _, _ = cut_batch(data.readings, data.readings, rows, 12, 1)
    with torch.no_grad():
        wanted = torch.stack([one(history)[0][:, 0] for one in both.members]).mean(dim=0)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-3)
    monkeypatch.setattr(teacher_targets, "build_tables", None)
    with pytest.raises(ConfigError, match="astgcn and stgcn have no hidden layers in common"):
        load_teacher_targets(tmp_path / "u", both, data, {"spatial"}, students=students)


def test_windows_are_cut_from_segments():
    layer = torch.arange(2.0 * 1 * 6 * 1).view(2, 1, 6, 1)  # two segments of 3 windows, 4 steps
    features = Features([layer, layer], [layer], windows_per_segment=3)
    found = newest_of_windows(features, (2, 4, 3))
    assert found.windows_per_segment == 1
    assert found.temporal[0][:, 0, :, 0].tolist() == [
        [2, 3],
        [3, 4],
        [4, 5],
        [8, 9],
        [9, 10],
        [10, 11],
    ]
    assert found.spatial[0][1, 0, :, 0].tolist() == [1, 2, 3, 4]
    assert found.temporal[1][5, 0, :, 0].tolist() == [9, 10, 11]
