from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.dataset import DatasetCard
from core.errors import DatasetError
from core.preprocessing.scaling import Scaler
from core.preprocessing.windows import PARTS, segment_rows, stretches, window_rows

WINDOW = 12 + 9


def _card(day_kind: str = "weekdays", split: tuple[int, int, int] = (3, 2, 1)) -> DatasetCard:
    return DatasetCard(
        name="days",
        unit="mph",
        interval_minutes=5,
        day_kind=day_kind,
        split=split,
        num_steps=288 * sum(split),
        sensor_ids=("a",),
        missing_share=0.0,
        minimum=0.0,
        maximum=1.0,
        mean=0.5,
        graph="none",
        edges=0,
        sources={},
        files={},
    )


def test_scaler_gives_mean_0_and_std_1_and_back():
    readings = np.random.default_rng(0).normal(60, 13, (500, 4)).astype(np.float32)
    scaler = Scaler.fit(readings)
    scaled = scaler.scale(readings)
    assert float(scaled.mean(dtype=np.float64)) == pytest.approx(0, abs=1e-5)
    assert float(scaled.std(dtype=np.float64)) == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(scaler.unscale(torch.from_numpy(scaled)), readings, rtol=1e-5)


def test_scaler_refuses_readings_that_never_change():
    with pytest.raises(DatasetError, match="must vary, but all are equal"):
        Scaler.fit(np.full((5, 2), 65.0, dtype=np.float32))


def test_a_weekday_of_288_steps_has_268_windows():
    card = _card()
    counts = [len(window_rows(stretches(card, part), WINDOW)) for part in PARTS]
    assert counts == [3 * 268, 2 * 268, 268]


@given(
    st.sampled_from(["weekdays", "consecutive"]),
    st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3)),
    st.integers(1, 288),
)
def test_windows_stay_where_they_belong(day_kind, split, window_steps):
    card = _card(day_kind, split)
    limits = np.cumsum([0, *split]) * 288
    for index, part in enumerate(PARTS):
        first = window_rows(stretches(card, part), window_steps).numpy()
        last = first + window_steps - 1
        assert first.min() == limits[index]
        assert last.max() == limits[index + 1] - 1
        assert len(np.unique(first)) == len(first)
        if day_kind == "weekdays":
            np.testing.assert_array_equal(first // 288, last // 288)
            assert len(first) == split[index] * (288 - window_steps + 1)
        else:
            assert len(first) == split[index] * 288 - window_steps + 1


def test_a_window_longer_than_every_stretch_is_refused():
    with pytest.raises(DatasetError, match="a window needs 289 rows in a stretch, the longest has"):
        window_rows(stretches(_card(), "test"), 289)


@given(st.sampled_from(["weekdays", "consecutive"]), st.integers(1, 300), st.integers(0, 299))
def test_segments_cover_windows_once_within_a_stretch(day_kind, length, offset):
    offset %= length
    parts = stretches(_card(day_kind), "train")
    firsts, owners = segment_rows(parts, WINDOW, length, offset)
    covered = (firsts[:, None] + torch.arange(length)).reshape(-1).tolist()
    assert len(set(covered)) == len(covered)
    for first, owner in zip(firsts.tolist(), owners.tolist(), strict=True):
        stretch = parts[owner]
        assert stretch.start <= first
        assert first + length - 1 + WINDOW <= stretch.stop
    for owner, stretch in enumerate(parts):
        windows = stretch.stop - stretch.start - WINDOW + 1
        assert int((owners == owner).sum()) == max(0, windows - offset) // length
        starts = firsts[owners == owner]
        if len(starts):
            assert int(starts[0]) == stretch.start + offset
