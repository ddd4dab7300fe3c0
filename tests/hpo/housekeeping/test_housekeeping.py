"""Delete, archive and unarchive sweeps, on a disk and in an object store, as a user does."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from core.checkpoint import save_model
from core.errors import ConfigError, StorageError
from core.files import write_bytes
from core.preprocessing.prepare import PreparedData
from core.training.teacher_files import TEACHER_FILE, teacher_folder
from hpo.cli.main import run
from hpo.housekeeping.archive_file import write_archive
from hpo.housekeeping.archiving import archive_sweep, unarchive_sweep
from hpo.records.ledger import Ledger, read_ledger
from hpo.records.sweep_folder import SweepFolder, find_sweep
from hpo.records.trial_files import download_student, writable_ledger
from hpo.records.trial_records import read_records, write_record
from hpo.storage.storage import storage_at
from tests.hpo.mirrored_sweeps import Machines
from tests.object_stores import S3Server
from tests.small_students import make_student
from tests.small_sweeps import make_sweep, note, record

TEACHER = "a" * 16
Output = pytest.CaptureFixture[str]
NewMachine = Callable[[], Path]


@pytest.fixture(params=["folder", "bucket"])
def new_machine(request: pytest.FixtureRequest, tmp_path: Path) -> NewMachine:
    """Returns a storage as another machine sees it."""
    if request.param == "folder":
        return lambda: tmp_path / "runs"
    machines: Machines = request.getfixturevalue("machines")
    return machines.new


def fill(storage: Path, data: PreparedData, name: str = "night") -> SweepFolder:
    """A stopped sweep: two trials ended, one under way; a confirmation, an export, a teacher."""
    folder = SweepFolder(storage / name)
    store = storage_at(storage)
    teacher = teacher_folder(storage, TEACHER) / TEACHER_FILE
    save_model(teacher, make_student(data), teacher_metadata())
    store.upload(teacher)
    with folder.driver_lock():
        make_sweep(storage, [record(0, 1.0, sweep=name)], teacher_fingerprint=TEACHER)
        folder.publish(folder.plan_file)
        write_record(folder.results, record(1, 2.0, sweep=name))
        checkpoint = folder.checkpoints(2) / "epoch-1.safetensors"
        manifest = folder.exports / "1-trial-0000" / "manifest.json"
        for path in (checkpoint, manifest):
            write_bytes(path, path.name.encode())
        save_model(folder.student(0), make_student(data), {})
        for path in (*folder.results.iterdir(), checkpoint, manifest, folder.student(0)):
            store.upload(path)
        with writable_ledger(folder) as ledger:
            fill_ledger(ledger)
    with folder.confirmation.driver_lock(), writable_ledger(folder.confirmation) as ledger:
        note(ledger, 0, [1.5], "finished")
    return folder


def fill_ledger(ledger: Ledger) -> None:
    note(ledger, 0, [1.0], "finished")
    note(ledger, 1, [2.0], "finished")
    note(ledger, 2, [3.0], None)


def teacher_metadata() -> dict[str, object]:
    fields = {"dataset_fingerprint": "d" * 16, "settings": {}, "seconds": 1.0}
    return {**fields, "metrics": {"val_mae": 1.0}}


def left_of_night(storage: Path) -> list[str]:
    """What a storage has of the sweep, but for leases: they keep late drivers out."""
    names = [name for name in stored(storage) if f"{os.sep}night" in name]
    return [name for name in names if Path(name).name != "lease.json"]


def stored(storage: Path) -> set[str]:
    """All files that others see of the sweeps."""
    store = storage_at(storage)
    seen: set[str] = set()
    store.sync(storage, lambda listing: seen.update(map(str, listing.paths)))
    here = {str(path) for path in storage.rglob("*") if path.is_file()}
    return {name for name in seen or here if "teachers" not in name and "mirror.json" not in name}


def test_a_deleted_sweep_leaves_nothing_but_its_teacher(
    new_machine: NewMachine, prepared: PreparedData, capsys: Output
) -> None:
    fill(new_machine(), prepared)
    fill(new_machine(), prepared, "day")
    storage = new_machine()
    assert run(["delete", "night", "--yes", "--storage", storage_at(storage).address]) == 0
    assert capsys.readouterr().out == "deleted night: 2 trials that ended and 1 exports\n"
    for there in (storage, new_machine()):
        assert not (there / "night").exists()
        assert stored(there)
        assert not left_of_night(there)
        assert find_sweep(there, "day").read_plan().teacher_fingerprint == TEACHER
        assert not list(there.glob(".*.deleted.*"))
    # Its name is free.
    fill(new_machine(), prepared)


def test_an_archive_brings_everything_to_another_storage(
    new_machine: NewMachine, prepared: PreparedData, tmp_path: Path
) -> None:
    fill(new_machine(), prepared)
    path = tmp_path / "out" / "night.tar.gz"
    storage = new_machine()
    packed = archive_sweep(find_sweep(storage, "night"), path, delete=True)
    assert (packed.sweep, packed.teachers, packed.missing_teachers) == ("night", [TEACHER], [])
    assert not left_of_night(new_machine())
    with tarfile.open(path) as archive:
        names = set(archive.getnames())
    assert f"teachers/{TEACHER}/teacher.safetensors" in names
    assert not [name for name in names if "lock" in name or "drivers" in name]
    # A colleague's disk, and back to where it came from.
    for target in (tmp_path / "colleague", new_machine()):
        assert unarchive_sweep(path, target) == packed
        check_unpacked(target)
    check_unpacked(new_machine())
    drive_on(new_machine())
    assert read_ledger(find_sweep(new_machine(), "night").ledger_file).num_ended == 3


def check_unpacked(storage: Path) -> None:
    folder = find_sweep(storage, "night")
    assert [one.trial for one in read_records(folder.results)] == [0, 1]
    state = read_ledger(folder.ledger_file)
    assert (state.num_ended, len(state.with_status("running"))) == (2, 1)
    assert read_ledger(folder.confirmation.ledger_file).num_ended == 1
    download_student(folder, 0)
    assert folder.student(0).is_file()
    checkpoints = folder.store.synced_folder(folder.checkpoints(2))
    checkpoints.download()
    assert (folder.checkpoints(2) / "epoch-1.safetensors").read_bytes() == b"epoch-1.safetensors"
    assert (teacher_folder(storage, TEACHER) / TEACHER_FILE).is_file()
    assert not list(storage.glob(".unpacked.*"))


def drive_on(storage: Path) -> None:
    folder = find_sweep(storage, "night")
    with folder.driver_lock(), writable_ledger(folder) as ledger:
        ledger.append("ended", trial=2, status="failed", metrics={}, reason="no time")


def test_a_running_sweep_is_left_alone(
    new_machine: NewMachine, prepared: PreparedData, tmp_path: Path, capsys: Output
) -> None:
    night = fill(new_machine(), prepared)
    place = ["--storage", night.storage_address]
    before = stored(night.storage)
    for driven in (night, night.confirmation):
        with driven.driver_lock():
            for command in (["delete"], ["archive", "--out", str(tmp_path / "file")]):
                assert run([*command, "night", "--yes", *place]) == 2
                assert "another process drives 'night'" in capsys.readouterr().err
    assert not (tmp_path / "file").exists()
    assert {name for name in before if "drivers" not in name} <= stored(night.storage)


def test_what_exists_is_not_overwritten(
    new_machine: NewMachine, prepared: PreparedData, tmp_path: Path
) -> None:
    night = fill(new_machine(), prepared)
    path = tmp_path / "night.tar.gz"
    archive_sweep(night, path)
    content, before = path.read_bytes(), stored(night.storage)
    with pytest.raises(StorageError, match=r"must be a new file, but .* exists; choose another"):
        archive_sweep(night, path, delete=True)
    for storage in (night.storage, new_machine()):
        with pytest.raises(StorageError, match=r"'night' is in .*; delete it, or unpack into"):
            unarchive_sweep(path, storage)
    assert path.read_bytes() == content
    assert stored(night.storage) == before


def test_a_sweep_of_that_name_that_just_begins_keeps_it(
    tmp_path: Path, prepared: PreparedData
) -> None:
    archive_sweep(fill(tmp_path / "runs", prepared), tmp_path / "file")
    beginning = SweepFolder(tmp_path / "other" / "night")
    with (
        beginning.driver_lock(),
        pytest.raises(StorageError, match="another process drives 'night'"),
    ):
        unarchive_sweep(tmp_path / "file", tmp_path / "other")
    # It failed before it had a plan: its empty folder is no obstacle.
    assert unarchive_sweep(tmp_path / "file", tmp_path / "other").sweep == "night"


def test_folders_of_others_are_not_touched(tmp_path: Path, prepared: PreparedData) -> None:
    archive_sweep(fill(tmp_path / "runs", prepared), tmp_path / "file")
    write_bytes(tmp_path / "other" / "night" / "notes.txt", b"mine")
    with pytest.raises(StorageError, match="must not hold what is unpacked"):
        unarchive_sweep(tmp_path / "file", tmp_path / "other")
    assert (tmp_path / "other" / "night" / "notes.txt").read_bytes() == b"mine"


def test_a_store_that_fails_while_unpacking_has_no_half_a_sweep(
    machines: Machines, s3: S3Server, tmp_path: Path, prepared: PreparedData
) -> None:
    path = tmp_path / "file"
    archive_sweep(fill(tmp_path / "runs", prepared), path)
    for key in ("results", "ledger", "sweep.json"):
        storage = machines.new()
        with s3.failing(lambda e, key=key: e["REQUEST_METHOD"] == "PUT" and key in e["PATH_INFO"]):
            with pytest.raises(StorageError, match="must answer and take what is written"):
                unarchive_sweep(path, storage)
            assert s3.failed
        assert run(["status", "night", "--storage", machines.address]) == 2
        assert not list((storage / "night").glob("*/*"))
    unarchive_sweep(path, storage)
    check_unpacked(machines.new())


def test_a_deletion_that_a_store_interrupted_is_repeated(
    machines: Machines, s3: S3Server, prepared: PreparedData
) -> None:
    fill(machines.new(), prepared)
    storage = machines.new()
    delete = ["delete", "night", "--yes", "--storage", machines.address]

    def breaks(environ: dict[str, object]) -> bool:
        return environ["REQUEST_METHOD"] == "DELETE" and "sweep.json" in str(environ["PATH_INFO"])

    with s3.failing(breaks, ("403 Forbidden", "AccessDenied")):
        assert run(delete) == 2
    assert run(delete) == 0
    assert not left_of_night(storage)


def test_a_missing_teacher_is_named(tmp_path: Path, prepared: PreparedData, capsys: Output) -> None:
    night = fill(tmp_path / "runs", prepared)
    (teacher_folder(night.storage, TEACHER) / TEACHER_FILE).unlink()
    out = tmp_path / "file"
    place = ["--storage", str(night.storage)]
    assert run(["archive", "night", "--keep", "--out", str(out), *place]) == 0
    said = capsys.readouterr().out
    assert f"without the teacher {TEACHER}, which was not there to be packed" in said
    assert "it still is in" in said
    assert run(["unarchive", str(out), "--storage", str(tmp_path / "b"), "--format=json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["sweep"], answer["missing_teachers"]) == ("night", [TEACHER])
    assert answer["dataset_is_here"] is False


def test_datasets_may_lie_elsewhere(
    tmp_path: Path, prepared: PreparedData, small_data: Path, capsys: Output
) -> None:
    night, out = fill(tmp_path / "runs", prepared), tmp_path / "file"
    assert (
        run(["archive", "night", "--yes", "--out", str(out), "--storage", str(night.storage)]) == 0
    )
    assert not night.path.exists()
    assert run(["unarchive", str(out), "--storage", str(night.storage)]) == 0
    said = capsys.readouterr().out
    assert "to resume it, its dataset must be in data/small; --data elsewhere" in said
    assert said.endswith("next: hpo status night\n")
    again = ["unarchive", str(out), "--storage", str(tmp_path / "b"), "--data", str(small_data)]
    assert run(again) == 0
    assert "must be in" not in capsys.readouterr().out
    plan = find_sweep(tmp_path / "b", "night").read_plan()
    assert plan.data_folder == str(small_data)


@pytest.mark.parametrize(
    ("name", "extra", "said"),
    [
        ("teachers", "teachers/sweep.json", "must hold one sweep and its teachers"),
        ("night", "day/sweep.json", r"'day/sweep\.json' is none of these"),
        ("night", "teachers/x/other", "'teachers/x/other' is none of these"),
        ("../night", "night/sweep.json", "a sweep name must start with a letter"),
    ],
)
def test_an_archive_of_something_else_is_refused(
    tmp_path: Path, name: str, extra: str, said: str
) -> None:
    (tmp_path / "any").write_text("{}")
    files = dict.fromkeys((extra, "night/sweep.json"), tmp_path / "any")
    write_archive(tmp_path / "file", files, {"sweep": name, "missing_teachers": []})
    with pytest.raises((StorageError, ConfigError), match=said):
        unarchive_sweep(tmp_path / "file", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_damaged_plan_or_teacher_is_refused_before_anything_is_there(tmp_path: Path) -> None:
    (tmp_path / "any").write_text("{}")
    files = {"night/sweep.json": tmp_path / "any"}
    write_archive(tmp_path / "file", files, {"sweep": "night", "missing_teachers": []})
    with pytest.raises(StorageError, match="must be a sweep's plan"):
        unarchive_sweep(tmp_path / "file", tmp_path / "runs")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("command", [["delete"], ["archive"]])
def test_nothing_is_deleted_unasked(
    tmp_path: Path,
    prepared: PreparedData,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Output,
    command: list[str],
) -> None:
    night = fill(tmp_path / "runs", prepared)
    monkeypatch.chdir(tmp_path)
    place = ["--storage", str(night.storage)]
    assert run([*command, "night", *place]) == 2
    assert "Nobody is there to answer; agree with --yes" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    asked: list[str] = []

    def answer(question: str, **_: object) -> bool:
        asked.append(question)
        return len(asked) > 1

    monkeypatch.setattr("typer.confirm", answer)
    assert run([*command, "night", *place]) == 1
    assert night.plan_file.is_file()
    assert capsys.readouterr().err == "nothing was changed\n"
    assert run([*command, "night", *place]) == 0
    assert not night.path.exists()
    assert "'night'" in asked[0]
    assert (tmp_path / "night.sweep.tar.gz").exists() == (command == ["archive"])


def test_a_damaged_sweep_can_be_deleted(tmp_path: Path, prepared: PreparedData) -> None:
    night = fill(tmp_path / "runs", prepared)
    for path in (night.plan_file, night.ledger_file, *night.results.iterdir()):
        path.write_text("damaged")
    assert run(["delete", "night", "--yes", "--storage", str(night.storage)]) == 0
    assert not night.path.exists()


@pytest.mark.parametrize("command", ["delete", "archive"])
def test_an_unknown_sweep_is_said(tmp_path: Path, command: str, capsys: Output) -> None:
    assert run([command, "nigth", "--yes", "--storage", str(tmp_path)]) == 2
    assert "unknown sweep 'nigth'" in capsys.readouterr().err


def test_a_full_disk_is_said(
    tmp_path: Path, prepared: PreparedData, monkeypatch: pytest.MonkeyPatch
) -> None:
    night = fill(tmp_path / "runs", prepared)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(StorageError, match=r"file must be readable and writable, but No space"):
        archive_sweep(night, tmp_path / "file", delete=True)
    assert night.plan_file.is_file()
    assert not (tmp_path / "file").exists()
