"""A training step in; on a GPU the same step out, recorded once and replayed without its launches.

A student's step is hundreds of small kernels, which a GPU runs faster than Python can ask for them.
So after a few steps as they are, one is recorded as a CUDA graph, and later ones replay it on rows
of their own. Such a step depends on its rows, on weights and on tensors that stay where they are;
it reads no value back and draws nothing at random. Batches of another size, as an epoch's last may
be, run as they are. Nothing is trained here, and what a step computes is the trainer's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

import torch
from torch import Tensor

from core.shapes import Rows

WARM_UP_STEPS: Final = 3
"""Steps in which kernels are compiled and optimisers make their state, before one is recorded."""

Values = dict[str, Tensor]
Step = Callable[[Rows], Values]


@runtime_checkable
class Recorder(Protocol):
    """Records work on one device."""

    def optimizer_settings(self, learning_rate: float) -> dict[str, Any]:
        """Return settings of an optimiser whose steps can be recorded.

        Its rate ``lr`` is a tensor: what later steps read may change.
        """

    def warm_up(self, work: Callable[[], Values]) -> Values:
        """Do ``work`` where it will be recorded."""

    def record(self, work: Callable[[], Values]) -> Callable[[], Values]:
        """Return what does ``work`` once more at every call, its results in the same tensors.

        Recording is not doing: nothing has happened before the first call.
        """


class CudaGraphs:
    """Records on a stream of its own, as CUDA asks for."""

    def __init__(self) -> None:
        """Take a stream of the current device."""
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def optimizer_settings(self, learning_rate: float) -> dict[str, Any]:
        """Keep all state of the optimiser on the GPU."""
        return {"lr": torch.tensor(learning_rate, device="cuda"), "capturable": True}

    def warm_up(self, work: Callable[[], Values]) -> Values:
        """Do ``work`` on that stream, between what was and what will be asked of the others."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            values = work()
        here.wait_stream(self._stream)
        return values

    def record(self, work: Callable[[], Values]) -> Callable[[], Values]:
        """Record ``work`` as a graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            values = work()

        def replay() -> Values:
            graph.replay()
            return values

        return replay


class ReplayedStep:
    """A step of one size that is recorded after ``WARM_UP_STEPS`` of it."""

    def __init__(self, step: Step, size: int, recorder: Recorder) -> None:
        """Record nothing yet.

        Args:
            step: takes rows [S] and returns values to be read before the next step.
            size: the S of steps to record.
            recorder: for the device that ``step`` runs on.
        """
        self._step, self._size, self._recorder = step, size, recorder
        self._left_to_warm_up = WARM_UP_STEPS
        self._recorded: tuple[Rows, Callable[[], Values]] | None = None
        """The rows that a recorded step reads, and the step."""

    def __call__(self, rows: Rows) -> Values:
        """Take the step on ``rows`` [S], of any S."""
        if len(rows) != self._size:
            return self._step(rows)
        if self._left_to_warm_up:
            self._left_to_warm_up -= 1
            return self._recorder.warm_up(lambda: self._step(rows))
        if self._recorded is None:
            copy = rows.clone()
            self._recorded = copy, self._recorder.record(lambda: self._step(copy))
        own_rows, replay = self._recorded
        own_rows.copy_(rows)
        return replay()
