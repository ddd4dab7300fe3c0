"""Record a training step as a CUDA graph and replay it, to avoid the cost of kernel launches.

A student's step is hundreds of small kernels, which a GPU runs faster than Python can launch them.
So after a few ordinary steps, one is recorded as a CUDA graph, and later steps replay it on their
own rows. Such a step depends only on its rows, the weights and tensors that stay in place; it reads
no value back to the host and draws no random numbers. Batches of another size, such as the last of
an epoch, run as ordinary steps. Does not define what a step computes (``core.training.trainer``
does).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, runtime_checkable

import torch
from torch import Tensor

from core.shapes import Rows

WARM_UP_STEPS: Final = 3
"""Ordinary steps before one is recorded: they compile kernels and create optimiser state."""

Values = dict[str, Tensor]
Step = Callable[[Rows], Values]


@runtime_checkable
class Recorder(Protocol):
    """Records and replays work on one device."""

    def optimizer_settings(self, learning_rate: float) -> dict[str, Any]:
        """Return the settings of an optimiser whose steps can be recorded.

        The learning rate ``lr`` is a tensor, so that it can be changed between replayed steps.
        """

    def warm_up(self, work: Callable[[], Values]) -> Values:
        """Run ``work`` where it will be recorded."""

    def record(self, work: Callable[[], Values]) -> Callable[[], Values]:
        """Return a function that repeats ``work`` at every call, its results in the same tensors.

        Recording does not execute ``work``: the first call does.
        """


class CudaGraphs:
    """Records CUDA graphs on a separate stream, as CUDA requires."""

    def __init__(self) -> None:
        """Create a stream of the current device."""
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]

    def optimizer_settings(self, learning_rate: float) -> dict[str, Any]:
        """Keep all state of the optimiser on the GPU."""
        return {"lr": torch.tensor(learning_rate, device="cuda"), "capturable": True}

    def warm_up(self, work: Callable[[], Values]) -> Values:
        """Run ``work`` on that stream, synchronised with the current stream before and after."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            values = work()
        here.wait_stream(self._stream)
        return values

    def record(self, work: Callable[[], Values]) -> Callable[[], Values]:
        """Record ``work`` as a CUDA graph."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            values = work()

        def replay() -> Values:
            graph.replay()
            return values

        return replay


class ReplayedStep:
    """A training step that is recorded after ``WARM_UP_STEPS`` calls and then replayed."""

    def __init__(self, step: Step, size: int, recorder: Recorder) -> None:
        """Prepare to record ``step``.

        Args:
            step: takes rows [S] and returns values that are valid until the next step.
            size: the S of the steps to record.
            recorder: of the device that ``step`` runs on.
        """
        self._step, self._size, self._recorder = step, size, recorder
        self._left_to_warm_up = WARM_UP_STEPS
        self._recorded: tuple[Rows, Callable[[], Values]] | None = None
        """The tensor of rows that the recorded step reads, and the step."""

    def __call__(self, rows: Rows) -> Values:
        """Run the step on ``rows`` [S], of any S."""
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
