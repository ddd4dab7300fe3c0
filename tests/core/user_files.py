"""A user's files for import tests, and the request that names them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from core.datasets.importing import ImportRequest, import_dataset

DISTANCES = np.array([[0.0, 1500, 4000], [1500, 0, 2000], [4000, 2000, 0]])
"""Metres."""


class Files:
    """Writes a user's files and builds the request for them."""

    def __init__(self, folder):
        self.folder = folder
        self.data = folder / "data"

    def csv(self, name, values, header=False, **options):
        path = self.folder / name
        pd.DataFrame(values).to_csv(path, header=header, index=False, **options)
        return path

    def text(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return path

    def request(self, readings, **changes):
        fields = {
            "name": "mine",
            "interval_minutes": 60,
            "day_kind": "weekdays",
            "split": (2, 1, 1),
            "readings": self.csv("r.csv", readings)
            if isinstance(readings, np.ndarray)
            else readings,
        }
        if not {"distances", "edges", "adjacency"} & set(changes):
            fields["distances"] = self.csv("d.csv", DISTANCES)
        return ImportRequest(**{**fields, **changes})

    def load(self, readings, **changes):
        return import_dataset(self.data, self.request(readings, **changes))

    def refused(self, error, match, readings, **changes):
        """The import fails as said, in one line, and leaves nothing behind."""
        with pytest.raises(error, match=match) as caught:
            self.load(readings, **changes)
        assert "\n" not in str(caught.value)
        assert not self.data.exists() or not any(self.data.iterdir())
