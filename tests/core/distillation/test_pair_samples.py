"""SCD over a sample of the pairs of nodes."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.distillation.correlation.pair_samples import SampledPairs, check_pairs, sample_pairs
from core.distillation.correlation.step_tables import (
    StoredDistances,
    StoredFeatures,
    to_fixed_point,
)
from core.distillation.correlation.terms import node_distances, scd_loss
from core.errors import ConfigError
from core.experiments import StudentConfig
from tests.oracles import loss_oracle as oracle

ROWS = torch.tensor([4, 17, 9])


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(1, 50), st.integers(2, 60), st.integers(0, 2**63 - 1))
def test_pairs_are_pairs(count, nodes, seed):
    i, j = sample_pairs(count, seed, ROWS).of(7, nodes)
    assert i.shape == j.shape == (7, count)
    assert ((i >= 0) & (i < j) & (j < nodes)).all()


def test_every_pair_is_as_likely_at_every_step():
    count, N = 6000, 5
    i, j = sample_pairs(count, 3, ROWS).of(4, N)
    pairs = list(combinations(range(N), 2))
    found = np.array([[((i[g] == a) & (j[g] == b)).sum() for a, b in pairs] for g in range(4)])
    expected = count / len(pairs)
    # Chi-squared with 9 degrees of freedom: above 33.7 once in 10,000 times.
    assert (((found - expected) ** 2 / expected).sum(axis=1) < 33.7).all()
    assert not torch.equal(i[0], i[1])  # each step draws by itself


def test_they_depend_on_seed_and_rows_in_their_order_alone():
    def drawn(seed: int, rows: torch.Tensor) -> list[int]:
        return torch.stack(sample_pairs(40, seed, rows).of(2, 30)).flatten().tolist()

    assert drawn(5, ROWS) == drawn(5, ROWS.clone())
    others = [drawn(6, ROWS), drawn(5, ROWS.flip(0)), drawn(5, ROWS + 1), drawn(5, ROWS[:2])]
    assert all(other != drawn(5, ROWS) for other in others)
    # One end of the pair and the next draw have nothing to do with each other.
    i, _ = sample_pairs(20000, 1, ROWS).of(1, 50)
    first, second = i[0, :-1].double(), i[0, 1:].double()
    assert abs(torch.corrcoef(torch.stack([first, second]))[0, 1]) < 0.03


@pytest.mark.parametrize("windows", [1, 3])
def test_the_mean_over_seeds_is_that_over_all_pairs(windows):
    student, teacher = draw(3, 2, 5, 6).requires_grad_(), draw(3, 4, 5, 6, seed=1)
    exact = scd_loss(student, teacher, windows_per_segment=windows)
    (exact_gradient,) = torch.autograd.grad(exact, student)
    values, gradients = [], []
    for seed in range(600):
        pairs = sample_pairs(3, seed, ROWS)
        value = scd_loss(student, teacher, windows_per_segment=windows, pairs=pairs)
        values.append(value.detach())
        gradients.append(torch.autograd.grad(value, student)[0])
    for found, expected in ((values, exact.detach()), (gradients, exact_gradient)):
        sample = torch.stack(found)
        deviation = sample.std(dim=0) / len(sample) ** 0.5
        # Five standard deviations, of 180 numbers: the seeds are fixed, and this holds for most.
        assert ((sample.mean(dim=0) - expected).abs() <= 5 * deviation).all()
        assert (deviation <= 0.1 * expected.abs().max()).all()
    one, many = (scd_loss(student, teacher, pairs=sample_pairs(k, 0, ROWS)) for k in (1, 20000))
    everything = oracle.scd(student.detach().numpy(), teacher.numpy())
    assert many.item() == pytest.approx(everything, rel=0.02)
    assert abs(one.item() - everything) > abs(many.item() - everything)


@pytest.mark.parametrize("stored", [StoredDistances, StoredFeatures])
def test_what_is_stored_stands_for_the_teachers_features(stored):
    rows, T = [5, 0, 11], 4
    day, student = draw(1, 5, 20, 7).float(), draw(3, 2, T, 7, seed=1).float().requires_grad_()
    teacher = torch.cat([day[:, :, row : row + T] for row in rows])
    values = node_distances(day)[0] if stored is StoredDistances else day[0].transpose(0, 1)
    low = torch.zeros(20) if stored is StoredDistances else values.flatten(1).amin(dim=1)
    taught = stored(to_fixed_point(values, low), torch.tensor(rows))
    pairs = sample_pairs(9, 0, ROWS)
    found, expected = (scd_loss(student, known, pairs=pairs) for known in (taught, teacher))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    slopes = [torch.autograd.grad(value, student)[0] for value in (found, expected)]
    torch.testing.assert_close(*slopes, rtol=1e-3, atol=3e-4 * float(slopes[1].abs().max()))


def test_two_nodes_have_one_pair():
    student, teacher = draw(2, 1, 3, 2), draw(2, 3, 3, 2, seed=1)
    value = scd_loss(student, teacher, pairs=sample_pairs(1, 0, ROWS[:2]))
    torch.testing.assert_close(value, scd_loss(student, teacher))


def test_what_cannot_be_sampled_is_refused():
    for count in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match=f"whole number of at least 1, got {count}"):
            check_pairs(count)
    with pytest.raises(ConfigError, match="whole number of at least 1, got 0"):
        StudentConfig("scd", pairs=0)
    with pytest.raises(ConfigError, match=r"methods with SCD, scd and stcd, got 'ord'; leave"):
        StudentConfig("ord", pairs=5)
    signal = draw(2, 3, 4, 5)
    with pytest.raises(ConfigError, match=r"sampled pairs need backend torch, got numba; leave"):
        scd_loss(signal, signal, "numba", pairs=SampledPairs(2, torch.tensor(0)))
