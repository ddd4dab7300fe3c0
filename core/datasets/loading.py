"""A dataset's name in, the opened dataset out; the built-in one is made on first use.

Imports nothing from a user's files (``importing`` does).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from core.datasets.dataset import Dataset, find_dataset, open_dataset
from core.datasets.synthetic import SYNTHETIC, build_synthetic
from core.files import writable_folder


def load_dataset(data_folder: Path, name: str) -> Dataset:
    """Open the dataset ``name`` below ``data_folder``; several processes may do so at once.

    Raises:
        UnknownNameError: there is none of this name.
        DatasetError: it is damaged.
        StorageError: the built-in dataset cannot be written.
    """
    folder = data_folder / name
    if name == SYNTHETIC and not (folder / "card.json").is_file():
        writable_folder(data_folder)
        # Whoever comes second finds the folder of whoever came first, with the same bytes.
        with suppress(FileExistsError):
            return build_synthetic(folder)
    return open_dataset(find_dataset(data_folder, name))
