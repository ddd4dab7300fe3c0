from __future__ import annotations

from pathlib import Path

import pytest

from core.evaluation.forecasting import evaluate
from core.export.evaluate import evaluate_export
from core.export.export_folder import StudentFacts, export_student, open_export
from core.preprocessing.prepare import prepare
from core.pruning.shrinking import shrink
from tests.small_students import LINEAGE, SENSORS, make_dataset, make_student

KEPT = ((1,), (0,), (1, 3), (0, 1), (1,), (0, 2, 6), (1, 2, 5), (0, 4))
"""Of the channels of Table 1's student: residuals that join some, and some that join none."""


@pytest.mark.timeout(300)
def test_a_pruned_student_is_exported_and_evaluated(tmp_path: Path) -> None:
    """The export itself refuses a forecaster that differs from PyTorch over validation days."""
    dataset = make_dataset(tmp_path / "small")
    data = prepare(dataset)
    model = shrink(make_student(data), KEPT)
    facts = StudentFacts({"method": "stcd"}, {}, LINEAGE)
    manifest = export_student(tmp_path / "export", model, data, dataset.adjacency, facts)
    assert manifest["network"]["kept"] == [list(layer) for layer in KEPT]
    assert manifest["parameters"] == model.config.parameters
    for kind in ("onnx", "live", "program"):
        assert manifest[kind]["parity"]["max_difference"] <= 1e-3
    opened = open_export(tmp_path / "export")
    assert opened.model.config == model.config
    found = evaluate_export(opened, dataset.readings, (4, 5), SENSORS)
    wanted = evaluate(model, data, "test")
    assert found["mae"]["45"] == pytest.approx(wanted["mae_45"], rel=1e-6)
