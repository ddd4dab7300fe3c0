"""Targets read from tables against the teacher run window by window, and files that went wrong."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import partial

import pytest
import torch

from core.distillation import teacher_targets
from core.distillation.correlation.terms import node_distances, step_distances
from core.distillation.layer_alignment import Students
from core.distillation.losses import LOSSES, Loss, TeacherOutput, make_loss
from core.distillation.teacher_targets import TeacherTargets, load_teacher_targets
from core.ensemble import Ensemble
from core.experiments import network_shape, new_network
from core.forms import FORMS
from core.preprocessing.batching import cut_batch
from core.preprocessing.prepare import PreparedData, prepare
from core.preprocessing.windows import segment_rows, window_rows
from core.stgcn import STGCN
from tests.loss_settings import settings_of
from tests.oracles.forecasting_oracle import plain_roll_out
from tests.small_students import make_student

ALL_NEEDS = ("prediction", "temporal", "spatial", "last")


@pytest.fixture(scope="module")
def data(tiny_dataset) -> PreparedData:
    return prepare(tiny_dataset)


def network(data: PreparedData, seed: int = 0, form: str = "paper") -> STGCN:
    shape = network_shape(data, ((1, 5, 6), (6, 5, 7)), FORMS[form].network)
    return new_network(shape, data.graph_kernel, seed)


@pytest.fixture(scope="module", params=FORMS)
def teacher(data, request) -> STGCN:
    return network(data, form=request.param)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, teacher):
    return tmp_path_factory.mktemp("teacher") / "targets"


@pytest.fixture(scope="module")
def targets(folder, teacher, data) -> TeacherTargets:
    return load_teacher_targets(folder, teacher, data, ALL_NEEDS)


def by_window(teacher: STGCN, data: PreparedData, rows: torch.Tensor) -> TeacherOutput:
    """The teacher on every window by itself; its prediction is a whole forecast [B, H, N]."""
    history, _, _ = cut_batch(data.readings, data.readings, rows, data.history_steps, 1)
    passes = [teacher(window[None]) for window in history]
    layers = {
        kind: [torch.cat(runs) for runs in zip(*(getattr(f, kind) for _, f in passes), strict=True)]
        for kind in ("temporal", "spatial")
    }
    prediction = plain_roll_out(teacher, history[:, 0], data.horizon_steps)
    return TeacherOutput(prediction, **layers, last=layers["temporal"][-1:])


def loss_of(method: str) -> Loss:
    return make_loss(method, settings_of(method))


def some_rows(data: PreparedData) -> torch.Tensor:
    """The first and last window of every stretch, and some between."""
    rows = window_rows(data.stretches("train"), data.window_steps)
    steps = rows[1:] - rows[:-1]
    jumps = torch.nonzero(steps > 1).flatten()
    ends = torch.cat([rows[:2], rows[jumps], rows[jumps + 1], rows[-2:]])
    return torch.cat([ends, rows[::97]])


def test_forecasts_are_those_of_each_window_by_itself(data, teacher, targets):
    rows, steps = some_rows(data), data.horizon_steps
    wanted = by_window(teacher, data, rows).prediction
    found = targets.of(rows, {"prediction"}, steps_ahead=steps).prediction
    assert found.shape == (len(rows), steps, data.card.num_sensors)
    flat = wanted.flatten(1)
    step = (flat.amax(dim=1) - flat.amin(dim=1)) / (2**15 - 1)
    assert ((found - wanted).abs() <= (0.5 * step + 1e-5)[:, None, None]).all()
    starts = torch.zeros(len(targets.forecasts.entries), dtype=torch.bool)
    starts[window_rows(data.stretches("train"), data.window_steps)] = True
    everything = targets.of(torch.arange(len(starts)), {"prediction"}, steps_ahead=steps)
    assert everything.prediction.isnan().all(dim=(1, 2)).equal(~starts)
    assert everything.prediction.isnan().any(dim=(1, 2)).equal(~starts)


def test_a_student_reads_as_many_steps_as_it_predicts(data, targets):
    rows, steps = some_rows(data), data.horizon_steps
    whole = targets.of(rows, {"prediction"}, steps_ahead=steps).prediction
    assert torch.equal(targets.of(rows, {"prediction"}).prediction, whole[:, 0])
    assert torch.equal(targets.of(rows, {"prediction"}, steps_ahead=2).prediction, whole[:, :2])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend", ["torch", "numba"])
@pytest.mark.parametrize("method", LOSSES)
def test_every_loss_and_its_gradient_are_as_with_the_teacher_on_each_window(
    method, backend, form, data, teacher, targets, monkeypatch
):
    if backend == "torch":
        monkeypatch.setattr("core.distillation.correlation.terms.compiled_terms", lambda *_: None)
    loss = loss_of(method)
    student, rows = make_student(data, form=form), some_rows(data)
    ahead = student.config.steps_ahead
    history, target, _ = cut_batch(data.readings, data.readings, rows, data.history_steps, 1, ahead)

    def judged(taught: TeacherOutput) -> tuple[torch.Tensor, list[torch.Tensor]]:
        prediction, features = student(history)
        student.zero_grad()
        value = loss(prediction[:, 0], features, target, taught)
        value.backward(list(student.parameters()))
        return value.total, [parameter.grad for parameter in student.parameters()]

    value, gradients = judged(targets.of(rows, loss.needs, steps_ahead=ahead))
    said = by_window(teacher, data, rows)
    if ahead is None:
        said = replace(said, prediction=said.prediction[:, 0])
    expected, expected_gradients = judged(said)
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=0)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=3e-3 * float(wanted.abs().max()))


@pytest.mark.parametrize("budget", [teacher_targets.MEMORY_BUDGET, 150_000, 0])
def test_segments_are_taught_as_their_windows_whatever_is_stored(
    budget, tmp_path, data, teacher, caplog
):
    targets = load_teacher_targets(tmp_path / "targets", teacher, data, ALL_NEEDS, budget)
    assert ("the teacher runs on every batch" in caplog.text) == (budget < 1e6)
    student, size = make_student(data), 5
    first, _ = segment_rows(data.stretches("train"), data.window_steps, size, 3)
    first = first[[0, 7, -1]]
    losses = {}
    for W, start in ((size, first), (1, (first[:, None] + torch.arange(size)).flatten())):
        history, target, rows = cut_batch(
            data.readings, data.readings, start, data.history_steps, W
        )
        prediction, features = student(history)
        features = replace(features, windows_per_segment=W)
        for method in ("ord", "skd", "stcd"):
            loss = loss_of(method)
            taught = targets.of(rows, loss.needs, W)
            value = loss(prediction.flatten(0, 1), features, target, taught)
            losses[method, W] = value.total.item()
    for method in ("ord", "skd", "stcd"):
        assert losses[method, size] == pytest.approx(losses[method, 1], rel=1e-5)


def test_only_what_a_loss_needs_is_built(tmp_path, data, teacher):
    built = {}
    for method in LOSSES:
        folder = tmp_path / method / "targets"
        load_teacher_targets(folder, teacher, data, LOSSES[method].needs)
        built[method] = {path.name for path in folder.glob("*")}
    assert built["none"] == set()
    assert built["ord"] == built["rd_l2"] == built["rd_kl"] == {"prediction"}
    assert built["tcd"] == {"prediction", "temporal"}
    assert built["scd"] == {"prediction", "spatial-distances"}
    assert built["stcd"] == {"prediction", "temporal", "spatial-distances"}
    assert built["skd"] == {"prediction", "last"}


def test_progress_is_told_in_windows(tmp_path, data, teacher):
    told = []
    load_teacher_targets(
        tmp_path / "targets",
        teacher,
        data,
        {"prediction"},
        on_progress=lambda *now: told.append(now),
    )
    windows = len(window_rows(data.stretches("train"), data.window_steps))
    assert told[-1] == (windows, windows)
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_a_trial_never_runs_the_teacher(folder, targets, teacher, data, monkeypatch):
    again = load_teacher_targets(folder, teacher, data, ALL_NEEDS)
    monkeypatch.setattr(STGCN, "forward", None)
    monkeypatch.setattr(teacher_targets, "build_tables", None)
    for method in LOSSES:
        again.of(some_rows(data), LOSSES[method].needs)


def fresh(tmp_path, teacher, data, needs=("prediction", "spatial")):
    path = tmp_path / "targets"
    load_teacher_targets(path, teacher, data, needs)
    return path


def scd_of(targets: TeacherTargets, data: PreparedData) -> float:
    rows = some_rows(data)
    history, target, _ = cut_batch(data.readings, data.readings, rows, data.history_steps, 1)
    prediction, features = make_student(data)(history)
    loss = make_loss("scd", {"alpha1": 0.4, "alpha3": 1.0})
    return loss(prediction[:, 0], features, target, targets.of(rows, loss.needs)).total.item()


def flip(path, data=None):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def empty(path):
    path.write_bytes(b"")


def forget_check(path):
    path.with_name("check.json").unlink()


def garble_check(path):
    path.with_name("check.json").write_text('["not", "it"]')


@pytest.mark.parametrize("damage", [flip, truncate, empty, forget_check, garble_check])
def test_damaged_targets_are_built_anew_with_a_message(damage, tmp_path, teacher, data, caplog):
    path = fresh(tmp_path, teacher, data)
    good = scd_of(load_teacher_targets(path, teacher, data, ("prediction", "spatial")), data)
    assert not caplog.text
    damage(path / "spatial-distances" / "tables.safetensors")
    targets = load_teacher_targets(path, teacher, data, ("prediction", "spatial"))
    assert caplog.text.count("building the teacher's targets anew") == 1
    assert scd_of(targets, data) == good


def test_targets_of_other_weights_or_data_are_stale(tmp_path, teacher, data, caplog):
    path = fresh(tmp_path, teacher, data)
    other = network(data, seed=1)
    targets = load_teacher_targets(path, other, data, ("prediction", "spatial"))
    assert "must be of this teacher and data, but is older" in caplog.text
    rows = some_rows(data)
    expected = by_window(other, data, rows).prediction[:, 0]
    found = targets.of(rows, {"prediction"}).prediction
    torch.testing.assert_close(found, expected, rtol=0.0, atol=1e-4)
    caplog.clear()
    load_teacher_targets(path, other, replace(data, fingerprint="other"), ("prediction",))
    assert "but is older" in caplog.text


def test_a_copied_file_is_read_through_once(tmp_path, teacher, data, monkeypatch):
    path = fresh(tmp_path, teacher, data)
    tables = path / "spatial-distances" / "tables.safetensors"
    tables.touch()
    hashed = []
    whole = "core.distillation.table_files.sha256_of_file"
    from core.files import sha256_of_file

    monkeypatch.setattr(whole, lambda file: hashed.append(file) or sha256_of_file(file))
    for _ in range(3):
        load_teacher_targets(path, teacher, data, ("prediction", "spatial"))
    assert hashed == [tables]


def test_one_builds_while_others_wait(tmp_path, teacher, data, monkeypatch):
    builds = []
    build = teacher_targets.build_tables

    def counted(*arguments):
        builds.append(1)
        build(*arguments)

    monkeypatch.setattr(teacher_targets, "build_tables", counted)
    found = []

    def ask() -> None:
        found.append(load_teacher_targets(tmp_path / "targets", teacher, data, ALL_NEEDS))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(builds) == 1
    assert len(found) == 4


def test_a_build_that_fails_leaves_nothing(tmp_path, teacher, data):
    path = tmp_path / "targets"

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_teacher_targets(path, teacher, data, ALL_NEEDS, on_progress=stop)
    assert list(path.iterdir()) == []


def test_a_diverged_teacher_shows_in_the_loss(tmp_path, data):
    sick = network(data)
    with torch.no_grad():
        sick.blocks[0].spatial.bias[0] = torch.nan
    targets = load_teacher_targets(tmp_path / "targets", sick, data, ("prediction", "spatial"))
    assert torch.tensor(scd_of(targets, data)).isnan()


# The next step alone


def test_students_of_one_step_spare_the_roll_out_of_their_teacher(data, tmp_path):
    """Its first step, stored in a folder of its own, is that of the whole forecast."""
    teacher, rows = network(data), some_rows(data)
    whole = load_teacher_targets(tmp_path / "whole", teacher, data, ALL_NEEDS)
    alone = load_teacher_targets(tmp_path / "next", teacher, data, ALL_NEEDS, students=Students(1))
    assert {path.name for path in (tmp_path / "next").iterdir()} >= {"prediction-next", "temporal"}
    assert alone.forecasts.entries.shape[1] == 1
    first = whole.of(rows, {"prediction"}).prediction
    torch.testing.assert_close(alone.of(rows, {"prediction"}).prediction, first, rtol=0, atol=1e-4)


def test_which_forecasts_are_read_does_not_depend_on_what_is_stored(data, tmp_path):
    """Else a trial that resumes would have slightly other targets than it began with."""
    teacher, folder, rows = network(data), tmp_path / "targets", some_rows(data)
    alone = load_teacher_targets(folder, teacher, data, ["prediction"], students=Students(1))
    load_teacher_targets(folder, teacher, data, ["prediction"])
    again = load_teacher_targets(folder, teacher, data, ["prediction"], students=Students(1))
    assert {path.name for path in folder.iterdir()} == {"prediction", "prediction-next"}
    found = [one.of(rows, {"prediction"}).prediction for one in (alone, again)]
    assert torch.equal(*found)


@pytest.mark.parametrize("steps_per_pass", [1, None])
def test_a_teacher_of_the_whole_horizon_is_stored_whole(steps_per_pass, data, tmp_path):
    teacher, folder = network(data, form="direct"), tmp_path / "targets"
    found = load_teacher_targets(
        folder, teacher, data, ["prediction"], students=Students(steps_per_pass)
    )
    assert found.forecasts.entries.shape[1] == data.horizon_steps


def test_an_ensembles_targets_are_the_means_of_its_members(data, tmp_path):
    members = [network(data, seed, "direct") for seed in range(3)]
    ensemble = Ensemble(members)
    targets = load_teacher_targets(tmp_path / "targets", ensemble, data, ALL_NEEDS)
    rows = some_rows(data)[:6]
    found = targets.of(rows, ALL_NEEDS, steps_ahead=data.horizon_steps)
    each = [by_window(member, data, rows) for member in members]
    wanted = torch.stack([one.prediction for one in each]).mean(dim=0)
    torch.testing.assert_close(found.prediction, wanted, rtol=0, atol=1e-3)
    for kind, distances in (("spatial", node_distances), ("temporal", None)):
        for at, layer in enumerate(getattr(found, kind)):
            own = [getattr(one, kind)[at] for one in each]
            steps = own[0].shape[2]
            of = distances or partial(step_distances, lags=steps - 1)
            mean = torch.stack([of(one) for one in own]).mean(dim=0)
            stored = layer.at(steps)
            if distances is None:  # the tables go on beyond the window's last step
                stored = torch.where(mean == 0, 0.0, stored)
            torch.testing.assert_close(stored, mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("blocks", [1, 2, 3])
def test_layers_are_compared_that_saw_as_much_of_the_history(data, tmp_path, blocks):
    teacher = network(data)
    targets = load_teacher_targets(
        tmp_path / "targets", teacher, data, ALL_NEEDS, students=Students(blocks=blocks)
    )
    shared = min(blocks, 2)
    found = targets.of(some_rows(data)[:3], ALL_NEEDS)
    assert (len(found.temporal), len(found.spatial), len(found.last)) == (2 * shared, shared, 1)
    wanted = by_window(teacher, data, some_rows(data)[:3]).temporal[2 * shared - 1]
    steps = wanted.shape[2]
    torch.testing.assert_close(found.last[0].at(steps), wanted, rtol=0, atol=1e-3)
    live = load_teacher_targets(
        tmp_path / "none", teacher, data, ALL_NEEDS, 0, students=Students(blocks=blocks)
    ).of(some_rows(data)[:3], {"temporal", "spatial", "last"})
    assert [len(live.temporal), len(live.spatial)] == [2 * shared, shared]
    torch.testing.assert_close(live.last[0], wanted)
