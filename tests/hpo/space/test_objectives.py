"""Several objectives: names, the Pareto front and the hypervolume, against naive restatements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigError, UnknownNameError
from hpo.space.objectives import hypervolume, hypervolume_history, pareto_front, read_objectives

COORDINATE = st.integers(0, 6).map(float)


def points_of(dimensions: int) -> st.SearchStrategy[list[tuple[float, ...]]]:
    return st.lists(st.tuples(*[COORDINATE] * dimensions), max_size=12)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("val_mae", ("val_mae",)),
        ("val_rmse_45,parameters", ("val_rmse_45", "parameters")),
        ("val_mae, flops, parameters", ("val_mae", "flops", "parameters")),
        ("val_mae,parameters,latency_ms", ("val_mae", "parameters", "latency_ms")),
    ],
)
def test_names_stand_between_commas(text: str, names: tuple[str, ...]) -> None:
    assert read_objectives(text) == names


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("val_mea", UnknownNameError, "unknown objective 'val_mea'; did you mean 'val_mae'"),
        ("val_mae,parameter", UnknownNameError, "'parameter'; did you mean 'parameters'"),
        ("val_mae,latency", UnknownNameError, "'latency'; did you mean 'latency_ms'"),
        ("latency_ms,val_mae", ConfigError, "must begin with a validation error"),
        ("val_mae,", UnknownNameError, "unknown objective ''"),
        ("val_mae,val_mae", ConfigError, "each objective once, got 'val_mae,val_mae'"),
        ("flops,val_mae", ConfigError, "must begin with a validation error .*put it in front"),
    ],
)
def test_what_cannot_be_minimised_is_refused(text: str, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        read_objectives(text)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_front_is_what_nothing_dominates(dimensions: int) -> None:
    @given(points=points_of(dimensions))
    def check(points: list[tuple[float, ...]]) -> None:
        array = np.array(points).reshape(len(points), dimensions)
        expected = {
            index
            for index, point in enumerate(array)
            if not any((other <= point).all() and (other < point).any() for other in array)
        }
        front = pareto_front(points)
        assert set(front) == expected
        assert [points[index][0] for index in front] == sorted(points[index][0] for index in front)

    check()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_hypervolume_is_the_share_of_unit_cells_dominated(dimensions: int) -> None:
    @given(points=points_of(dimensions))
    def check(points: list[tuple[float, ...]]) -> None:
        reference = (4.0, 5.0, 3.0)[:dimensions]
        cells = np.stack(
            np.meshgrid(*[np.arange(end) for end in reference], indexing="ij"), axis=-1
        ).reshape(-1, dimensions)
        # Whole points: a cell is dominated as its lower corner is.
        dominated = [any((np.array(point) <= cell).all() for point in points) for cell in cells]
        assert hypervolume(points, reference) == pytest.approx(np.mean(dominated))

    check()


@given(points=points_of(2))
def test_the_hypervolume_over_time_never_falls_and_ends_at_that_of_all(
    points: list[tuple[float, ...]],
) -> None:
    history = hypervolume_history(points, {"val_mae": 5.0, "parameters": 4.0})
    assert len(history) == len(points)
    assert history == sorted(history)
    if points:
        assert history[-1] == pytest.approx(hypervolume(points, (5.0, 4.0)))


@pytest.mark.parametrize("end", [math.nan, math.inf, 0.0])
def test_no_hypervolume_without_a_reference(end: float) -> None:
    assert hypervolume_history([(1.0, 1.0)], {"val_mae": end, "parameters": 4.0}) == []
    assert hypervolume_history([(1.0, 1.0)], {}) == []
