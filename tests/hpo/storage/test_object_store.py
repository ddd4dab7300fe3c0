"""A bucket through obstore: objects are whole or absent, errors are tried again or one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.errors import ConfigError
from hpo.storage.object_store import ObjectStore, ObjectStoreError, in_parallel
from tests.object_stores import CREDENTIALS, S3Server


@pytest.fixture
def store(s3: S3Server, tmp_path: Path) -> ObjectStore:
    """A prefix of this test's own."""
    return ObjectStore.at(s3.address(f"store/{tmp_path.name}"))


def test_objects_come_back_as_they_were_put(store: ObjectStore) -> None:
    contents = {"a/one": b"1", "a/b/two": os.urandom(12_000_000), "empty": b""}
    for key, content in contents.items():
        store.put(key, content)
    assert {key: store.get(key) for key in contents} == contents
    listed = store.list("")
    assert {key: found.size for key, found in listed.items()} == {
        key: len(content) for key, content in contents.items()
    }
    assert list(store.list("a")) == ["a/b/two", "a/one"]
    assert store.stat("a/one") == listed["a/one"]


def test_what_is_deleted_is_gone_and_nothing_else_is_listed(store: ObjectStore) -> None:
    store.put("a/one", b"1")
    for _ in range(2):
        store.delete("a/one")
    assert store.list("") == {}
    assert store.stat("a/one") is None
    with pytest.raises(FileNotFoundError):
        store.get("a/one")
    assert store.list("never") == {}


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("s3://id:hidden@bucket/runs", "must not hold credentials; give them in the environment"),
        (
            "s3://bucket/runs?secret_key=hidden",
            r"after the '\?', got \['secret_key'\]; credentials",
        ),
        ("ftp://bucket/runs", r"s3://BUCKET/PREFIX, gs://.* or az://.*, got 'ftp://bucket/runs'"),
        ("gs://bucket/runs?region=x", r"may say endpoint_override, scheme after .*\['region'\]"),
        ("s3://bucket", "must be a folder or s3://BUCKET/PREFIX"),
        ("s3://bucket/../runs", "must be a folder or s3://BUCKET/PREFIX"),
        ("s3://Bucket/runs", "must be a folder or s3://BUCKET/PREFIX"),
        ("s3://bucket/runs#night", "must be a folder or s3://BUCKET/PREFIX"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(address: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem) as caught:
        ObjectStore.at(address)
    assert "hidden" not in str(caught.value)


def test_one_place_has_one_address() -> None:
    one = ObjectStore.at("s3://bucket/team/runs/?scheme=http&endpoint_override=minio:9000")
    assert one.address == "s3://bucket/team/runs?endpoint_override=minio:9000&scheme=http"
    assert ObjectStore.at(one.address) == one


def test_a_missing_bucket_and_a_dead_endpoint_are_one_line(s3: S3Server) -> None:
    missing = ObjectStore.at(s3.address("runs").replace("results", "nowhere"))
    with pytest.raises(
        ObjectStoreError, match=r"s3://nowhere/runs must .*, but NoSuchBucket, The specified"
    ):
        missing.check()
    dead = ObjectStore.at("s3://results/runs?endpoint_override=127.0.0.1:1&scheme=http&region=x")
    with pytest.raises(ObjectStoreError, match=r"but HTTP error: error sending request; mend"):
        dead.check()


def test_an_error_says_why_and_holds_no_secret(s3: S3Server, store: ObjectStore) -> None:
    def denied(environ: dict[str, str]) -> bool:
        return environ["REQUEST_METHOD"] == "PUT"

    refused = pytest.raises(ObjectStoreError, match="but AccessDenied, no; mend that")
    with s3.failing(denied, ("403 Forbidden", "AccessDenied")), refused as caught:
        store.put("one", b"1")
    assert "\n" not in str(caught.value)
    assert not any(secret in str(caught.value) for secret in CREDENTIALS.values())
    assert store.stat("one") is None


def test_transient_errors_are_tried_again(s3: S3Server, store: ObjectStore) -> None:
    keys = [f"{number:03d}" for number in range(24)]
    with s3.failing_at_random(0.2):
        in_parallel(lambda key: store.put(key, key.encode() * 100), keys)
        found: dict[str, bytes] = {}
        in_parallel(lambda key: found.update({key: store.get(key)}), keys)
    assert s3.failed >= 8, "tried"
    assert found == {key: key.encode() * 100 for key in keys}
    assert list(store.list("")) == keys


def test_a_store_that_stays_broken_is_an_error(
    s3: S3Server, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    before = len(s3.requests)
    with s3.failing_at_random(1.0), pytest.raises(ObjectStoreError, match=r"but \w+, no; mend"):
        store.put("one", b"1")
    assert len(s3.requests) - before == 2
