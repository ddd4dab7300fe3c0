from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from core.datasets.graph_files import GraphSource, read_adjacency
from core.errors import DatasetError
from core.graph import gaussian_adjacency

IDS = ("30", "10", "20")
KILOMETRES = np.array([[0.0, 1.5, 2.2], [1.5, 0, 0], [2.2, 0, 0]])


@pytest.fixture
def write(tmp_path):
    def write_matrix(values, **options):
        path = tmp_path / "graph.csv"
        pd.DataFrame(values).to_csv(path, **{"header": False, "index": False, **options})
        return path

    return write_matrix


@pytest.fixture
def write_edges(tmp_path):
    def write_text(*rows, header="from,to,cost"):
        path = tmp_path / "edges.csv"
        path.write_text("\n".join([header, *rows] if header else rows) + "\n")
        return path

    return write_text


@pytest.mark.parametrize(
    ("unit", "factor"), [("metres", 1000), ("kilometres", 1), ("miles", 1 / 1.609344)]
)
def test_distances_in_any_unit(write, unit, factor):
    source = GraphSource(distances=write(KILOMETRES * factor), distance_unit=unit)
    found = read_adjacency(source, 3, None)
    np.testing.assert_allclose(found, gaussian_adjacency(KILOMETRES), rtol=1e-6)
    assert found[1, 2] == 1.0


def test_a_zero_may_mean_no_road(write):
    path = write(KILOMETRES * 1000)
    found = read_adjacency(GraphSource(distances=path, zero_distance="unconnected"), 3, None)
    assert found[1, 2] == found[2, 1] == 0.0
    assert found[0, 1] == pytest.approx(np.exp(-0.225))


@pytest.mark.parametrize("index", [False, True])
def test_a_header_of_ids_puts_sensors_in_order(write, index):
    order = ["10", "20", "30"]
    frame = pd.DataFrame(KILOMETRES * 1000, index=list(IDS), columns=list(IDS)).loc[order, order]
    source = GraphSource(distances=write(frame, header=True, index=index))
    found = read_adjacency(source, 3, IDS)
    np.testing.assert_allclose(found, gaussian_adjacency(KILOMETRES), rtol=1e-6)


def test_a_header_of_positions_is_no_order(write):
    source = GraphSource(distances=write(KILOMETRES * 1000, header=True))
    expected = gaussian_adjacency(KILOMETRES)
    np.testing.assert_allclose(read_adjacency(source, 3, IDS), expected, rtol=1e-6)


def test_a_header_of_other_sensors_is_refused(write):
    frame = pd.DataFrame(KILOMETRES, columns=["30", "10", "99"])
    with pytest.raises(DatasetError, match="'20' is in one of the two only"):
        read_adjacency(GraphSource(distances=write(frame, header=True)), 3, IDS)


def test_adjacency_loses_its_diagonal_and_nothing_else(write):
    weights = np.array([[1, 0.25, 0], [0.25, 1, 0.7], [0, 0.7, 1]])
    found = read_adjacency(GraphSource(adjacency=write(weights)), 3, None)
    np.testing.assert_array_equal(found, (weights - np.eye(3)).astype(np.float32))


@pytest.mark.parametrize("kind", ["distances", "adjacency"])
def test_matrices_that_break_a_rule(write, kind):
    def read(row, column, value, both=True):
        matrix = KILOMETRES.copy()
        matrix[row, column] = value
        if both:
            matrix[column, row] = value
        return read_adjacency(GraphSource(**{kind: write(matrix)}), 3, None)

    with pytest.raises(DatasetError, match=r"1\.4 from sensor 0 to 1 and 1\.5 back"):
        read(0, 1, 1.4, both=False)
    with pytest.raises(
        DatasetError, match=r"zero or positive numbers, but .* -1.4 between sensors 0 and 1"
    ):
        read(0, 1, -1.4)
    with pytest.raises(DatasetError, match=r"zero or positive numbers, but .* nan between"):
        read(0, 1, np.nan)


def test_a_distance_matrix_with_a_diagonal_is_an_adjacency(write):
    with pytest.raises(DatasetError, match="give weights of an adjacency with --adjacency"):
        read_adjacency(GraphSource(distances=write(np.eye(3))), 3, None)


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (("0,1,1500", "2,0,2200"), "from,to,cost"),
        (("0,1,1500", "2,0,2200"), None),
        (("0,1,1500", "1,0,1500", "0,1,1500", "0,2,2200", "1,1,0"), "from,to,cost"),
        (("30,10,1500", "20,30,2200"), "start,stop,metres"),
    ],
)
def test_edges_by_position_or_id_either_way(write_edges, rows, header):
    columns = "ids" if rows[0].startswith("30") else "positions"
    source = GraphSource(edges=write_edges(*rows, header=header), edge_columns=columns)
    found = read_adjacency(source, 3, IDS)
    expected = np.zeros((3, 3))
    expected[0, 1] = expected[1, 0] = np.exp(-(1.5**2) / 10)
    expected[0, 2] = expected[2, 0] = np.exp(-(2.2**2) / 10)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("rows", "match"),
    [
        (("0,1,5", "0,3,5"), r"row 3, column 2 \('to'\) names '3'"),
        (("0,1,5", ",2,5"), r"row 3, column 1 \('from'\) names ''"),
        (("0,1,5", "1,0,6"), "row 3 gives 6 where an earlier row has 5"),
        (("0,1,-5",), r"row 2, column 3 \('cost'\) has -5"),
        (("0,1,",), r"row 2, column 3 \('cost'\) has nan"),
        (("0,1,far",), r"row 2, column 3 \('cost'\) holds 'far'"),
    ],
)
def test_edges_that_break_a_rule(write_edges, rows, match):
    with pytest.raises(DatasetError, match=match):
        read_adjacency(GraphSource(edges=write_edges(*rows)), 3, None)


def test_an_edge_list_has_three_columns(write_edges):
    path = write_edges("0,1", header="from,to")
    with pytest.raises(DatasetError, match=r"from, to and cost, but .* has 2 columns"):
        read_adjacency(GraphSource(edges=path), 3, None)
