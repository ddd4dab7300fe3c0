"""Sweeps in an object store, without Ray: machines come and go, and files stay whole."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import StorageError
from core.files import write_bytes
from core.preprocessing.prepare import PreparedData
from core.training.teachers import TeacherConfig, find_teachers
from core.training.trainer import EpochReport
from hpo.cli.main import run as run_command
from hpo.records.ledger import read_ledger
from hpo.records.sweep_folder import SweepFolder, all_sweeps, find_sweep
from hpo.records.sync.sweep_sync import download_exports, publish_export
from hpo.records.sync.teacher_sync import download_teachers, train_stored_teacher
from hpo.records.trial_files import (
    TrialFiles,
    clear_checkpoints,
    download_student,
    has_student,
    open_sweep,
    writable_ledger,
)
from hpo.records.trial_records import read_records, write_record
from hpo.selection import best
from hpo.storage.mirror import mirror_at
from hpo.storage.storage import ObjectStoreError, Storage, open_storage, storage_at
from tests.hpo.mirrored_sweeps import EPOCHS, TRIALS, Machines, a_plan, begin, drive, error_of
from tests.object_stores import CREDENTIALS, Broken, S3Server
from tests.small_sweeps import record

pytestmark = pytest.mark.usefixtures("quiet_optuna")
SWEEPS, OUTAGES = 4, 12


def test_a_store_that_fails_at_any_moment_loses_nothing_that_had_ended(
    s3: S3Server, machines: Machines
) -> None:
    chance = random.Random(3)
    ended: set[int] = set()
    errors: list[str] = []
    first = machines.address
    for number in range(SWEEPS):
        machines.address = first.replace("?", f"-{number}?")
        storage = machines.new()
        begin(storage)
        ended.clear()
        for _ in range(OUTAGES):
            storage = machines.new() if chance.random() < 0.7 else storage
            with s3.failing(after(chance.randint(0, 40))):
                errors.append(error_while_driving(storage, ended))
            seen = read_ledger(find_sweep(machines.new(), "first").ledger_file)
            assert ended <= {trial.number for trial in seen.with_status("finished")}
        drive(find_sweep(machines.new(), "first"), ended)
        check_complete(machines.new(), ended)
    outages = [error for error in errors if error]
    assert len(outages) >= SWEEPS * OUTAGES * 0.5
    for error in outages:
        # The other one comes before it is known which sweep is meant.
        assert error.endswith(("go on with `hpo resume first`", "then give the same command again"))


def after(requests: int) -> Broken:
    """Fail everything once so many requests were answered."""
    left = itertools.count(requests, -1)
    return lambda _: next(left) <= 0


def error_while_driving(storage: Path, ended: set[int]) -> str:
    try:
        drive(find_sweep(storage, "first"), ended)
    except StorageError as error:
        return str(error)
    return ""


def check_complete(storage: Path, ended: set[int]) -> None:
    """Every trial is there once, with its numbers; the best is the best."""
    folder = find_sweep(storage, "first")
    state, records = read_ledger(folder.ledger_file), read_records(folder.results)
    assert ended == set(range(TRIALS))
    assert [one.trial for one in records] == list(range(TRIALS))
    assert [trial.status for trial in state.trials.values()] == ["finished"] * TRIALS
    errors = {number: error_of(number, EPOCHS) for number in range(TRIALS)}
    assert {one.trial: one.metrics["val_mae"] for one in records} == errors
    assert best("small", storage)[0].trial == min(errors, key=lambda number: errors[number])
    lines = [json.loads(line) for line in folder.ledger_file.read_text().splitlines()]
    told = [(one["event"], one["trial"], one.get("epoch")) for one in lines]
    assert len(told) == len(set(told))


def test_who_looks_brings_only_what_changed_and_writes_nothing(
    s3: S3Server, machines: Machines
) -> None:
    folder = begin(machines.new())
    drive(folder, set())
    storage = machines.new()
    seen = len(s3.requests)
    assert len(read_records(find_sweep(storage, "first").results)) == TRIALS
    first = s3.requests[seen:]
    seen = len(s3.requests)
    assert [sweep.name for sweep in all_sweeps(storage)] == ["first"]
    assert not find_sweep(storage, "first").is_driven()
    again = s3.requests[seen:]
    assert {one.split()[0] for one in first + again} <= {"GET", "HEAD"}
    assert sum(one.endswith(".parquet") for one in first) == TRIALS
    assert not any(one.endswith((".parquet", ".jsonl", "sweep.json")) for one in again)


def test_a_driver_goes_on_with_its_own_files_without_bringing_them(
    s3: S3Server, machines: Machines
) -> None:
    storage = machines.new()
    drive(begin(storage), set())
    seen = len(s3.requests)
    assert len(read_records(find_sweep(storage, "first").results)) == TRIALS
    assert not any(one.endswith((".parquet", "sweep.json")) for one in s3.requests[seen:])


def test_a_sweep_that_was_deleted_or_made_anew_is_forgotten_here(machines: Machines) -> None:
    here = machines.new()
    drive(begin(here), set())
    there = machines.new()
    store = mirror_at(there).store  # type: ignore[union-attr]
    for key in store.list("first"):
        store.delete(key)
    assert all_sweeps(here) == []
    assert read_records(here / "first" / "results") == []
    drive(begin(here), set())
    for key in store.list("first"):
        store.delete(key)
    begin(there)
    folder = find_sweep(here, "first")
    assert read_records(folder.results) == []
    assert read_ledger(folder.ledger_file).trials == {}


def test_a_plan_that_the_store_did_not_take_is_no_sweep(s3: S3Server, machines: Machines) -> None:
    storage = machines.new()

    def plans(environ: dict[str, str]) -> bool:
        return environ["PATH_INFO"].endswith("sweep.json")

    with s3.failing(plans, ("503 Slow Down", "SlowDown")), pytest.raises(ObjectStoreError):
        begin(storage)
    assert not (storage / "first" / "sweep.json").exists()


def test_a_worker_brings_and_puts_the_states_of_its_trial(machines: Machines) -> None:
    begin(machines.new())
    at = SweepFolder(machines.new() / "first").address
    machines.new()
    one = open_sweep(at)
    files = TrialFiles(one, 3)
    files.download()
    assert one.read_plan() == a_plan()
    states = one.checkpoints(3)
    for epoch in (1, 2, 3):
        states.mkdir(parents=True, exist_ok=True)
        (states / f"epoch-{epoch:05d}-{'0' * 16}.safetensors").write_bytes(b"state")
        (states / f"epoch-{epoch - 2:05d}-{'0' * 16}.safetensors").unlink(missing_ok=True)
        files.upload_checkpoints()
    one.student(3).write_bytes(b"student")
    files.upload_student()
    machines.new()
    other = open_sweep(at)
    TrialFiles(other, 3).download()
    kept = sorted(path.name[:11] for path in other.checkpoints(3).iterdir())
    assert kept == ["epoch-00002", "epoch-00003"]
    assert has_student(other, 3)
    assert not has_student(other, 4)
    clear_checkpoints(other, 3)
    machines.new()
    third = open_sweep(at)
    TrialFiles(third, 3).download()
    assert not third.checkpoints(3).exists()


def test_no_file_holds_credentials(machines: Machines, tmp_path: Path, s3: S3Server) -> None:
    drive(begin(machines.new()), set())
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "mirror.json" for path in files)
    for path in files:
        assert not any(secret.encode() in path.read_bytes() for secret in CREDENTIALS.values())


def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    assert open_storage(str(tmp_path / "runs")) == tmp_path / "runs"
    assert open_storage(tmp_path) == tmp_path
    assert type(storage_at(tmp_path)) is Storage
    assert SweepFolder(tmp_path / "a#b").address == str(tmp_path / "a#b")
    assert open_sweep(str(tmp_path / "a#b")) == SweepFolder(tmp_path / "a#b")


def test_a_confirmation_has_a_driver_and_files_of_its_own(machines: Machines) -> None:
    sweep = begin(machines.new())
    drive(sweep, set())
    folder = sweep.confirmation
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        assert folder.is_driven()
        assert not sweep.is_driven()
        ledger.append("suggested", trial=0, settings={}, seed=1)
        folder.publish(write_record(folder.results, record(0, 1.5)))
        elsewhere = find_sweep(machines.new(), "first")
        assert elsewhere.confirmation.is_driven()
        refused = pytest.raises(StorageError, match="another process drives 'first'")
        with refused, elsewhere.confirmation.driver_lock():
            pass
    assert open_sweep(folder.address).path == elsewhere.confirmation.path
    found = find_sweep(machines.new(), "first")
    assert [one.metrics["val_mae"] for one in read_records(found.confirmation.results)] == [1.5]
    assert len(read_ledger(found.confirmation.ledger_file).trials) == 1
    assert len(read_records(found.results)) == TRIALS


def test_a_teacher_is_trained_once_and_goes_on_on_another_machine(
    machines: Machines, prepared: PreparedData
) -> None:
    training = replace(TeacherConfig().training, epochs=2)
    config = TeacherConfig(((1, 2, 2), (2, 2, 2)), training)
    heard: list[int] = []

    def hear(report: EpochReport) -> None:
        heard.append(report.epoch)
        if heard == [1]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_stored_teacher(prepared, config, machines.new(), hear)
    trained = train_stored_teacher(prepared, config, machines.new(), hear)
    assert heard == [1, 2]
    storage = machines.new()
    download_teachers(storage)
    (found,) = find_teachers(storage, prepared.fingerprint)
    assert (found.fingerprint, found.metrics) == (trained.fingerprint, trained.metrics)
    assert train_stored_teacher(prepared, config, machines.new(), hear).metrics == found.metrics
    assert heard == [1, 2]
    mirror = mirror_at(storage)
    assert mirror is not None
    assert list(mirror.store.list("teachers")) == [
        f"teachers/{found.fingerprint}/teacher.safetensors"
    ]


def test_exports_and_students_travel_whole(machines: Machines) -> None:
    folder = begin(machines.new())
    for name, files in {"1-whole": ("a", "manifest.json"), "2-half": ("a",)}.items():
        export = folder.path / "exports" / name
        export.mkdir(parents=True)
        for file in files:
            (export / file).write_text(file)
        publish_export(folder.store, export)
    write_bytes(folder.student(0), b"student")
    TrialFiles(folder, 0).upload_student()
    elsewhere = find_sweep(machines.new(), "first")
    download_exports(elsewhere.store, elsewhere.path)
    found = sorted(path.name for path in (elsewhere.path / "exports").rglob("*"))
    assert found == ["1-whole", "a", "manifest.json"]
    download_student(elsewhere, 0)
    assert elsewhere.student(0).read_bytes() == b"student"


@pytest.mark.parametrize("command", [["status"], ["best", "--dataset", "x"], ["resume", "x"]])
@pytest.mark.parametrize(
    ("address", "problem"),
    [
        (
            "s3://nowhere/runs?{}",
            "s3://nowhere/runs must answer and take what is written, but NoSuchBucket",
        ),
        ("s3://id:hidden@results/runs?{}", "must not hold credentials"),
        ("s3://results", "CONTAINER/PREFIX, got 's3://results'"),
    ],
)
def test_a_storage_that_cannot_be_used_is_one_line(
    machines: Machines,
    capsys: pytest.CaptureFixture[str],
    command: list[str],
    address: str,
    problem: str,
) -> None:
    options = machines.address.partition("?")[2]
    assert run_command([*command, "--storage", address.format(options)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("hpo: ")
    assert problem in line
    assert "hidden" not in line


def test_wrong_credentials_are_one_line(
    s3: S3Server, machines: Machines, capsys: pytest.CaptureFixture[str]
) -> None:
    with s3.failing(lambda _: True, ("403 Forbidden", "InvalidAccessKeyId")):
        assert run_command(["status", "--storage", machines.address]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "must answer and take what is written, but" in line
    assert not any(secret in line for secret in CREDENTIALS.values())
    assert not list(machines.folder.rglob("mirror.json"))
