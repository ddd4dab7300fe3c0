"""Save and load models and training states as safetensors files.

A model file holds weights and, as its metadata, the config of the network, of whatever family, and
the caller's own JSON values. The name of a checkpoint contains the hash of its bytes, so a damaged
checkpoint is detected and the one before it is used. Does not use pickle; does not know optimisers
or the training loop.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from core.ensemble import Ensemble, Network
from core.errors import CheckpointError, ConfigError, UnknownNameError
from core.families import read_config
from core.families.networks import SingleNetwork, build
from core.files import write_bytes
from core.shapes import GraphKernel

Tensors = dict[str, Tensor]
Metadata = dict[str, Any]


def save_model(path: Path, model: SingleNetwork, metadata: Metadata) -> None:
    """Write weights, config and ``metadata`` (JSON values) to ``path``, atomically."""
    save_file(path, model.state_dict(), {"config": model.config.to_json(), **metadata})


def load_model(path: Path, graph_kernel: GraphKernel) -> tuple[SingleNetwork, Metadata]:
    """Load a model written by ``save_model`` and set its graph kernel.

    Raises:
        CheckpointError: the file is missing, damaged, or its weights do not fit its config.
    """
    tensors, metadata = load_file(path)
    try:
        model = build(read_config(metadata.pop("config")), graph_kernel)
        model.load_state_dict(tensors)
    except (KeyError, TypeError, RuntimeError, UnknownNameError) as error:
        raise CheckpointError(
            f"{path} must hold a network that fits its own config: {error}"
        ) from error
    return model, metadata


def save_network(path: Path, network: Network, metadata: Metadata) -> None:
    """Write a network or an ensemble and ``metadata`` (JSON values) to ``path``, atomically."""
    if not isinstance(network, Ensemble):
        save_model(path, network, metadata)
        return
    members = [member.config.to_json() for member in network.members]
    save_file(path, network.state_dict(), {"members": members, **metadata})


def load_network(path: Path, graph_kernel: GraphKernel) -> tuple[Network, Metadata]:
    """Load what ``save_network`` wrote and set its graph kernel.

    Raises:
        CheckpointError: the file is missing, damaged, or its weights do not fit its configs.
    """
    tensors, metadata = load_file(path)
    if "members" not in metadata:
        return load_model(path, graph_kernel)
    try:
        configs = [read_config(one) for one in metadata.pop("members")]
        ensemble = Ensemble([build(one, graph_kernel) for one in configs], tensors["shares"])
        ensemble.load_state_dict(tensors)
    except (KeyError, TypeError, AttributeError, RuntimeError, ConfigError) as error:
        raise CheckpointError(f"{path} must hold an ensemble that fits: {error}") from error
    return ensemble, metadata


def save_file(path: Path, tensors: Tensors, metadata: Metadata) -> None:
    """Write named tensors and JSON metadata as one safetensors file."""
    write_bytes(path, _encode(tensors, metadata))


def load_file(path: Path) -> tuple[Tensors, Metadata]:
    """Map a file written by ``save_file`` into memory: pages are shared, writes stay private."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads(file.metadata()["json"])
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (OSError, SafetensorError, TypeError, KeyError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"{path} must be a whole safetensors file of this project: {error}; "
            "delete it and make it again"
        ) from error


@dataclass(frozen=True)
class CheckpointFolder:
    """A folder of the newest checkpoints of one run: ``epoch-00007-<hash>.safetensors``."""

    folder: Path
    keep: int = 2
    """How many to keep; with two, one damaged file loses one epoch."""

    def save(self, epoch: int, tensors: Tensors, metadata: Metadata) -> None:
        """Write the state after ``epoch`` epochs, then delete the oldest checkpoints."""
        content = _encode(tensors, metadata)
        newest = self.folder / f"epoch-{epoch:05d}-{_digest(content)}.safetensors"
        write_bytes(newest, content)
        others = [path for path in self._files_newest_first() if path != newest]
        earlier = [path for path in others if _epoch_of(path) < epoch]
        # Files of this epoch or a later one are damaged, else the run would have resumed from them.
        for path in set(others) - set(earlier[: self.keep - 1]):
            path.unlink(missing_ok=True)

    def newest(self) -> tuple[Tensors, Metadata] | None:
        """Return the newest undamaged state, or None if there is none."""
        return next(self.newest_first(), None)

    def newest_first(self) -> Iterator[tuple[Tensors, Metadata]]:
        """Yield the undamaged states, the newest first."""
        for path in self._files_newest_first():
            content = path.read_bytes()
            if path.stem.rsplit("-", 1)[1] == _digest(content):
                yield load_tensors(content), _metadata_of(path)

    def clear(self) -> None:
        """Delete all checkpoints and partial files of killed writers, once the run is over."""
        for path in [*self._files_newest_first(), *self.folder.glob(".epoch-*")]:
            path.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _files_newest_first(self) -> list[Path]:
        pattern = re.compile(r"epoch-\d{5,}-[0-9a-f]{16}\.safetensors")
        found = [path for path in self.folder.glob("epoch-*") if pattern.fullmatch(path.name)]
        return sorted(found, key=_epoch_of, reverse=True)


def _epoch_of(path: Path) -> int:
    return int(path.stem.split("-")[1])


def _encode(tensors: Tensors, metadata: Metadata) -> bytes:
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save_tensors(whole, {"json": json.dumps(metadata, allow_nan=False)})


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _metadata_of(path: Path) -> Metadata:
    with safe_open(path, framework="pt") as file:
        metadata: Metadata = json.loads(file.metadata()["json"])
    return metadata
