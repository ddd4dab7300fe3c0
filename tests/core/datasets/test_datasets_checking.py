from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from core.datasets.checking import check_dataset, check_files, run_lengths
from core.datasets.dataset import Dataset
from core.datasets.synthetic import build_synthetic


@pytest.fixture
def clean(tiny_dataset) -> Dataset:
    """Readings in which nothing is odd, free to be spoiled."""
    rng = np.random.default_rng(0)
    wave = 60 + 8 * np.sin(np.arange(5 * 288) * 2 * np.pi / 288)
    readings = (wave[:, None] + rng.normal(0, 1, (5 * 288, 6))).astype(np.float32)
    return Dataset(tiny_dataset.card, readings, tiny_dataset.adjacency)


def _found(dataset: Dataset) -> list[tuple[str, str]]:
    return [(problem.severity, problem.text) for problem in check_dataset(dataset)]


def _only(dataset: Dataset, severity: str, *words: str) -> None:
    """Exactly one finding, of this severity and with these words."""
    ((found, text),) = _found(dataset)
    assert found == severity, text
    for word in words:
        assert word in text


def test_nothing_odd_about_clean_readings(clean):
    assert _found(clean) == []


def test_missing_readings(clean):
    clean.readings[::100, 2] = np.nan
    _only(
        clean,
        "note",
        "0.17% of the readings are missing",
        f"sensor {clean.card.sensor_ids[2]} (1.0%)",
    )


def test_long_gaps_come_before_notes(clean):
    clean.readings[100:125, 3] = np.nan
    (first, text), (second, _) = _found(clean)
    assert (first, second) == ("warning", "note")
    assert "1 gaps are longer than 2 hours, the longest 2.1 hours" in text
    clean.readings[124, 3] = 60.0
    assert [severity for severity, _ in _found(clean)] == ["note"]


def test_a_sensor_that_never_changes(clean):
    clean.readings[:, 1] = 65.0
    (first, text), (second, stuck) = _found(clean)
    assert (first, second) == ("warning", "warning")
    assert text == f"never changing: 1 sensor ({clean.card.sensor_ids[1]})"
    assert "the longest 120.0 hours" in stuck


@pytest.mark.parametrize(("length", "reported"), [(24, False), (25, True)])
def test_stuck_runs_of_more_than_two_hours(clean, length, reported):
    clean.readings[500 : 500 + length, 4] = 61.0
    if reported:
        _only(
            clean, "note", "1 times a value repeats", "longest 2.1 hours", clean.card.sensor_ids[4]
        )
    else:
        assert _found(clean) == []


def test_zeros_may_be_gaps(clean):
    clean.readings[::50] = 0.0
    texts = [text for _, text in _found(clean)]
    assert any("2.01% of the readings are exactly 0" in text for text in texts)


def test_outliers(clean):
    clean.readings[700, 5] = 300.0
    _only(
        clean,
        "note",
        "mean: 1, the furthest 300 mph",
        clean.card.sensor_ids[5],
        "on day 2 (from 0)",
    )


def test_a_day_unlike_the_rest(clean):
    clean.readings[3 * 288 : 4 * 288] = 60 + 0.01 * np.arange(288)[:, None] + np.arange(6)
    _only(clean, "note", "day 3 (validation) looks unlike the rest")


def test_isolated_sensors_and_odd_weights(clean):
    lonely = clean.adjacency.copy()
    lonely[0] = lonely[:, 0] = 0.0
    _only(replace(clean, adjacency=lonely), "note", f"1 sensor ({clean.card.sensor_ids[0]})")
    nobody = replace(clean, adjacency=np.zeros_like(lonely))
    _only(nobody, "warning", "6 sensors", "and 1 more", "check --distance-unit")
    _only(
        replace(clean, adjacency=clean.adjacency * 500), "warning", "weights reach", "--distances"
    )


def test_a_graph_that_joins_everything(tmp_path):
    dataset = build_synthetic(tmp_path / "d", num_sensors=24, split=(1, 1, 1))
    full = replace(dataset, adjacency=1 - np.eye(24, dtype=np.float32))
    assert (
        "warning",
        "sensors have 23 of 23 others as neighbours; check --distance-unit",
    ) in _found(full)


def test_files_against_their_checksums(tmp_path):
    folder = tmp_path / "d"
    build_synthetic(folder, num_sensors=4, split=(1, 1, 1))
    assert check_files(folder) == []
    content = bytearray((folder / "readings.arrow").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "readings.arrow").write_bytes(content)
    (problem,) = check_files(folder)
    assert problem.severity == "warning"
    assert problem.text.startswith("readings.arrow does not match the checksum")
    (folder / "graph.arrow").unlink()
    assert len(check_files(folder)) == 2


@given(arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 3))))
def test_run_lengths_match_a_walk(flags):
    expected = []
    for sensor in range(flags.shape[1]):
        length = 0
        for flag in [*flags[:, sensor], False]:
            if not flag and length:
                expected.append((length, sensor))
            length = length + 1 if flag else 0
    lengths, sensors = run_lengths(flags)
    assert list(zip(lengths.tolist(), sensors.tolist(), strict=True)) == expected
