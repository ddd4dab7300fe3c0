"""One storage object in two forms: on a folder nothing moves, in a bucket files travel."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import StorageError
from core.files import write_bytes
from hpo.records.sweep_folder import all_sweeps
from hpo.storage.storage import (
    Listing,
    MirroredStorage,
    Storage,
    open_storage,
    path_at,
    storage_at,
    term_at,
)
from tests.hpo.mirrored_sweeps import Machines, begin


@pytest.fixture(params=["folder", "bucket"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return storage_at(tmp_path)
    machines: Machines = request.getfixturevalue("machines")
    return storage_at(machines.new())


def test_the_folder_says_which_form_it_is(tmp_path: Path, machines: Machines) -> None:
    assert type(storage_at(tmp_path)) is Storage
    found = storage_at(machines.new())
    assert isinstance(found, MirroredStorage)
    assert storage_at(open_storage(found.address)) == found
    assert found.poll_seconds > storage_at(tmp_path).poll_seconds


def test_a_path_is_found_again_by_its_address(storage: Storage) -> None:
    for name in ("night", "night/confirmation"):
        assert path_at(storage.address_of(storage.folder / name)) == storage.folder / name


def test_a_file_is_there_from_upload_to_deletion(storage: Storage) -> None:
    file = storage.folder / "night" / "student"
    assert not storage.exists(file)
    write_bytes(file, b"student")
    storage.upload_missing(file)
    storage.upload(file)
    storage.download([file])
    assert storage.exists(file)
    assert storage.names_in(storage.folder / "night") == {"student"}
    for _ in range(2):
        storage.delete(file)
        assert not storage.exists(file)
        assert not file.exists()
    assert storage.names_in(storage.folder / "night") == set()


def test_nothing_of_a_local_folder_is_ever_downloaded_over(tmp_path: Path) -> None:
    storage, asked = storage_at(tmp_path), []
    write_bytes(tmp_path / "file", b"own")
    storage.download([tmp_path / "file"])
    storage.sync(tmp_path, asked.append)
    storage.sync_files([tmp_path / "file"], asked.append)
    folder = storage.synced_folder(tmp_path)
    for act in (folder.download, folder.upload, folder.clear):
        act()
    assert (tmp_path / "file").read_bytes() == b"own"
    assert asked == []
    with storage.driver_lease(tmp_path):
        storage.publish(tmp_path, tmp_path / "file")
        assert not storage.is_driven(tmp_path)
    assert (tmp_path / "file").read_bytes() == b"own"


def test_a_file_of_another_machine_is_missing_until_downloaded(machines: Machines) -> None:
    here = storage_at(machines.new())
    write_bytes(here.folder / "night" / "file", b"1")
    here.upload(here.folder / "night" / "file")
    there = storage_at(machines.new())
    file = there.folder / "night" / "file"
    assert there.exists(file)
    assert there.names_in(there.folder / "night") == {"file"}
    assert not file.exists()
    there.download([file])
    assert file.read_bytes() == b"1"
    here.delete(here.folder / "night" / "file")
    there.download([file])
    assert not file.exists()


def test_what_was_deleted_since_it_was_listed_is_listed_again(machines: Machines) -> None:
    here = storage_at(machines.new())
    for name in ("a", "b"):
        write_bytes(here.folder / "night" / name, b"1")
        here.upload(here.folder / "night" / name)
    there, listings = storage_at(machines.new()), []

    def download(listing: Listing) -> None:
        listings.append({path.name for path in listing.paths})
        if len(listings) == 1:
            here.delete(here.folder / "night" / "a")
        listing.download()

    there.sync(there.folder / "night", download)
    assert listings == [{"a", "b"}, {"b"}]
    assert (there.folder / "night" / "b").exists()


def test_only_the_holder_of_the_lease_may_write(machines: Machines) -> None:
    storage = storage_at(machines.new())
    night = storage.folder / "night"
    write_bytes(night / "file", b"1")
    with storage.driver_lease(night):
        storage.publish(night, night / "file")
        assert storage.is_driven(night)
    assert not storage.is_driven(night)
    storage.delete(night / "file")
    with pytest.raises(StorageError, match="must be driven by who writes it"):
        storage.publish(night, night / "file")
    assert not storage.exists(night / "file")


def test_a_folder_that_is_driven_says_by_whom(machines: Machines) -> None:
    storage = storage_at(machines.new())
    night = storage.folder / "night"
    for term in (1, 2):
        with storage.driver_lease(night):
            address = storage.address_of(night)
        assert (path_at(address), term_at(address)) == (night, term)
    assert term_at(storage.address_of(night)) is None
    assert term_at("/runs/a#b#3") is None


def test_a_storage_within_another_is_no_part_of_it(machines: Machines) -> None:
    outer = machines.address
    machines.address = outer.replace("?", "/inner?")
    begin(machines.new())
    machines.address = outer
    begin(machines.new(), "second")
    storage = machines.new()
    assert [sweep.name for sweep in all_sweeps(storage)] == ["second"]
    assert not (storage / "inner").exists()


def test_a_folder_needs_not_exist_to_be_a_storage(tmp_path: Path) -> None:
    assert open_storage(tmp_path / "runs") == tmp_path / "runs"
    assert storage_at(tmp_path / "runs").names_in(tmp_path / "runs") == set()
    assert all_sweeps(tmp_path / "runs") == []
