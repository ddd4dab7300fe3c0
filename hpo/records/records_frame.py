"""Convert trial records to one pandas table. Reads and writes no file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from hpo.records.confirmation import Confirmed
from hpo.records.trial_records import TrialRecord

_LEFT_OUT = ("settings", "metrics", "versions", "repeat_last", "metric", "confirmed")
_TIMES = ("started", "ended")


def records_frame(records: Iterable[TrialRecord]) -> pd.DataFrame:
    """Return a row per record, of ``run_sweep`` or of ``best``, in their order.

    Settings are columns called ``setting_…`` and errors ``val_…``, as in the Parquet files; ranked
    ones have ``rank`` and ``confirmed_mean``, ``confirmed_spread`` and ``confirmed_seeds`` too.
    """
    frame = pd.DataFrame([_row(record) for record in records])
    for name in _TIMES:
        if name in frame:
            frame[name] = pd.to_datetime(frame[name])
    return frame


def _row(record: TrialRecord) -> dict[str, Any]:
    values = vars(record)
    return {
        **{name: value for name, value in values.items() if name not in _LEFT_OUT},
        **{f"setting_{name}": value for name, value in record.settings.items()},
        **record.metrics,
        **(_over_seeds(values["confirmed"]) if "confirmed" in values else {}),
    }


def _over_seeds(confirmed: Confirmed | None) -> dict[str, float | None]:
    """Return the columns of a confirmation; of a single trial they are empty."""
    known = {} if confirmed is None else confirmed.summary()
    return {
        "confirmed_mean": known.get("mean"),
        "confirmed_spread": known.get("spread"),
        "confirmed_seeds": len(known.get("seeds", [])),
    }
