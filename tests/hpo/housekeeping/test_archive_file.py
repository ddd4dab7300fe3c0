"""Archives hold what was put in, and nothing that they do not list gets out of one."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.errors import StorageError
from hpo.housekeeping.archive_file import LIST, read_archive, read_contents, write_archive

Members = list[tuple[tarfile.TarInfo, bytes]]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two files below ``night``."""
    files = {}
    for name, text in (("night/sweep.json", "{}"), ("night/results/0.parquet", "abc" * 1000)):
        files[name] = tmp_path / "source" / name
        files[name].parent.mkdir(parents=True, exist_ok=True)
        files[name].write_text(text)
    write_archive(tmp_path / "night.tar.gz", files, {"sweep": "night"})
    return tmp_path / "night.tar.gz"


def members(path: Path) -> Members:
    with tarfile.open(path) as archive:
        return [(one, archive.extractfile(one).read()) for one in archive]  # type: ignore[union-attr]


def rewrite(path: Path, change: Callable[[Members], Members]) -> None:
    changed = change(members(path))
    with tarfile.open(path, "w:gz") as archive:
        for member, content in changed:
            archive.addfile(member, io.BytesIO(content))


def member(name: str, content: bytes = b"", **fields: Any) -> tuple[tarfile.TarInfo, bytes]:
    one = tarfile.TarInfo(name)
    one.size = len(content)
    for key, value in fields.items():
        setattr(one, key, value)
    return one, content


def listing(change: Callable[[dict[str, Any]], Any]) -> Callable[[Members], Members]:
    """Change the list at the beginning."""

    def changed(found: Members) -> Members:
        fields = json.loads(found[0][1])
        change(fields)
        return [member(LIST, json.dumps(fields).encode()), *found[1:]]

    return changed


def test_files_come_back_as_they_were(archive: Path, tmp_path: Path) -> None:
    contents = read_archive(archive, tmp_path / "target")
    assert contents == read_contents(archive) == read_archive(archive)
    assert contents.notes == {"sweep": "night"}
    assert set(contents.files) == {"night/sweep.json", "night/results/0.parquet"}
    for name in contents.files:
        assert (tmp_path / "target" / name).read_bytes() == (
            tmp_path / "source" / name
        ).read_bytes()


def test_any_tar_reads_them_and_learns_no_owner(archive: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "xzf", archive.name], cwd=tmp_path, check=True)
    assert (tmp_path / "night" / "sweep.json").read_text() == "{}"
    assert {(one.uid, one.uname) for one, _ in members(archive)} == {(0, "")}


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "new.tar.gz", {"a": tmp_path / "missing"}, {})
    assert list(tmp_path.iterdir()) == []


OUTSIDE = ("../evil", "/tmp/evil", "night/../../evil", "night/./x", "night//x", "night/.hidden", "")


@pytest.mark.parametrize("name", [*OUTSIDE, "a\\b", "a\nb"])
def test_a_name_that_leads_elsewhere_is_refused(archive: Path, tmp_path: Path, name: str) -> None:
    content = b"evil"
    rewrite(archive, listing(lambda fields: fields["files"].update({name: [4, "0" * 64]})))
    rewrite(archive, lambda found: [*found, member(name, content)])
    for read in (read_contents, read_archive):
        with pytest.raises(StorageError, match="is no plain relative path; nothing was unpacked"):
            read(archive)
    with pytest.raises(StorageError):
        read_archive(archive, tmp_path / "target")
    assert not list(tmp_path.rglob("*evil*"))


CHANGES: dict[str, tuple[Callable[[Members], Members], str]] = {
    "link": (
        lambda found: [
            *found[:2],
            member(found[2][0].name, type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        ],
        "is no regular file",
    ),
    "hard link": (
        lambda found: [*found, member("night/x", type=tarfile.LNKTYPE, linkname=LIST)],
        "is no regular file",
    ),
    "folder": (
        lambda found: [*found, member("night/x", type=tarfile.DIRTYPE)],
        "is no regular file",
    ),
    "device": (
        lambda found: [*found, member("night/x", type=tarfile.CHRTYPE)],
        "is no regular file",
    ),
    "not listed": (lambda found: [*found, member("night/x", b"x")], "is not listed"),
    "twice": (lambda found: [*found, found[1]], "twice there"),
    "missing": (lambda found: found[:-1], "'night/sweep.json' is missing"),
    "other bytes": (
        lambda found: [*found[:2], member(found[2][0].name, b"{{")],
        "are not those that were packed",
    ),
    "longer": (
        lambda found: [*found[:2], member(found[2][0].name, b"{}" * 9)],
        "has 18 bytes instead of 2",
    ),
    "no list": (lambda found: found[1:], r"does not begin with archive\.json"),
    "of another kind": (listing(lambda fields: fields.update(kind="photos")), "holds 'photos'"),
    "newer": (listing(lambda fields: fields.update(version=9)), "of version 9, and .* reads 1"),
    "a list of lists": (listing(lambda fields: fields.update(files=[1])), "whole archive"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_changed_archive_is_refused(archive: Path, tmp_path: Path, kind: str) -> None:
    change, reason = CHANGES[kind]
    rewrite(archive, change)
    for folder in (None, tmp_path / "target"):
        with pytest.raises(StorageError, match=reason):
            read_archive(archive, folder)
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_archive_is_refused(archive: Path, share: float) -> None:
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(StorageError, match="must be a whole archive"):
        read_archive(archive)


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no archive")
    with pytest.raises(StorageError, match="must be a whole archive that `hpo archive` wrote, but"):
        read_contents(tmp_path / "file")
    with pytest.raises(StorageError, match="there is none at"):
        read_contents(tmp_path / "nothing")
