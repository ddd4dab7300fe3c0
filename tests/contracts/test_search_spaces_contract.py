"""Every file in ``search_spaces/``: whole, documented, fair, and true to the paper's Table 6."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES
from core.training.config import OPTIMIZERS, SCHEDULES
from hpo.space.search_space import built_in_search_space, load_search_space

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "search_spaces").rglob("*.yaml"))
TABLES = json.loads((ROOT / "tests" / "paper_tables.json").read_text())
TABLE6: dict[str, dict[str, dict[str, Any]]] = TABLES["table6"]
TABLE9: dict[str, dict[str, dict[str, Any]]] = TABLES["table9"]

TRAINING = {
    "batch_size": CategoricalDistribution((16, 25, 32, 50, 60, 64, 100)),
    "learning_rate": FloatDistribution(1e-4, 3e-2, log=True),
    "optimizer": CategoricalDistribution(tuple(OPTIMIZERS)),
    "schedule": CategoricalDistribution(tuple(SCHEDULES)),
    "windows_per_segment": CategoricalDistribution((1, 5)),
}

PRUNING = {
    "pruning_ratio": FloatDistribution(0.25, 0.97),
    "pruning_interval": IntDistribution(5, 200, log=True),
    "fine_tuning_epochs": IntDistribution(1, 20),
}
WIDTHS = {
    "block1_hidden": IntDistribution(1, 32, log=True),
    "block1_out": IntDistribution(1, 64, log=True),
    "block2_hidden": IntDistribution(1, 32, log=True),
    "block2_out": IntDistribution(1, 128, log=True),
}
# Beside the files called as their methods: with what they search on top, and for which loss.
OTHERS = {"prune": ("prune", "stcd", PRUNING), "widths": ("stcd", "stcd", WIDTHS)}

every_file = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
every_loss = pytest.mark.parametrize("method", sorted(LOSSES))


def test_every_method_has_a_file_and_nothing_else_lies_there() -> None:
    assert len(FILES) == 10
    assert {path.stem for path in FILES} == {*LOSSES, *OTHERS}
    found = {path for path in (ROOT / "search_spaces").rglob("*") if path.is_file()}
    assert found == set(FILES), "search_spaces/ holds data only"


@every_file
def test_file_is_built_in_under_its_methods_name(path: Path) -> None:
    space = load_search_space(path)
    assert space.method == OTHERS.get(path.stem, (path.stem,))[0]
    assert space == built_in_search_space(path.stem)


@every_file
def test_header_says_what_why_and_whence(path: Path) -> None:
    header = path.read_text().split("method:")[0].splitlines()
    assert len(header) >= 3
    assert all(line.startswith("# ") for line in header)
    for word in ("Searched:", "Why", "Source:"):
        assert any(word in line for line in header), word


@every_file
def test_it_varies_the_losss_whole_ranges_and_the_same_training_settings(path: Path) -> None:
    _, loss, more = OTHERS.get(path.stem, (path.stem, path.stem, {}))
    ranges = {
        name: FloatDistribution(bounds.low, bounds.high)
        for name, bounds in hyperparameter_bounds(LOSSES[loss]).items()
    }
    assert built_in_search_space(path.stem).distributions() == {**TRAINING, **ranges, **more}


@every_file
def test_every_first_point_lies_inside(path: Path) -> None:
    space = built_in_search_space(path.stem)
    assert len(space.points()) >= 2
    for point in space.points():
        assert point.keys() == space.distributions().keys()
        for name, distribution in space.distributions().items():
            # Optuna's own test, apart from the one that reading the file makes.
            assert distribution._contains(distribution.to_internal_repr(point[name])), name


@every_loss
def test_every_method_has_the_same_strong_start(method: str) -> None:
    first = built_in_search_space(method).points()[0]
    assert {name: first[name] for name in TRAINING} == {
        "batch_size": 50,
        "learning_rate": 0.01,
        "optimizer": "adam",
        "schedule": "cosine",
        "windows_per_segment": 5,
    }
    row = "stcd" if method in {"tcd", "scd"} else method
    for name in first.keys() - TRAINING.keys():
        assert first[name] == TABLE6["pemsd7"][row][name]


@pytest.mark.parametrize(
    ("dataset", "row"), [(dataset, row) for dataset in TABLE6 for row in TABLE6[dataset]]
)
def test_every_entry_of_table_6_is_a_first_point(dataset: str, row: str) -> None:
    entry = dict(TABLE6[dataset][row])
    entry["learning_rate"] = entry.pop("lr")
    entry |= {"optimizer": "rmsprop", "schedule": "step", "windows_per_segment": 1}
    for method in ("stcd", "tcd", "scd") if row == "stcd" else (row,):
        space = built_in_search_space(method)
        values = {name: value for name, value in entry.items() if name in space.parameters}
        sources = [point.source for point in space.first_points if dict(point.values) == values]
        assert len(sources) == 1
        assert sources[0].lower().startswith(f"table 6, {dataset}")


def test_table_6_is_whole() -> None:
    assert sum(len(rows) for rows in TABLE6.values()) == 10


@pytest.mark.parametrize(
    ("dataset", "percent"),
    [(dataset, percent) for dataset in TABLE9 for percent in TABLE9[dataset]],
)
def test_every_entry_of_table_9_is_a_first_point(dataset: str, percent: str) -> None:
    entry = dict(TABLE9[dataset][percent])
    entry["learning_rate"] = entry.pop("lr")
    entry |= {"optimizer": "rmsprop", "schedule": "step", "pruning_ratio": int(percent) / 100}
    points = built_in_search_space("prune").first_points
    sources = [point.source for point in points if entry.items() <= point.values.items()]
    assert len(sources) == 1
    assert sources[0].lower() == f"table 9, {dataset}, {percent} %"


def test_table_9_is_whole() -> None:
    assert sum(len(rows) for rows in TABLE9.values()) == 8


def test_the_search_of_widths_starts_from_table_1_and_stcds_own_points() -> None:
    starts = built_in_search_space("widths").points()
    for start in starts:
        assert [start.pop(name) for name in WIDTHS] == [2, 4, 2, 8]
    assert starts == built_in_search_space("stcd").points()[:2]
