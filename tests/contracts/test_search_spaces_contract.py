"""Every file in ``search_spaces/``: whole, documented, fair, and true to the paper's Table 6.

The files of the direct form are compared with each other, as what they search may change; those of
the paper's form hold what the paper says.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from core.distillation.hyperparameters import hyperparameter_bounds
from core.distillation.losses import LOSSES
from core.forms import DEFAULT_FORM, FORMS
from core.training.config import OPTIMIZERS
from hpo.space.parameters import STUDENT_WIDTHS, Range
from hpo.space.search_space import SearchSpace, built_in_search_space, load_search_space

ROOT = Path(__file__).parents[2]
SPACES = ROOT / "search_spaces"
FILES = sorted(SPACES.rglob("*.yaml"))
PAPER_FILES = [path for path in FILES if path.parent != SPACES]
DIRECT_FILES = [path for path in FILES if path.parent == SPACES]
TABLES = json.loads((ROOT / "tests" / "paper_tables.json").read_text())
TABLE6: dict[str, dict[str, dict[str, Any]]] = TABLES["table6"]
TABLE9: dict[str, dict[str, dict[str, Any]]] = TABLES["table9"]

# Of the paper's form.
TRAINING = {
    "batch_size": CategoricalDistribution((16, 25, 32, 50, 60, 64, 100)),
    "learning_rate": FloatDistribution(1e-4, 3e-2, log=True),
    "optimizer": CategoricalDistribution(tuple(OPTIMIZERS)),
    # Those that were there when the figures of docs/RESULTS.md were made: the same seed, the same
    # trials.
    "schedule": CategoricalDistribution(("step", "cosine")),
    "windows_per_segment": CategoricalDistribution((1, 5)),
}

PRUNING = {
    "pruning_ratio": FloatDistribution(0.25, 0.97),
    "pruning_interval": IntDistribution(5, 200, log=True),
    "fine_tuning_epochs": IntDistribution(1, 20),
}
WIDTHS = {
    "blocks": IntDistribution(1, 2),
    "block1_hidden": IntDistribution(1, 32, log=True),
    "block1_out": IntDistribution(1, 64, log=True),
    "block2_hidden": IntDistribution(1, 32, log=True),
    "block2_out": IntDistribution(1, 128, log=True),
}
# Beside the files called as their methods: with what they search on top, and for which loss.
OTHERS = {"prune": ("prune", "stcd", PRUNING), "widths": ("stcd", "stcd", WIDTHS)}

# Beside them, all files of the direct form vary these alike.
DIRECT_TRAINING = (*TRAINING, "error")
SHAPE = (*STUDENT_WIDTHS, "sensor_rank")


def name_of(path: Path) -> str:
    """Where a file lies below ``search_spaces/``: both forms have files of the same names."""
    return path.relative_to(SPACES).with_suffix("").as_posix()


def space_of(path: Path) -> SearchSpace:
    form = DEFAULT_FORM if path.parent == SPACES else path.parent.name
    return built_in_search_space(path.stem, form)


def loss_ranges(loss: str) -> dict[str, FloatDistribution]:
    return {
        name: FloatDistribution(bounds.low, bounds.high)
        for name, bounds in hyperparameter_bounds(LOSSES[loss]).items()
    }


def row_of(method: str) -> str:
    """The row of Table 6 that a loss takes its weights from."""
    return "stcd" if method in {"tcd", "scd"} else method


every_file = pytest.mark.parametrize("path", FILES, ids=name_of)
every_paper_file = pytest.mark.parametrize("path", PAPER_FILES, ids=name_of)
every_direct_file = pytest.mark.parametrize("path", DIRECT_FILES, ids=name_of)
every_loss = pytest.mark.parametrize("method", sorted(LOSSES))


@pytest.mark.parametrize("form", FORMS)
def test_every_method_has_a_file_of_every_form(form: str) -> None:
    folder = SPACES if form == DEFAULT_FORM else SPACES / form
    assert {path.name for path in folder.glob("*.yaml")} == {
        f"{name}.yaml" for name in (*LOSSES, *OTHERS)
    }


def test_nothing_else_lies_there() -> None:
    assert len(PAPER_FILES) == len(DIRECT_FILES) == 10
    found = {path for path in SPACES.rglob("*") if path.is_file()}
    assert found == set(FILES), "search_spaces/ holds data only"


@every_file
def test_file_is_built_in_under_its_methods_name(path: Path) -> None:
    space = load_search_space(path)
    assert space.method == OTHERS.get(path.stem, (path.stem,))[0]
    assert space == space_of(path)


@every_file
def test_header_says_what_why_and_whence(path: Path) -> None:
    header = path.read_text().split("method:")[0].splitlines()
    assert len(header) >= 3
    assert all(line.startswith("# ") for line in header)
    for word in ("Searched:", "Why", "Source:"):
        assert any(word in line for line in header), word


@every_file
def test_every_first_point_lies_inside(path: Path) -> None:
    space = space_of(path)
    assert len(space.points()) >= 2
    for point in space.points():
        assert point.keys() == space.distributions().keys()
        for name, distribution in space.distributions().items():
            # Optuna's own test, apart from the one that reading the file makes.
            assert distribution._contains(distribution.to_internal_repr(point[name])), name


# The direct form


@every_direct_file
def test_direct_methods_vary_the_same_training_settings(path: Path) -> None:
    reference, found = built_in_search_space("none").distributions(), space_of(path).distributions()
    assert {name: found[name] for name in DIRECT_TRAINING} == {
        name: reference[name] for name in DIRECT_TRAINING
    }


@every_loss
def test_direct_methods_vary_the_same_shapes_and_the_losss_whole_ranges(method: str) -> None:
    reference = built_in_search_space("none").distributions()
    assert reference.keys() == {*SHAPE, *DIRECT_TRAINING}
    assert built_in_search_space(method).distributions() == {**reference, **loss_ranges(method)}


@every_loss
def test_direct_methods_have_the_same_starts_and_table_6s_weights(method: str) -> None:
    """One start is that of another method and the weights of the loss, nothing else."""
    weights = {
        name: value
        for name, value in TABLE6["pemsd7"].get(row_of(method), {}).items()
        if name in loss_ranges(method)
    }
    assert weights.keys() == loss_ranges(method).keys()
    starts = built_in_search_space("none").points()
    assert built_in_search_space(method).points() == [{**start, **weights} for start in starts]


def test_direct_pruning_varies_its_own_settings_and_no_shape() -> None:
    found = built_in_search_space("prune").distributions()
    assert found.keys() == {*PRUNING, *loss_ranges("stcd"), *DIRECT_TRAINING}
    assert {name: found[name] for name in loss_ranges("stcd")} == loss_ranges("stcd")


def test_direct_pruning_starts_with_the_training_of_all_methods_and_table_9s_weights() -> None:
    training = built_in_search_space("none").points()[0]
    for point in built_in_search_space("prune").points():
        assert {name: point[name] for name in DIRECT_TRAINING} == {
            name: training[name] for name in DIRECT_TRAINING
        }
        entry = TABLE9["pemsd7"][f"{point['pruning_ratio']:.0%}".rstrip("%")]
        for name in loss_ranges("stcd"):
            assert point[name] == entry[name]


def test_the_direct_search_of_widths_is_stcds_over_wider_shapes() -> None:
    narrow, wide = built_in_search_space("stcd"), built_in_search_space("widths")
    assert wide.parameters.keys() == {*narrow.parameters, "blocks"}
    for name in narrow.parameters.keys() - set(SHAPE):
        assert wide.parameters[name] == narrow.parameters[name]
    for name in SHAPE:
        inner, outer = narrow.parameters[name], wide.parameters[name]
        assert isinstance(inner, Range)
        assert isinstance(outer, Range)
        assert outer.low <= inner.low
        assert outer.high >= inner.high
        if name in STUDENT_WIDTHS:
            assert outer.high > inner.high, name
    assert wide.points() == [{**point, "blocks": 2} for point in narrow.points()]


# The paper's form


@every_paper_file
def test_it_varies_the_losss_whole_ranges_and_the_same_training_settings(path: Path) -> None:
    _, loss, more = OTHERS.get(path.stem, (path.stem, path.stem, {}))
    assert space_of(path).distributions() == {**TRAINING, **loss_ranges(loss), **more}


@every_loss
def test_every_method_has_the_same_strong_start(method: str) -> None:
    first = built_in_search_space(method, "paper").points()[0]
    assert {name: first[name] for name in TRAINING} == {
        "batch_size": 50,
        "learning_rate": 0.01,
        "optimizer": "adam",
        "schedule": "cosine",
        "windows_per_segment": 5,
    }
    for name in first.keys() - TRAINING.keys():
        assert first[name] == TABLE6["pemsd7"][row_of(method)][name]


@pytest.mark.parametrize(
    ("dataset", "row"), [(dataset, row) for dataset in TABLE6 for row in TABLE6[dataset]]
)
def test_every_entry_of_table_6_is_a_first_point(dataset: str, row: str) -> None:
    entry = dict(TABLE6[dataset][row])
    entry["learning_rate"] = entry.pop("lr")
    entry |= {"optimizer": "rmsprop", "schedule": "step", "windows_per_segment": 1}
    for method in ("stcd", "tcd", "scd") if row == "stcd" else (row,):
        space = built_in_search_space(method, "paper")
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
    points = built_in_search_space("prune", "paper").first_points
    sources = [point.source for point in points if entry.items() <= point.values.items()]
    assert len(sources) == 1
    assert sources[0].lower() == f"table 9, {dataset}, {percent} %"


def test_table_9_is_whole() -> None:
    assert sum(len(rows) for rows in TABLE9.values()) == 8


def test_the_search_of_widths_starts_from_table_1_and_stcds_own_points() -> None:
    starts = built_in_search_space("widths", "paper").points()
    for start in starts:
        assert [start.pop(name) for name in WIDTHS] == [2, 2, 4, 2, 8]
    assert starts == built_in_search_space("stcd", "paper").points()[:2]
