"""Remove blocks of readings from a dataset, and measure what the rules for gaps are worth.

``python -m benchmarks.missing_readings DATASET --out FILE`` removes shares of all readings, trains
students over seeds under each rule and writes their validation errors as JSON, all judged causally:
only with what was known when a forecast began. ``--csv FILE`` writes the readings with the blocks
removed instead, for ``hpo data import``. A share of 0 keeps a dataset's own gaps. ``--rules`` names
what students do about gaps: a rule that fills them, or ``mask``: filled causally, and which were
missing is read as well. Does not look at test days.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from benchmarks.seed_runs import Run, run_seeds
from core.datasets.dataset import Dataset
from core.datasets.loading import load_dataset
from core.evaluation.forecasting import evaluate, repeat_last
from core.experiments import StudentConfig, distill_student
from core.forms import find_form
from core.preprocessing.gaps import CAUSAL, GAP_RULES
from core.preprocessing.prepare import PreparedData, prepare
from core.training.config import TrainingConfig

CHANNELS = ((1, 6, 12), (12, 8, 16))
RANK = 16
MASK = "mask"
SHORTEST, LONGEST = 15, 180
"""Minutes of a block."""


def without_blocks(
    readings: NDArray[np.float32], share: float, interval_minutes: int, seed: int = 0
) -> NDArray[np.float32]:
    """Return ``readings`` [T, N] with blocks of 15 minutes to 3 hours removed, sensor by sensor.

    Args:
        readings: NaN where nothing was measured.
        share: of all readings that are missing in the end; those missing before count.
        interval_minutes: between two rows.
        seed: of the blocks.
    """
    generator, gappy = np.random.default_rng(seed), np.array(readings)
    lengths = np.arange(SHORTEST, LONGEST + 1, interval_minutes) // interval_minutes
    missing, wanted = int(np.isnan(gappy).sum()), share * gappy.size
    while missing < wanted:
        sensor = generator.integers(gappy.shape[1])
        first = generator.integers(len(gappy))
        block = gappy[first : first + generator.choice(lengths), sensor]
        missing += int((~np.isnan(block)).sum())
        block[:] = np.nan
    return gappy


def gappy_dataset(dataset: Dataset, share: float) -> Dataset:
    """Return ``dataset`` with a share of its readings removed."""
    card = dataset.card
    readings = without_blocks(dataset.readings, share, card.interval_minutes)
    card = replace(card, missing_share=float(np.isnan(readings).mean()))
    return replace(dataset, card=card, readings=readings)


def judged_causally(data: PreparedData, causal: PreparedData) -> PreparedData:
    """Return the causal readings on the scale of ``data``, for a network trained on those."""
    readings = data.scaler.scale(causal.scaler.unscale(causal.readings))
    return replace(causal, scaler=data.scaler, readings=readings)


def main(arguments: list[str]) -> int:
    """Write the readings with gaps, or run what the file lacks and print the results."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    dataset = load_dataset(options.data, options.dataset)
    if options.csv is not None:
        (share,) = options.shares
        frame = pd.DataFrame(
            gappy_dataset(dataset, share).readings, columns=dataset.card.sensor_ids
        )
        frame.to_csv(options.csv, index=False)
        return 0
    for share in options.shares:
        gappy = gappy_dataset(dataset, share)
        causal = prepare(gappy)
        run_seeds(options.out, f"repeat-last {share:g}", 1, partial(_repeated, causal))
        for rule in options.rules:
            data = causal if rule == MASK else prepare(gappy, gaps=rule)
            run = partial(_train, data, causal, options.epochs, rule == MASK)
            run_seeds(options.out, f"student {share:g} {rule}", options.seeds, run)
    return 0


def _repeated(causal: PreparedData, _: int) -> Run:
    return {f"val_{name}": value for name, value in repeat_last(causal, "validation").items()}


def _train(data: PreparedData, causal: PreparedData, epochs: int, mask: bool, seed: int) -> Run:
    training = TrainingConfig(epochs, 50, 8e-3, "adam", "warmup", 5, seed=seed, error="mae")
    form = replace(find_form("direct").with_rank(RANK), missing_mask=mask)
    config = StudentConfig("none", {}, training, CHANNELS, form=form)
    student = distill_student(data, None, config, None, lambda report: None)
    judge = causal if data.gaps == CAUSAL else judged_causally(data, causal)
    found = evaluate(student.model, judge, "validation")
    said = {f"as_trained_{name}": value for name, value in student.metrics.items()}
    return {**{f"val_{name}": value for name, value in found.items()}, **said}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.missing_readings")
    parser.add_argument("dataset")
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.15, 0.3])
    rules = (*GAP_RULES, MASK)
    parser.add_argument("--rules", nargs="+", choices=rules, default=rules)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=30)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--out", type=Path)
    action.add_argument("--csv", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
