"""Records written at a trial's end: everything known of it, also when it ended badly."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from core.checkpoint import CheckpointFolder
from core.experiments import network_shape, new_network
from core.forms import DEFAULT_FORM, FORMS
from core.preprocessing.prepare import PreparedData
from hpo.driver.recorder import Recorder
from hpo.driver.sweep_run import SweepRun
from hpo.planning.places import Places
from hpo.planning.sweep_planning import plan_sweep
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder
from hpo.records.sweep_state import Trial
from hpo.records.trial_records import TrialRecord, read_records
from hpo.sweep import resume_sweep
from hpo.sweep_config import SweepConfig

TRIAL = Trial(3, {"batch_size": 16, "learning_rate": 0.01}, 17, "2026-01-01T00:00:00+00:00")
FACTS = {"metrics": {"val_mae": 2.0}, "epoch": 4, "best_epoch": 3, "seconds": 1.5}
Write = Callable[..., TrialRecord]


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path / "runs" / "night")


@pytest.fixture
def write(folder: SweepFolder, small_data: Path) -> Write:
    """Write a record and read it back."""
    config = SweepConfig("night", "none", "small")
    plan, data = plan_sweep(config, Places(small_data, folder.storage))
    recorder = Recorder(SweepRun(folder, plan, data))

    def write_and_read(
        status: str, reason: str | None = None, facts: dict[str, Any] = FACTS
    ) -> TrialRecord:
        recorder.write(TRIAL, status, reason, facts)
        (record,) = read_records(folder.results)
        return record

    return write_and_read


def test_a_record_joins_trial_sweep_and_facts(
    write: Write, folder: SweepFolder, prepared: PreparedData
) -> None:
    folder.student(3).parent.mkdir(parents=True)
    folder.student(3).write_bytes(b"weights")
    record = write("finished")
    assert (record.sweep, record.trial, record.status) == ("night", 3, "finished")
    assert (record.dataset, record.method) == ("small", "none")
    assert (record.settings, record.seed) == (TRIAL.settings, 17)
    assert record.metrics == {"val_mae": 2.0}
    assert (record.epochs, record.best_epoch, record.seconds) == (4, 3, 1.5)
    assert record.started == TRIAL.suggested < record.ended
    assert record.dataset_fingerprint == prepared.fingerprint
    assert record.teacher_fingerprint is None
    assert record.student is not None
    assert folder.storage / record.student == folder.student(3)
    assert record.machine == platform.node()


@pytest.mark.parametrize("status", ["finished", "pruned", "failed"])
def test_the_checkpoints_of_a_recorded_trial_are_gone(
    write: Write, folder: SweepFolder, status: str
) -> None:
    checkpoints = CheckpointFolder(folder.checkpoints(3))
    checkpoints.save(1, {"weight": torch.zeros(2)}, {})
    write(status)
    assert checkpoints.newest() is None
    assert not folder.checkpoints(3).exists()


def test_it_knows_form_and_size_of_the_student(write: Write, prepared: PreparedData) -> None:
    form = FORMS[DEFAULT_FORM]
    shape = network_shape(prepared, form.student, form.network)
    student = new_network(shape, prepared.graph_kernel, seed=5)
    record = write("finished")
    assert record.form == DEFAULT_FORM
    assert record.parameters == sum(tensor.numel() for tensor in student.parameters())
    assert record.flops > record.parameters


def test_it_names_the_versions_that_were_running(write: Write) -> None:
    versions = write("finished").versions
    assert versions["python"] == platform.python_version()
    packages = versions.keys() - {"python"}
    assert packages == {"stgcn-student-search", "torch", "ray", "optuna", "numpy"}
    assert all(versions[package] == version(package) for package in packages)


def test_the_worker_may_say_where_it_ran(write: Write) -> None:
    assert write("finished", None, FACTS | {"machine": "node-7"}).machine == "node-7"


@pytest.mark.parametrize(
    ("status", "reason"), [("failed", "the loss must stay finite"), ("pruned", None)]
)
def test_a_trial_that_did_not_finish_has_no_student(
    write: Write, folder: SweepFolder, status: str, reason: str | None
) -> None:
    folder.student(3).parent.mkdir(parents=True)
    folder.student(3).write_bytes(b"of a worker that died right after")
    record = write(status, reason, {"metrics": {}})
    assert (record.status, record.reason, record.student) == (status, reason, None)
    assert (record.metrics, record.epochs, record.best_epoch, record.seconds) == ({}, 0, 0, 0.0)


def test_a_student_that_is_not_there_is_not_claimed(write: Write) -> None:
    assert write("finished").student is None


def test_every_field_has_a_value(write: Write) -> None:
    record = write("failed", "why")
    empty = {field.name for field in fields(record) if getattr(record, field.name) is None}
    assert empty == {"teacher_fingerprint", "student", "loss", "base", "latency_ms"}


@pytest.mark.parametrize(("status", "reason"), [("finished", None), ("failed", "too hot")])
def test_a_record_that_a_crash_kept_from_the_ledger_counts(
    folder: SweepFolder, small_data: Path, status: str, reason: str | None
) -> None:
    places = Places(small_data, folder.storage)
    plan, data = plan_sweep(SweepConfig("night", "none", "small", trials=1), places)
    folder.write_plan(plan)
    ledger = Ledger(folder.ledger_file)
    ledger.append("suggested", trial=0, settings=TRIAL.settings, seed=17)
    Recorder(SweepRun(folder, plan, data)).write(ledger.state.trials[0], status, reason, FACTS)
    ledger.close()
    assert read_ledger(folder.ledger_file).num_ended == 0

    # Nothing is left to run, so this starts no Ray.
    (record,) = resume_sweep("night", places)
    trial = read_ledger(folder.ledger_file).trials[0]
    assert (trial.status, trial.reason, trial.metrics) == (status, reason, record.metrics)
    assert resume_sweep("night", places) == [record]
    assert folder.ledger_file.read_bytes().count(b"\n") == 2
