from __future__ import annotations

import pytest

from core.datasets.formats.csv_files import read_csv


@pytest.mark.parametrize(
    ("first", "below", "named"),
    [
        (["773869", "767541"], ["64.375", "67.625"], True),
        (["0", "1"], ["0", "12"], True),
        (["1", "2"], ["0", "12"], True),
        (["S1", "S2"], ["64.3", "67.6"], True),
        (["time", "773869"], ["5", "67.6"], True),
        (["400", "401"], ["390", "12"], True),
        (["400", "40"], ["410", "12"], False),
        (["12", "12"], ["5", "6"], False),
        (["71.1", "66.0"], ["64.3", "67.6"], False),
        (["", "66.5"], ["64.3", "67.6"], False),
    ],
)
def test_header_is_recognised(tmp_path, first, below, named):
    path = tmp_path / "h.csv"
    path.write_text(",".join(first) + "\n" + ",".join(below) + "\n")
    table = read_csv(path)
    assert table.labels == (tuple(first) if named else None)
    assert len(table.cells) == (1 if named else 2)
    assert read_csv(path, "yes").labels == tuple(first)
    assert read_csv(path, "no").labels is None
