"""What tests of the search share: small traffic data, made once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pytest

from core.datasets.dataset import open_dataset
from core.datasets.synthetic import build_synthetic
from core.preprocessing.prepare import PreparedData, prepare
from hpo.planning.places import Places

if TYPE_CHECKING:
    from tests.hpo.mirrored_sweeps import Machines
    from tests.object_stores import S3Server


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with ``small``: 4 sensors, split 2/1/1; 525 training windows."""
    folder = tmp_path_factory.mktemp("small") / "data"
    build_synthetic(folder / "small", seed=1, num_sensors=4, split=(2, 1, 1))
    return folder


@pytest.fixture
def places(small_data: Path, tmp_path: Path) -> Places:
    """``small``, and a storage that does not exist yet."""
    return Places(small_data, tmp_path / "runs")


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


@pytest.fixture
def machines(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machines:
    """Machines on one storage; no request is tried again."""
    from tests.hpo.mirrored_sweeps import Machines

    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")  # what is tried again is tested elsewhere
    return Machines(s3.address(f"mirrors/{tmp_path.name}"), tmp_path, monkeypatch)
