"""What users' files hold in practice: each is read as it is meant, or refused in one true line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.datasets.checking import check_dataset
from core.datasets.graph_files import GraphSource, read_adjacency
from core.datasets.readings_files import ReadingsSource, ReadingsTable, read_readings
from core.errors import ConfigError, DatasetError, UserError
from core.graph import chebyshev_stack
from tests.core.user_files import Files

STEPS = 24


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@pytest.fixture
def values() -> np.ndarray:
    """Four days of hourly readings of four sensors, one decimal."""
    return np.random.default_rng(0).uniform(20, 70, (4 * STEPS, 4)).round(1)


def frame(values: np.ndarray, *ids: object) -> pd.DataFrame:
    return pd.DataFrame(values, columns=list(ids))


def hours(start: str = "2024-03-04", count: int = 4 * STEPS) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="h")


def read(path: Path, **options: object) -> ReadingsTable:
    return read_readings(ReadingsSource(readings=path, **options))


def joined(files: Files, ids: tuple[str, ...] | None, edges: str, **options: object) -> set:
    path = files.text("e.csv", "from,to,cost\n" + edges)
    adjacency = read_adjacency(GraphSource(edges=path, **options), 4, ids)
    return {(int(a), int(b)) for a, b in np.argwhere(adjacency > 0) if a < b}


@pytest.mark.parametrize(
    "ids",
    [("1", "2", "3", "4"), ("01", "02", "03", "04"), ("4", "3", "2", "1"), ("3", "0", "2", "1")],
)
def test_ids_that_count_are_ids(files: Files, values: np.ndarray, ids: tuple[str, ...]) -> None:
    dataset = files.load(
        files.csv("r.csv", frame(values, *ids), header=True),
        distances=None,
        edges=files.text(
            "e.csv", f"from,to,cost\n{ids[0]},{ids[1]},1000\n{ids[1]},{ids[2]},1000\n"
        ),
    )
    assert dataset.card.sensor_ids == ids
    assert {(a, b) for a, b in np.argwhere(dataset.adjacency > 0) if a < b} == {(0, 1), (1, 2)}
    np.testing.assert_array_equal(dataset.readings, values.astype(np.float32))


@pytest.mark.parametrize(
    ("edges", "options", "found"),
    [
        ("1,2,1000\n2,3,1000\n", {}, {(0, 1), (1, 2)}),
        ("1,2,1000\n2,3,1000\n", {"edge_columns": "positions"}, {(1, 2), (2, 3)}),
        ("1,9,1000\n2,3,1000\n", {"unknown_sensors": "skip"}, {(1, 2)}),
    ],
)
def test_edges_go_by_id(files: Files, edges: str, options: dict, found: set) -> None:
    assert joined(files, ("1", "2", "3", "4"), edges, **options) == found


@pytest.mark.parametrize(
    ("ids", "edges", "message"),
    [
        (None, "1,2,1000\n2,3,1000\n", "from 0 to 3, but the edges .* start at 1; subtract 1"),
        (None, "1,2,1000\n3,4,1000\n", "the edges .* start at 1; subtract 1"),
        (("0400001", "a", "b", "c"), "400001,a,5\n", "names '400001'; did you mean '0400001'"),
        (
            ("1", "2", "3", "4"),
            "1,2,5\n1,99,5\n",
            r"row 3, column 2 \('to'\) names '99'.*--unknown-s",
        ),
        (("1", "2", "3", "4"), "8,9,5\n", "names '8'"),
    ],
)
def test_edges_to_other_sensors_are_explained(
    files: Files, ids: tuple[str, ...] | None, edges: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        joined(files, ids, edges)
    assert "\n" not in str(caught.value)


def test_a_graph_without_any_known_sensor_is_no_graph(files: Files) -> None:
    with pytest.raises(DatasetError, match=r"row 2, column 1 .* names '8'"):
        joined(files, ("1", "2", "3", "4"), "8,9,5\n", unknown_sensors="skip")


def test_a_matrix_of_more_sensors_may_be_cut(files: Files) -> None:
    weights = np.array([[0, 0.5, 0.1], [0.5, 0, 0.9], [0.1, 0.9, 0]])
    path = files.csv("a.csv", frame(weights, "z", "x", "y"), header=True)
    found = read_adjacency(GraphSource(adjacency=path, unknown_sensors="skip"), 2, ("y", "x"))
    np.testing.assert_allclose(found, [[0, 0.9], [0.9, 0]])


def test_a_matrix_whose_rows_have_another_order_is_refused(files: Files) -> None:
    path = files.folder / "d.csv"
    pd.DataFrame(np.zeros((2, 2)), index=["b", "a"], columns=["a", "b"]).to_csv(path)
    with pytest.raises(DatasetError, match=r"row 2, column 1 .* is 'b' where the column is 'a'"):
        read_adjacency(GraphSource(distances=path), 2, ("a", "b"))


def test_an_index_of_pandas_is_no_sensor(files: Files, values: np.ndarray) -> None:
    table = frame(values, "a", "b", "c", "d")
    halves = pd.concat([table[:50], table[50:].reset_index(drop=True)])
    halves.to_parquet(files.folder / "r.parquet")
    table.to_csv(files.folder / "r.csv")
    table.reset_index(names="Unnamed: 0").to_csv(files.folder / "again.csv", index=False)
    for name in ("r.parquet", "r.csv", "again.csv"):
        found = read(files.folder / name)
        assert found.sensor_ids == ("a", "b", "c", "d")
        np.testing.assert_array_equal(found.values, values.astype(np.float32))
        assert name.endswith(".parquet") or "counts rows" in found.notes[-1]
    halves.to_csv(files.folder / "halves.csv")
    with pytest.raises(DatasetError, match=r"column 1 of .* is named '' and holds '0'; name it"):
        read(files.folder / "halves.csv")


@pytest.mark.parametrize("place", ["index", "named index", "column"])
def test_times_of_a_type_need_no_name(files: Files, values: np.ndarray, place: str) -> None:
    table = frame(values, "a", "b", "c", "d")
    if place == "column":
        table.insert(2, "when", hours())
    else:
        table.index = hours().rename("when" if place == "named index" else None)
    table.to_parquet(files.folder / "r.parquet")
    found = read(files.folder / "r.parquet")
    assert found.sensor_ids == ("a", "b", "c", "d")
    assert found.times is not None
    assert found.times.tolist() == hours().tolist()


def test_blank_lines_inside_are_gaps_and_at_the_end_nothing(files: Files) -> None:
    found = read(files.text("one.csv", "61.5\n\n62.5\n63.5\n\n\n"), header="no")
    np.testing.assert_array_equal(found.values[:, 0], np.float32([61.5, np.nan, 62.5, 63.5]))
    found = read(files.text("two.csv", "a,b\n1,2\n\n3,4\n5,6\n\n"))
    np.testing.assert_array_equal(found.values[:, 1], np.float32([2, np.nan, 4, 6]))
    quoted = read(files.text("quoted.csv", 'a\n61.5\n""\n'))
    np.testing.assert_array_equal(quoted.values[:, 0], np.float32([61.5, np.nan]))
    with pytest.raises(DatasetError, match=r"every second line of .* is blank"):
        read(files.text("doubled.csv", "1.5,2\n\n3,4\n\n5,6\n\n"), header="no")


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ('"I-5, N","I-5, S"\n61.5,62.5\n', ("I-5, N", 61.5)),
        ("I-5;I-6\n61,5;62,25\n", ("I-5", 61.5)),
        ("I-5\tI-6\n61,5\t62\n", ("I-5", 61.5)),
        ("a; b\n61.5; 62.5\n", ("a", 61.5)),
        ("a,b\r\n 61.5 ,NA\r\n", ("a", 61.5)),
        ("\ufeff007,008\n61.5,62\n", ("007", 61.5)),
        ("NA1,NA2\n61.5,null\n", ("NA1", 61.5)),
        ("a,b\n1e1,+.5\n", ("a", 10.0)),
    ],
)
def test_dialects(files: Files, text: str, first: tuple[str, float]) -> None:
    found = read(files.text("r.csv", text))
    assert found.sensor_ids is not None
    assert (found.sensor_ids[0], float(found.values[0, 0])) == first
    assert found.notes[0].startswith("readings: ")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a;b\n1,5;2.5\n", "holds '2.5' and '1,5'; write points everywhere"),
        ("a;b\n1,234;950\n", "'1,234' in .* may be thousands"),
        ('a,b\n"1,234",950\n', "holds '1,234'"),
        ("a,b\n1_6,2\n", "holds '1_6'"),
        ("a,b\n\uff11\uff16,2\n", "holds '\uff11\uff16'"),
        ("a,b\n0x10,2\n", "holds '0x10'"),
        ("a,b\nTrue,2\n", "holds 'True'"),
        ("a,b\n1.5,2 # closed\n", "holds '2 # closed'"),
        ("a,b\n1.5,inf\n", "infinite value at time step 0, sensor 1"),
        ('a,b\n1.5,"2\n', "must be a CSV file, but row 2"),
        ("a,b\n1.5,2,3\n", "row 2 has 3 cells instead of 2"),
        ("sep=;\na;b\n1;2\n", r"first line is for Excel, 'sep=;'"),
        ("a,,b\n1.5,2,3\n", "column 2 of .* is named ''"),
        ("\n\n", "is empty"),
    ],
)
def test_what_can_be_read_two_ways_is_refused(files: Files, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(files.text("r.csv", text))
    assert "\n" not in str(caught.value)


def test_the_same_dialect_for_edges_and_matrices(files: Files) -> None:
    path = files.text("e.csv", 'from;to;cost\n"I-5; N";b;1000,5\n')
    found = read_adjacency(GraphSource(edges=path), 2, ("I-5; N", "b"))
    assert found[0, 1] == pytest.approx(np.exp(-(1.0005**2) / 10))
    path = files.text("d.csv", "0\t1000,5\n1000,5\t0\n")
    np.testing.assert_array_equal(read_adjacency(GraphSource(distances=path), 2, None), found)


def stamped(files: Files, stamps: list[object], **options: object) -> ReadingsTable:
    rows = "\n".join(f"{stamp},{row}.5" for row, stamp in enumerate(stamps))
    return read(files.text("t.csv", f"time,400001\n{rows}\n"), time_column="time", **options)


@pytest.mark.parametrize(
    ("stamps", "options"),
    [
        (["12/03/2016 23:00", "13/03/2016"], {}),
        (["03/12/2016 11:00 PM", "03/13/2016 12:00 AM"], {}),
        (["12.03.2016 23:00", "13.03.2016 0:00"], {}),
        (["12/03/2016 11:00", "12/03/2016 12:00"], {"day_first": True}),
        ([1457823600, 1457827200], {}),
        ([1457823600000, 1457827200000], {}),
        (["1457823600.0", "1457827200.0"], {}),
        (["2016-03-12T23:00:00+01:00", "2016-03-13T00:00:00+01:00"], {}),
        (["2016-03-12 23:00:00Z", "2016-03-13 00:00:00Z"], {}),
        (["20160312T2300", "20160313T0000"], {}),
        (["2016/3/12 23:00 CET", "2016/3/13 0:00 CET"], {}),
    ],
)
def test_times_as_people_write_them(files: Files, stamps: list, options: dict) -> None:
    found = stamped(files, stamps, **options)
    assert found.times is not None
    expected = ["2016-03-12 23:00", "2016-03-13 00:00"]
    if options:
        expected = ["2016-03-12 11:00", "2016-03-12 12:00"]
    assert found.times.tolist() == [pd.Timestamp(one) for one in expected]
    assert found.sensor_ids == ("400001",)


@pytest.mark.parametrize(
    ("stamps", "options", "message"),
    [
        (["01/02/2016", "02/02/2016"], {}, "'01/02/2016' in .* row 2, .* say --day-first or --no"),
        (["13/03/2016", "03/14/2016"], {}, "row 2, .* '13/03/2016' and .* row 3, .* '03/14/2016'"),
        (["13/03/2016"], {"day_first": False}, "begin with the day, as '13/03/2016'"),
        (["12:05"], {}, "must hold timestamps .* holds '12:05'"),
        ([5], {}, "must hold timestamps .* holds '5'"),
        (["2016-02-30"], {}, "holds '2016-02-30'"),
        (["2016-03-13 25:00"], {}, "holds '2016-03-13 25:00'"),
        ([""], {}, "holds ''"),
        (["2016-03-13 01:00", "2016-03-13 00:00"], {}, "in row 2 and then .* in row 3; say --sort"),
        (
            ["2016-03-14", "2016-03-15", "2016-03-14"],
            {},
            "2016-03-14 00:00:00 in row 2 and in row 4",
        ),
    ],
)
def test_times_that_say_too_little(files: Files, stamps: list, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        stamped(files, stamps, **options)
    assert "\n" not in str(caught.value)


def test_rows_may_be_sorted_on_request(files: Files) -> None:
    shuffled = ["2016-03-14 02:00", "2016-03-14 00:00", "2016-03-14 01:00"]
    found = stamped(files, shuffled, sort_times=True)
    np.testing.assert_array_equal(found.values[:, 0], np.float32([1.5, 2.5, 0.5]))
    with pytest.raises(ConfigError, match="--sort-times needs timestamps"):
        read(files.text("r.csv", "1.5\n"), sort_times=True)


def berlin(start: str, count: int) -> pd.DatetimeIndex:
    return pd.date_range(start, periods=count, freq="30min", tz="Europe/Berlin")


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_the_hour_in_march_is_a_gap(files: Files, kind: str) -> None:
    index = berlin("2024-03-31 00:00", 8)
    found = zoned(files, index, kind, fill_times=True)
    assert found.times is not None
    assert found.times.iloc[0] == pd.Timestamp("2024-03-31")
    gaps = np.isnan(found.values[:, 0])
    assert [str(time)[11:16] for time in found.times[gaps]] == ["02:00", "02:30"]


@pytest.mark.parametrize("kind", ["parquet", "csv", "naive"])
def test_of_the_hour_in_october_the_first_counts(files: Files, kind: str) -> None:
    index = berlin("2024-10-27 00:00", 10)
    with pytest.raises(DatasetError, match=r"02:00:00 in row \d+ and in row \d+;.*--fill-times"):
        zoned(files, index, kind)
    found = zoned(files, index, kind, fill_times=True)
    assert found.times is not None
    assert (np.diff(found.times) == np.timedelta64(30, "m")).all()
    np.testing.assert_array_equal(found.values[:, 0], np.float32([0, 1, 2, 3, 4, 5, 8, 9]))
    assert "2 rows of an hour that the clock repeats left out" in found.notes


def zoned(files: Files, index: pd.DatetimeIndex, kind: str, **options: object) -> ReadingsTable:
    table = pd.DataFrame({"s": np.arange(len(index), dtype=float)}, index=index.rename("time"))
    if kind == "parquet":
        table.to_parquet(files.folder / "z.parquet")
        return read(files.folder / "z.parquet", **options)
    if kind == "naive":
        table.index = table.index.tz_localize(None)
    table.to_csv(files.folder / "z.csv")
    return read(files.folder / "z.csv", time_column="time", **options)


def test_missing_rows_name_the_option_that_fills_them(files: Files, values: np.ndarray) -> None:
    table = frame(values, "a", "b", "c", "d").assign(time=hours()).drop(index=30)
    path = files.csv("r.csv", table, header=True)
    distances = files.csv("d4.csv", np.zeros((4, 4)))
    settings = {"time_column": "time", "day_kind": "consecutive", "distances": distances}
    files.refused(DatasetError, "2024-03-05 05:00:00 .*say --fill-times", path, **settings)
    dataset = files.load(path, **settings, fill_times=True)
    assert np.isnan(dataset.readings).all(axis=1).nonzero()[0].tolist() == [30]


def test_constant_readings_are_refused(files: Files, values: np.ndarray) -> None:
    values = values[:, :3]
    values[: 2 * STEPS] = 60.0
    files.refused(DatasetError, "must vary, but all those of the training days are 60", values)


@pytest.mark.parametrize("rows", ["0,1,2\n", "0,1,2\n2,3,1\n", "start,stop,metres\n0,1,2\n"])
def test_the_first_edge_is_no_header(files: Files, rows: str) -> None:
    found = read_adjacency(GraphSource(edges=files.text("e.csv", rows)), 4, None)
    assert found[0, 1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[0, -0.5], [-0.5, 0]], "zero or positive"),
        ([[0, 0.5], [0.4, 0]], "the same both ways"),
        ([[0, np.inf], [np.inf, 0]], "zero or positive numbers"),
        ([[0, 1e39], [1e39, 0]], "zero or positive numbers"),
    ],
)
def test_adjacencies_out_of_range(files: Files, matrix: list, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read_adjacency(GraphSource(adjacency=files.csv("a.csv", matrix)), 2, None)


def test_huge_weights_and_self_loops_give_a_finite_kernel(files: Files) -> None:
    path = files.csv("a.csv", [[5, 3e38, 0], [3e38, 7, 1], [0, 1, 9]])
    adjacency = read_adjacency(GraphSource(adjacency=path), 3, None)
    assert not adjacency.diagonal().any()
    assert chebyshev_stack(adjacency).isfinite().all()


def test_a_sensor_that_dies_and_negative_speeds_are_reported(
    files: Files, values: np.ndarray
) -> None:
    values = values[:, :3]
    values[2 * STEPS + 5 :, 1] = np.nan
    values[7, 0] = -1.0
    texts = [problem.text for problem in check_dataset(files.load(values))]
    assert "without any reading on the test days: 1 sensor (1)" in texts
    assert any(
        text.startswith("0.35% of the readings are below 0, the lowest -1") for text in texts
    )
    assert not any("validation days" in text for text in texts)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda one: one.set_index("step"), None),
        (lambda one: one.astype({"a": "Float64"}).drop(columns="step"), None),
        (lambda one: one.astype({"a": str}).drop(columns="step"), None),
        (
            lambda one: one.assign(a=one["a"] > 40).drop(columns="step"),
            "holds 'True'|holds 'False'",
        ),
        (lambda one: one.set_index(["step", "b"]), "the rows of .* have labels of several levels"),
        (
            lambda one: one.assign(t=hours(), u=hours()),
            "one column of times, .* 't', 'u'; keep one",
        ),
        (lambda one: one.assign(t=hours().where(hours().hour > 0)), "holds 'nothing'"),
        (lambda one: one.iloc[:0].drop(columns="step"), "must hold readings, but it has none"),
    ],
)
def test_odd_parquet_files(files: Files, values: np.ndarray, build, message: str | None) -> None:
    table = frame(values[:, :2], "a", "b").assign(step=np.arange(len(values)) * 5)
    build(table).to_parquet(files.folder / "r.parquet")
    if message is None:
        found = read(files.folder / "r.parquet")
        assert found.sensor_ids == ("a", "b")
        np.testing.assert_array_equal(found.values, values[:, :2].astype(np.float32))
        return
    with pytest.raises(UserError, match=message) as caught:
        read(files.folder / "r.parquet")
    assert "\n" not in str(caught.value)


def test_filled_times_of_weekdays_leave_weekends_out(files: Files, values: np.ndarray) -> None:
    days = pd.to_datetime(["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"])
    times = [day + pd.Timedelta(hours=hour) for day in days for hour in range(STEPS)]
    table = frame(values[:, :3], "a", "b", "c").assign(time=times).drop(index=[30, 60])
    path = files.csv("r.csv", table, header=True)
    dataset = files.load(path, time_column="time", fill_times=True)
    gaps = np.isnan(dataset.readings).all(axis=1).nonzero()[0]
    assert gaps.tolist() == [30, 60]
    assert dataset.card.num_steps == 4 * STEPS
