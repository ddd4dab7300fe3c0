"""What integration tests share: small traffic data, made once, and a file with a search space."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.datasets.synthetic import build_synthetic
from hpo.planning.places import Places
from tests.integration.sweeps import SPACE


@pytest.fixture(scope="session")
def traffic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``small``: 4 sensors, split 2/1/1."""
    folder = tmp_path_factory.mktemp("traffic") / "data"
    build_synthetic(folder / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    return folder


@pytest.fixture(scope="session")
def space_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search space of four first points, see ``sweeps.SPACE``."""
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(SPACE)
    return path


@pytest.fixture(scope="module")
def places(traffic: Path, tmp_path_factory: pytest.TempPathFactory) -> Places:
    """``small``, and a storage that the tests of a file share."""
    return Places(traffic, tmp_path_factory.mktemp("storage") / "runs")
