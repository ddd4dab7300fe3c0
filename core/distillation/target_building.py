"""Compute a teacher's targets for its training days, in one pass over each.

Each kind of target is written to its own folder; which kinds, and in which form, is decided in
``teacher_targets``. Where a teacher is equivariant to shifts in time, one pass over a whole stretch
gives every step the values that a pass over each window would; else every window is passed through
it, and its hidden layers are stored window after window. Whole forecasts are stored where students
predict a horizon, and those of a teacher that predicts one step are then its roll-out.

Axes: W windows, K time steps ahead that are stored, C channels, T time steps of a pass, N sensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from core.distillation.correlation import terms as correlation
from core.distillation.correlation.backends import import_compiled_terms
from core.distillation.correlation.step_tables import StepTable, to_fixed_point
from core.distillation.layer_alignment import LayerSteps, newest_of_windows
from core.distillation.table_files import Layout, TableWriter, tables_written_aside
from core.ensemble import Network
from core.evaluation.forecasting import roll_on
from core.preprocessing.prepare import PreparedData
from core.shapes import Signal
from core.stgcn import Features

OnProgress = Callable[[int, int], None]
"""Called with the number of windows done and the total."""

NODES_PER_PASS = 65_536
"""Windows times sensors of one pass; a teacher needs about 3 kB for each."""
NODES_OF_WINDOWS = 16_384
"""The same of a teacher that passes windows one by one, and keeps all steps of each."""
COLUMNS_AT_A_TIME = 48
"""Columns of a pass on the CPU: the layers of this many fit into its caches."""


Values = Callable[[Features], list[Tensor]]
"""Computes what is stored of hidden layers, layer by layer."""


@dataclass(frozen=True)
class Run:
    """Consecutive windows, W of them, and what one pass of the teacher makes of them."""

    forecasts: Float[Tensor, "W K N"]
    """The scaled forecast after every window, as many steps as are stored."""
    features: Features
    """Of every time step [1, C, T, N]; of a teacher that is not equivariant, of every window
    [W, C, T, N]."""


@runtime_checkable
class Kind(Protocol):
    """One kind of targets in one form."""

    @property
    def name(self) -> str:
        """Name of its folder."""

    def layouts(self, rows: int) -> dict[str, Layout]:
        """Return the tensors that hold ``rows`` time steps, by name."""

    def write(self, writer: TableWriter, first_row: int, run: Run) -> None:
        """Write the teacher's targets from ``first_row`` on."""


def size_of(kind: Kind, rows: int) -> int:
    """Return the bytes of ``rows`` time steps."""
    return sum(layout.size for layout in kind.layouts(rows).values())


@dataclass(frozen=True)
class Forecasts:
    """The forecast after every window in 16 bits by the window's first row, NaN elsewhere."""

    steps: int
    """K: the whole horizon, or the next step alone."""
    num_sensors: int
    name: str
    """Name of its folder."""

    def layouts(self, rows: int) -> dict[str, Layout]:
        """Return the tensors that hold ``rows`` forecasts (``Kind``)."""
        return {
            "entries": Layout(torch.int16, (rows, self.steps, self.num_sensors)),
            "scale": Layout(torch.float32, (rows,), torch.nan),
            "low": Layout(torch.float32, (rows,)),
        }

    def write(self, writer: TableWriter, first_row: int, run: Run) -> None:
        """Write the forecasts after the windows from ``first_row`` on (``Kind``)."""
        table = to_fixed_point(run.forecasts, run.forecasts.flatten(1).amin(dim=1))
        for name in ("entries", "scale", "low"):
            writer.write(name, first_row, getattr(table, name))

    def read(self, tensors: Mapping[str, Tensor], device: torch.device) -> StepTable:
        """Join the tensors of ``layouts`` to a table."""
        return StepTable(*(tensors[name].to(device) for name in ("entries", "scale", "low")))


@dataclass(frozen=True)
class HiddenLayers:
    """Values derived from hidden layers, in 16 bits: a ``StepTable`` per layer."""

    name: str
    """Name of its folder."""
    step_shapes: Sequence[tuple[int, ...]]
    """Per layer, the shape of one step's values."""
    values: Values
    """Computes them from a pass over a stretch: per layer [T, *step_shape], or [W T, ...]."""
    are_distances: bool
    """Distances are at least zero, so low is 0 and zero stays zero."""
    steps_per_row: Sequence[int]
    """Per layer, how many steps are stored for each row: those of its window, or 1, its own."""

    def layouts(self, rows: int) -> dict[str, Layout]:
        """Return the tensors that hold ``rows`` steps (``Kind``)."""
        found = {}
        layers = zip(self.step_shapes, self.steps_per_row, strict=True)
        for index, (shape, steps) in enumerate(layers):
            found[f"entries.{index}"] = Layout(torch.int16, (rows * steps, *shape))
            found[f"scale.{index}"] = Layout(torch.float32, (rows * steps,))
            found[f"low.{index}"] = Layout(torch.float32, (rows * steps,))
        return found

    def write(self, writer: TableWriter, first_row: int, run: Run) -> None:
        """Write the values of the steps from ``first_row`` on (``Kind``)."""
        for index, values in enumerate(self.values(run.features)):
            low = values.new_zeros(len(values))
            if not self.are_distances:
                low = values.flatten(1).amin(dim=1)
            table = to_fixed_point(values, low)
            for name in ("entries", "scale", "low"):
                first = first_row * self.steps_per_row[index]
                writer.write(f"{name}.{index}", first, getattr(table, name))

    def read(self, tensors: Mapping[str, Tensor], device: torch.device) -> list[StepTable]:
        """Combine the tensors of ``layouts`` into tables."""
        parts = ("entries", "scale", "low")
        return [
            StepTable(*(tensors[f"{name}.{index}"].to(device) for name in parts))
            for index in range(len(self.step_shapes))
        ]


def forms_for(
    sample: Features, blocks: int, windows: LayerSteps | None = None
) -> dict[str, list[HiddenLayers]]:
    """Return the possible forms of each need's targets, the fastest to use first.

    Pair distances save the student's terms most of the teacher's arithmetic; they grow with N^2,
    so features are the smaller alternative.

    Args:
        sample: features of the teacher's pass over one window.
        blocks: how many of its ST blocks are compared; the last layer is that of the last one.
        windows: the time steps of each window to be stored, of those blocks; None: every time
            step once, for all windows that hold it.
    """
    whole = blocks == len(sample.spatial)
    if windows is not None:
        sample = newest_of_windows(sample, windows)
    N = sample.spatial[0].shape[3]
    lags = [layer.shape[2] - 1 for layer in sample.temporal]
    widths = [(layer.shape[1], N) for layer in sample.spatial]
    pairs = [(N * (N - 1) // 2,)] * len(widths)

    def steps(features: Features) -> list[Tensor]:
        terms = _fastest_on(features.temporal[0].device)
        layers = zip(features.temporal, lags, strict=True)
        return [terms.step_distances(layer, lag).flatten(0, 1) for layer, lag in layers]

    deepest = 2 * blocks - 1

    def last(features: Features) -> list[Tensor]:
        return [_steps_apart(features.temporal[deepest])]

    name, width = "last" if whole else f"last-of-{blocks}", sample.temporal[deepest].shape[1]

    def kind(
        name: str, need: str, shapes: Sequence[tuple[int, ...]], values: Values, distances: bool
    ) -> HiddenLayers:
        if windows is None:
            return HiddenLayers(name, shapes, values, distances, [1] * len(shapes))
        stored = [layer.shape[2] for layer in getattr(sample, need)][-len(shapes) :]
        spelled = "-".join(map(str, stored))
        return HiddenLayers(f"{name}-windows-{spelled}", shapes, values, distances, stored)

    return {
        "temporal": [kind("temporal", "temporal", [(lag, N) for lag in lags], steps, True)],
        "spatial": [
            kind("spatial-distances", "spatial", pairs, _pair_distances, True),
            kind("spatial-features", "spatial", widths, _spatial_features, False),
        ],
        "last": [kind(name, "temporal", [(width, N)], last, False)],
    }


@torch.inference_mode()
def build_tables(
    teacher: Network,
    data: PreparedData,
    kinds: Mapping[Path, Kind],
    key: str,
    on_progress: OnProgress | None = None,
    windows: LayerSteps | None = None,
) -> None:
    """Write the tables of ``kinds`` into their folders, all from the same runs of windows.

    Args:
        teacher: on the device of ``data``.
        data: the teacher's dataset.
        kinds: by the folder that each goes to.
        key: identifies teacher and data.
        on_progress: see ``OnProgress``.
        windows: see ``forms_for``; empty where a teacher that needs it stores no hidden layers.
    """
    rows = training_rows(data)
    total = sum(len(stretch.first_rows(data.window_steps)) for stretch in data.stretches("train"))
    done = 0
    with ExitStack() as stack:
        writers = [
            (kind, stack.enter_context(tables_written_aside(folder, key, kind.layouts(rows))))
            for folder, kind in kinds.items()
        ]
        wanted = [kind.steps for kind in kinds.values() if isinstance(kind, Forecasts)]
        for first, run in _runs(teacher, data, max(wanted, default=1), windows):
            for kind, writer in writers:
                kind.write(writer, first, run)
            done += len(run.forecasts)
            if on_progress is not None:
                on_progress(done, total)


def training_rows(data: PreparedData) -> int:
    """Return the number of rows of a table: the training days come first."""
    return max(stretch.stop for stretch in data.stretches("train"))


def _runs(
    teacher: Network, data: PreparedData, steps: int, layers: LayerSteps | None
) -> Iterator[tuple[int, Run]]:
    """Yield runs of consecutive training windows and the first row of each.

    Args:
        teacher: see ``build_tables``.
        data: see ``build_tables``.
        steps: of each forecast.
        layers: see ``build_tables``.
    """
    nodes = NODES_PER_PASS if layers is None else NODES_OF_WINDOWS
    windows = max(1, nodes // data.readings.shape[1])
    for stretch in data.stretches("train"):
        for piece in torch.split(stretch.first_rows(data.window_steps), windows):
            first, last = int(piece[0]), int(piece[-1])
            rows = slice(first, last + data.history_steps)
            seen = teacher.signal(data.readings[rows][None], data.missing(rows)[None])
            yield first, _run(teacher, seen, steps, layers)


def _run(teacher: Network, seen: Signal, steps: int, layers: LayerSteps | None) -> Run:
    """Pass the history [1, C, T, N] of consecutive windows through the teacher once."""
    size = seen.shape[2]
    if seen.device.type == "cpu":
        size = max(teacher.config.history_steps, COLUMNS_AT_A_TIME)
    tails, pieces, forecasts = None, [], []
    for columns in torch.split(seen, size, dim=2):
        first, features, inputs = teacher.stream(columns, tails)
        tails = teacher.last_tails(inputs)
        pieces.append(features if layers is None else newest_of_windows(features, layers))
        forecasts.append(roll_on(teacher, first, inputs, steps))
    join = _joined if layers is None else torch.cat
    temporal = [join(runs) for runs in zip(*(one.temporal for one in pieces), strict=True)]
    spatial = [join(runs) for runs in zip(*(one.spatial for one in pieces), strict=True)]
    return Run(torch.cat(forecasts), Features(temporal, spatial))


def _joined(layers: Sequence[Tensor]) -> Tensor:
    """Concatenate signals [1, C, T, N] along time, in their memory order: step after step."""
    return torch.cat([layer.transpose(1, 2) for layer in layers], dim=1).transpose(1, 2)


def _pair_distances(features: Features) -> list[Tensor]:
    terms = _fastest_on(features.spatial[0].device)
    return [terms.node_distances(layer).flatten(0, 1) for layer in features.spatial]


def _fastest_on(device: torch.device) -> ModuleType:
    compiled = import_compiled_terms() if device.type == "cpu" else None
    return compiled or correlation


def _spatial_features(features: Features) -> list[Tensor]:
    return [_steps_apart(layer) for layer in features.spatial]


def _steps_apart(layer: Signal) -> Float[Tensor, "BT C N"]:
    """Return the features of one step after the other."""
    return layer.transpose(1, 2).flatten(0, 1)
