"""Any dataset in any dialect: the same numbers for the same sensors, or one line that says why."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from core.datasets.graph_files import GraphSource, read_adjacency
from core.datasets.readings_files import ReadingsSource, read_readings
from core.errors import UserError

CASES = 150
"""Once run with 2,000."""
Result = TypeVar("Result")
IDS = st.one_of(
    st.integers(0, 9).map(str),
    st.integers(400_000, 400_009).map(str),
    st.integers(0, 99).map("{:03}".format),
    st.text("abcI-5,;\t\"' äNA.", min_size=1, max_size=6).filter(lambda name: name == name.strip()),
)
READINGS = st.one_of(
    st.none(), st.floats(-200, 200).map(lambda value: round(value, 3)), st.integers(0, 2000)
)


@st.composite
def datasets(draw: st.DrawFn) -> tuple[list[str], list[list[float | None]]]:
    """Ids and rows of readings."""
    ids = draw(st.lists(IDS, min_size=1, max_size=5, unique=True))
    row = st.lists(READINGS, min_size=len(ids), max_size=len(ids))
    return ids, draw(st.lists(row, min_size=1, max_size=6))


def written(rows: list[list[str]], separator: str, quoting: int, end: str) -> str:
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(rows)
    return stream.getvalue()


def texts(values: list[float | None], decimal: str) -> list[str]:
    return ["" if value is None else repr(value).replace(".", decimal) for value in values]


def or_refused(call: Callable[[], Result]) -> Result | None:
    """What a call returns; None if it is refused, which must take one line."""
    refusal = None
    try:
        result = call()
    except UserError as error:
        refusal = str(error)
    event("read" if refusal is None else "refused")
    if refusal is None:
        return result
    assert "\n" not in refusal
    assert len(refusal) > 40
    return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("random")


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_what_is_written_is_read_or_refused(folder: Path, data: st.DataObject) -> None:
    ids, rows = data.draw(datasets())
    separator, decimal = data.draw(
        st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ",")])
    )
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    timed = data.draw(st.booleans())
    header = ["time", *ids] if timed else ids
    cells = [
        [f"2024-03-04 {hour:02}:00", *texts(row, decimal)] if timed else texts(row, decimal)
        for hour, row in enumerate(rows)
    ]
    path = folder / "readings.csv"
    path.write_text(written([header, *cells], separator, quoting, end), newline="")
    how = data.draw(st.sampled_from(["auto", "yes"]))
    source = ReadingsSource(
        readings=path, header=how, time_column="time" if timed and "time" not in ids else None
    )
    found = or_refused(lambda: read_readings(source))
    if found is None:
        return
    expected = np.array(rows, dtype=np.float32).reshape(len(rows), len(ids))
    if found.sensor_ids is None:
        # A first row of numbers among readings' own may be one; the count of rows tells.
        assert how == "auto"
        assert len(found.values) == len(rows) + 1
    else:
        assert found.sensor_ids == tuple(ids)
        np.testing.assert_array_equal(found.values, expected)


@settings(
    max_examples=CASES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_edges_and_matrices_join_the_same_sensors_in_any_order(
    folder: Path, data: st.DataObject
) -> None:
    ids = data.draw(st.lists(IDS, min_size=2, max_size=5, unique=True))
    order = data.draw(st.permutations(ids))
    metres = {
        frozenset((a, b)): data.draw(st.integers(1, 2000))
        for index, a in enumerate(ids)
        for b in ids[index + 1 :]
    }
    separator = data.draw(st.sampled_from([",", ";", "\t"]))
    edges = [["from", "to", "cost"]]
    edges += [
        [*data.draw(st.permutations(sorted(pair))), str(cost)] for pair, cost in metres.items()
    ]
    matrix = [["", *order]] if data.draw(st.booleans()) else [list(order)]
    for a in order:
        row = [str(metres.get(frozenset((a, b)), 0)) for b in order]
        matrix.append([a, *row] if len(matrix[0]) > len(order) else row)
    expected = np.array(
        [
            [np.exp(-((metres.get(frozenset((a, b)), np.inf) / 1000) ** 2) / 10) for b in ids]
            for a in ids
        ]
    )
    expected[expected < 0.5] = 0
    for kind, rows in (("edges", edges), ("distances", matrix)):
        path = folder / f"{kind}.csv"
        path.write_text(written(rows, separator, csv.QUOTE_MINIMAL, "\n"), newline="")
        source = GraphSource(**{kind: path})
        found = or_refused(lambda source=source: read_adjacency(source, len(ids), tuple(ids)))
        if found is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-6)
