"""Names of files and folders, also of trials with five digits."""

from __future__ import annotations

import pytest

from hpo.records import layout


@pytest.mark.parametrize(("trial", "digits"), [(7, "0007"), (9_999, "9999"), (10_000, "10000")])
def test_a_trial_is_found_in_the_name_of_its_export(trial: int, digits: str) -> None:
    assert layout.trial_folder(trial) == digits
    assert layout.record_file(trial) == f"{digits}.parquet"
    own = layout.export_folder(12, layout.student_name(trial, None))
    confirmed = layout.export_folder(3, layout.student_name(trial, 10_001))
    assert (own, confirmed) == (f"12-trial-{digits}", f"3-trial-{digits}-run-10001")
    assert [layout.trial_of_export(name) for name in (own, confirmed)] == [trial, trial]
    assert [layout.rank_of_export(name) for name in (own, confirmed)] == [12, 3]


@pytest.mark.parametrize("name", ["trial-0007", "1-trial-0007.old", ".1-trial-0007", "1-night"])
def test_another_folder_names_no_trial(name: str) -> None:
    assert layout.trial_of_export(name) is None
