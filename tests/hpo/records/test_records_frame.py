"""Records as one table of pandas."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from hpo.records.records_frame import records_frame
from hpo.records.trial_records import write_record
from hpo.selection import best
from tests.small_sweeps import make_sweep, record


def test_a_row_per_record_in_their_order() -> None:
    records = [
        record(1, 2.0, latency_ms=3.5),
        record(0, 1.0, settings={"alpha1": 0.5}, status="failed", reason="too hot"),
    ]
    frame = records_frame(records)
    assert list(frame["trial"]) == [1, 0]
    assert list(frame["val_mae"]) == [2.0, 1.0]
    assert frame["setting_alpha1"].isna().tolist() == [True, False]
    assert frame["setting_optimizer"].iloc[0] == "adam"
    assert frame["reason"].iloc[1] == "too hot"
    assert frame["latency_ms"].iloc[0] == 3.5
    assert (frame["ended"] - frame["started"]).tolist() == [
        pd.Timedelta(seconds=1),
        pd.Timedelta(seconds=0),
    ]
    assert not {"settings", "metrics", "rank", "confirmed_mean"} & set(frame)


def test_ranked_records_have_their_means(tmp_path: Path) -> None:
    folder = make_sweep(tmp_path, [record(0, 1.0), record(1, 1.5, settings={"alpha1": 0.5})])
    for run, error in enumerate([2.0, 3.0]):
        write_record(folder.confirmation.results, record(run, error, settings={"alpha1": 0.5}))
    frame = records_frame(best("small", tmp_path))
    assert frame[["rank", "trial"]].to_numpy().tolist() == [[1, 1], [2, 0]]
    assert frame["confirmed_mean"].iloc[0] == 2.5
    assert frame["confirmed_mean"].isna().iloc[1]
    assert frame["confirmed_seeds"].tolist() == [2, 0]


def test_no_record_is_an_empty_table() -> None:
    assert records_frame([]).empty
