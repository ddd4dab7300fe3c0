"""What tests of all packages share: a small dataset, and the public readings where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import settings

from core.datasets.dataset import Dataset
from core.datasets.synthetic import build_synthetic
from core.errors import options_named

if TYPE_CHECKING:
    from tests.object_stores import S3Server
    from tests.small_exports import Exported

if not torch.cuda.is_available():
    # Before anything imports triton: its kernels then run on the CPU, in an interpreter.
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Before any console is made: tests say themselves how wide it is.
os.environ.pop("COLUMNS", None)

# How long an example takes says more of the machine than of the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no process waits for another at the end."""
    items.sort(key=lambda item: "integration" not in item.path.parts)


@pytest.fixture(scope="session", autouse=True)
def errors_of_the_command_line() -> Iterator[None]:
    """Tests read errors as ``hpo`` prints them; ``tests/core/test_errors.py`` as Python does."""
    with options_named():
        yield


@pytest.fixture(scope="session")
def real_data_folder() -> Path:
    """The folder with ``pemsd7-m``, ``pems08`` and ``metr-la``; skips where there is none."""
    folder = Path(os.environ.get("HPO_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "pemsd7-m").is_dir():
        pytest.skip(f"no public readings in {folder}; set HPO_TEST_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Synthetic traffic of 6 sensors, split 3/1/1, with gaps."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    return build_synthetic(folder, seed=1, num_sensors=6, split=(3, 1, 1))


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """An exported student; it is converted for real, so tests share one and change copies."""
    from tests.small_exports import make_export

    return make_export(tmp_path_factory.mktemp("exports"))


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """A server with an empty bucket; every test takes a prefix of its own."""
    from tests.object_stores import serving

    with serving() as server:
        yield server
