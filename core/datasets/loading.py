"""Open a dataset by its name; the built-in one is generated on first use.

Does not import a user's files (``importing`` does).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from core.datasets.dataset import CARD_FILE, Dataset, find_dataset, open_dataset
from core.datasets.synthetic import SYNTHETIC, build_synthetic
from core.files import writable_folder


def load_dataset(data_folder: Path, name: str) -> Dataset:
    """Open the dataset ``name`` below ``data_folder``; several processes may do so at once.

    Raises:
        UnknownNameError: there is no dataset of this name.
        DatasetError: the dataset is damaged.
        StorageError: the built-in dataset cannot be written.
    """
    folder = data_folder / name
    if name == SYNTHETIC and not (folder / CARD_FILE).is_file():
        writable_folder(data_folder)
        # A process that is late opens the folder of the first one, which has the same bytes.
        with suppress(FileExistsError):
            return build_synthetic(folder)
    return open_dataset(find_dataset(data_folder, name))
