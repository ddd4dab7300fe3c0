"""What tests of the search share: small traffic data, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

from core.datasets.dataset import open_dataset
from core.datasets.synthetic import build_synthetic
from core.preprocessing.prepare import PreparedData, prepare


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``small``: 4 sensors, split 2/1/1; 525 training windows."""
    folder = tmp_path_factory.mktemp("small") / "data"
    build_synthetic(folder / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    return folder


@pytest.fixture(scope="session")
def prepared(small_data: Path) -> PreparedData:
    """``small``, ready for networks."""
    return prepare(open_dataset(small_data / "small"))


@pytest.fixture
def quiet_optuna() -> Iterator[None]:
    """Leave Optuna as talkative as it was."""
    level = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(level)
