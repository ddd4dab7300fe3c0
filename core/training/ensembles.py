"""Make a teacher of several trained networks, and weigh what each of them says.

The ensemble is one file like any teacher's, with the weights of all its members, so whatever
stores, copies or loads a teacher does the same with it. Trains nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from core.checkpoint import save_network
from core.ensemble import Ensemble
from core.errors import ConfigError, UnknownNameError
from core.evaluation.forecasting import evaluate, forecasts_of, truth_after
from core.families.networks import SingleNetwork
from core.files import exclusive_lock, fingerprint
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import FITTED, TEACHER_FILE, WEIGHTINGS, teacher_folder
from core.training.teachers import Teacher, open_teacher

SUM_WEIGHT: Final = 1e4
"""How much more than all errors together it counts that the shares sum to one."""


@dataclass(frozen=True)
class Member:
    """A trained network that is to be part of an ensemble, not loaded yet."""

    fingerprint: str
    """Identifies its weights and data."""
    load: Callable[[PreparedData], SingleNetwork]
    seconds: float
    """How long it was trained."""


def ensemble_fingerprint(members: Sequence[Member], weighting: str, data: PreparedData) -> str:
    """Return the fingerprint of the ensemble of ``members``, in whatever order they are named."""
    named = sorted(member.fingerprint for member in members)
    return fingerprint([data.fingerprint, "ensemble", weighting, named])


def find_ensemble(
    members: Sequence[Member], weighting: str, data: PreparedData, storage: Path
) -> Teacher | None:
    """Return the ensemble of ``members`` if it was made before, else None.

    Raises:
        ConfigError: fewer than two members, or one of them twice.
        UnknownNameError: there is no such weighting.
        CheckpointError: its file is damaged.
    """
    _check(members, weighting)
    folder = teacher_folder(storage, ensemble_fingerprint(members, weighting, data))
    return open_teacher(folder) if (folder / TEACHER_FILE).is_file() else None


def make_ensemble(
    members: Sequence[Member], weighting: str, data: PreparedData, storage: Path
) -> Teacher:
    """Join ``members`` to one teacher, or return it if that was done before.

    Args:
        members: at least two different ones, trained on ``data``.
        weighting: one of ``WEIGHTINGS``.
        data: what they were trained on, on the device to compute on.
        storage: root folder of the teachers.

    Raises:
        ConfigError: the members do not fit together.
        UnknownNameError: there is no such weighting.
        CheckpointError: a file is damaged.
    """
    _check(members, weighting)
    ordered = sorted(members, key=lambda member: member.fingerprint)
    folder = teacher_folder(storage, ensemble_fingerprint(members, weighting, data))
    with exclusive_lock(folder / "training.lock"):
        if not (folder / TEACHER_FILE).exists():
            networks = [member.load(data) for member in ordered]
            shares = fitted_shares(networks, data) if weighting == FITTED else None
            whole = Ensemble(networks, shares).to(data.readings.device)
            errors = evaluate(whole, data, "validation")
            metadata = {
                "dataset_fingerprint": data.fingerprint,
                "settings": {
                    "ensemble": [member.fingerprint for member in ordered],
                    "weighting": weighting,
                },
                "metrics": {f"val_{name}": value for name, value in errors.items()},
                "seconds": sum(member.seconds for member in ordered),
                "gaps": data.gaps,
            }
            save_network(folder / TEACHER_FILE, whole, metadata)
    return open_teacher(folder)


def fitted_shares(networks: Sequence[SingleNetwork], data: PreparedData) -> Float[Tensor, "K H"]:
    """Return the shares with the least squared error on the training days, of each step ahead.

    None is negative and they sum to one over networks; entries that were not measured do not count
    (stacking: Breiman, Machine Learning 24, 1996). Networks that predict one step have one share
    each, fitted on it.
    """
    steps = networks[0].config.steps_per_pass
    gram = np.zeros((steps, len(networks), len(networks)))
    moment = np.zeros((steps, len(networks)))
    for stretch in data.stretches("train"):
        for runs in zip(*(forecasts_of(one, data, stretch) for one in networks), strict=True):
            start, forecasts = runs[0][0], torch.stack([forecast for _, forecast in runs])
            truth = truth_after(data, start, forecasts.shape[1])[:, :steps]
            known = ~truth.isnan()
            # Scaled, which changes nothing where shares sum to one but how large the numbers are.
            seen = data.scaler.scale(forecasts[:, :, :steps]).double() * known
            wanted = data.scaler.scale(truth).double().nan_to_num()
            gram += torch.einsum("kwhn,lwhn->hkl", seen, seen).cpu().numpy()
            moment += torch.einsum("kwhn,whn->hk", seen, wanted).cpu().numpy()
    shares = [_least_squares(gram[step], moment[step]) for step in range(steps)]
    return torch.tensor(np.stack(shares, axis=1), dtype=torch.float32)


def _least_squares(gram: NDArray[np.float64], moment: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise w G w / 2 - m w over w >= 0 with sum 1."""
    from scipy.optimize import nnls  # noqa: PLC0415 - slow to import

    # Networks agree so closely that G is nearly singular: its root comes from eigenvalues.
    values, vectors = np.linalg.eigh(gram)
    kept = values > values.max() * 1e-12
    root = (vectors[:, kept] * np.sqrt(values[kept])).T
    wanted = (vectors[:, kept] / np.sqrt(values[kept])).T @ moment
    scale = SUM_WEIGHT * np.sqrt(values.max())
    weights, _ = nnls(np.vstack([root, np.full(len(gram), scale)]), np.append(wanted, scale))
    return np.asarray(weights / weights.sum())


def _check(members: Sequence[Member], weighting: str) -> None:
    if weighting not in WEIGHTINGS:
        raise UnknownNameError("weighting of teachers", weighting, WEIGHTINGS)
    named = [member.fingerprint for member in members]
    if len(named) < 2:
        raise ConfigError(
            f"several teachers are at least 2, got {len(named)}; name more, or one by --teacher"
        )
    twice = next((one for one in named if named.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(f"teachers must differ, got {twice} twice; name each of them once")
