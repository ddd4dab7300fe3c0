"""The terms for CUDA, on a GPU where there is one, else in Triton's interpreter (``conftest``)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.distillation.correlation.backends import import_compiled_terms
from core.distillation.correlation.step_tables import (
    StoredDistances,
    StoredFeatures,
    to_fixed_point,
)
from core.distillation.correlation.terms import node_distances, scd_loss, step_distances, tcd_loss
from core.errors import ConfigError
from tests.oracles import loss_oracle as oracle

pytest.importorskip("triton")

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TERMS = {"scd": (scd_loss, oracle.scd), "tcd": (tcd_loss, oracle.tcd)}
# B, student C, teacher C, T, N: one window, one channel, the fewest pairs, several blocks.
SHAPES = [
    (3, 2, 5, 4, 7),
    (1, 1, 3, 3, 2),
    (2, 3, 1, 2, 5),
    (1, 1, 1, 2, 2),
    (3, 7, 6, 3, 37),
    (1, 33, 2, 3, 67),
    (1, 2, 32, 9, 20),
]


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def fused(loss, student: torch.Tensor, teacher, windows: int = 1, upstream: float = 1.0):
    """The value and gradient of the compiled term, on the CPU."""
    own = student.to(DEVICE, copy=True).requires_grad_()
    value = loss(own, teacher, backend="triton", windows_per_segment=windows)
    value.backward(torch.tensor(upstream, device=DEVICE))
    return value.cpu(), own.grad.cpu()


def exact(loss, student: torch.Tensor, teacher: torch.Tensor, windows: int = 1) -> torch.Tensor:
    own = student.double().requires_grad_()
    loss(own, teacher.double(), backend="torch", windows_per_segment=windows).backward()
    return own.grad


def assert_gradient(found: torch.Tensor, expected: torch.Tensor, accuracy: float = 1e-5) -> None:
    bound = accuracy * float(expected.abs().max())
    np.testing.assert_allclose(found, expected, rtol=accuracy, atol=bound)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("term", TERMS)
def test_they_follow_the_equations(term, shape):
    loss, naive = TERMS[term]
    B, C, C2, T, N = shape
    student, teacher = draw(B, C, T, N), draw(B, C2, T, N, seed=1)
    student[0, :, 1] = student[0, :, 0]  # ties, whose slope is zero
    student[0, :, :, 1] = student[0, :, :, 0]
    value, gradient = fused(loss, student, teacher.to(DEVICE), upstream=2.0)
    assert value.dtype == torch.float32
    expected = naive(student.double().numpy(), teacher.double().numpy())
    assert value.item() == pytest.approx(expected, rel=1e-5)
    assert_gradient(gradient, 2 * exact(loss, student, teacher))


@pytest.mark.parametrize("windows", [1, 3])
@pytest.mark.parametrize(
    ("term", "form"),
    [
        ("scd", "features at hand"),
        ("scd", "features"),
        ("scd", "distances"),
        ("tcd", "features at hand"),
        ("tcd", "distances"),
    ],
)
def test_segments_and_what_is_stored_weigh_alike(term, form, windows):
    loss, _ = TERMS[term]
    T, rows = 3 + windows, [5, 0, 11, 5]  # any order, one of them twice
    day, student = draw(1, 5, 20, 6), draw(4, 3, T, 6, seed=1)
    teacher = torch.cat([day[:, :, row : row + T] for row in rows])
    taught, seen = taught_in(form, term, day, teacher, T - windows, rows)
    value, gradient = fused(loss, student, taught, windows)
    own = student.double().requires_grad_()
    expected = loss(own, seen, backend="torch", windows_per_segment=windows)
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)
    assert_gradient(gradient, own.grad)


def taught_in(form, term, day, teacher, lags, rows):
    """What the compiled term is given of the teacher, and the reference: of the same rounding."""
    if form == "features at hand":
        return teacher.to(DEVICE), teacher.double()
    first = torch.tensor(rows).repeat_interleave(2)[::2]  # a slice with a step, as in training
    values, stored = day[0].transpose(0, 1), StoredFeatures
    if form == "distances":
        stored = StoredDistances
        values = node_distances(day)[0] if term == "scd" else step_distances(day, lags)[0]
    low = values.flatten(1).amin(dim=1) if stored is StoredFeatures else torch.zeros(len(values))
    table = to_fixed_point(values, low)
    return stored(table.to(torch.device(DEVICE)), first.to(DEVICE)), stored(table, first)


@pytest.mark.parametrize("term", TERMS)
def test_they_repeat_bit_for_bit_and_take_features_that_are_not_contiguous(term):
    loss, _ = TERMS[term]
    student = draw(4, 5, 3, 2).permute(3, 2, 1, 0)
    teacher = draw(2, 6, 5, 8, seed=1)[..., ::2]
    first, again = (fused(loss, student, teacher.to(DEVICE)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert_gradient(first[1], exact(loss, student, teacher))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, inside the interpreter
@pytest.mark.parametrize("term", TERMS)
def test_what_is_no_number_shows_and_a_second_derivative_is_refused(term):
    loss, _ = TERMS[term]
    student, teacher = draw(2, 3, 4, 5), draw(2, 2, 4, 5, seed=1).to(DEVICE)
    for poison in (torch.nan, torch.inf):
        bad = student.clone()
        bad[1, 2, 3, 4] = poison
        assert not loss(bad.to(DEVICE), teacher, backend="triton").isfinite()
    own = student.to(DEVICE).requires_grad_()
    value = loss(own, teacher, backend="triton")
    with pytest.raises(ConfigError, match="no second derivative, got create_graph=True"):
        torch.autograd.grad(value, own, create_graph=True)


@pytest.mark.skipif(DEVICE == "cpu", reason="there is no GPU")
@pytest.mark.parametrize("term", TERMS)
def test_they_are_taken_where_they_fit(term):
    loss, _ = TERMS[term]
    student, teacher = draw(2, 3, 4, 5).cuda(), draw(2, 2, 4, 5, seed=1).cuda()
    assert torch.equal(loss(student, teacher), loss(student, teacher, backend="triton"))
    torch.testing.assert_close(loss(student, teacher), loss(student, teacher, backend="torch"))


def test_they_are_refused_where_they_do_not_fit(monkeypatch):
    single, double = draw(2, 3, 4, 5), draw(2, 3, 4, 5).double()
    with pytest.raises(ConfigError, match=r"triton needs float32 on the cuda, got torch.float64"):
        scd_loss(double, double, backend="triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ConfigError, match=r"triton needs float32 on the cuda, .* on cpu; use"):
        scd_loss(single, single, backend="triton")


def test_without_triton_it_says_so_once(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "core.distillation.correlation.cuda", None)
    import_compiled_terms.cache_clear()
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    student = draw(2, 3, 4, 5)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"needs the package triton, found none; pip install"):
            tcd_loss(student, student, backend="triton")
    assert caplog.text.count("run many times faster with triton") == 1
    import_compiled_terms.cache_clear()


COMPILE_SCRIPT = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from core.distillation.correlation import cuda as terms

FLOATS = dict.fromkeys(("student", "scale", "weights", "gradient", "sums"), "*fp32")
SIZES = dict.fromkeys(("T", "C", "N", "width"), "i32")
for kernel, blocks, least in (
    (terms._scd_of_block, {"ROWS": 32, "OTHERS": 64}, {"T": 1, "C": 1}),
    (terms._tcd_of_block, {"NODES": 128}, {"N": 1, "C": 1, "width": 1}),
):
    for stored, entries in ((True, "*i16"), (False, "*i16"), (False, "*fp32")):
        for ones in ({}, least):  # a size of one is a constant to the compiler
            constants = {"STORED": stored, "CHANNELS": 4, **blocks, **ones}
            types = {**FLOATS, **SIZES, "entries": entries, "rows": "*i64"}
            types |= dict.fromkeys(constants, "constexpr")
            signature = {name: types[name] for name in kernel.arg_names}
            source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
            assert triton.compile(source, target=GPUTarget("cuda", 80, 32)).asm["ptx"]
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_they_compile_for_a_gpu(tmp_path, monkeypatch):
    """The interpreter allows more than the compiler does."""
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    root = Path(__file__).parents[3]
    subprocess.run([sys.executable, "-c", COMPILE_SCRIPT], cwd=root, check=True)
