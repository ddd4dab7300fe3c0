"""Clients of the three kinds of stores, and where S3's credentials come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from core.errors import ConfigError
from hpo.storage import clients
from hpo.storage.object_store import ObjectStore
from tests.object_stores import CREDENTIALS

AWS = (*clients.REGIONS, *clients.ENDPOINTS, *clients.FILES, "AWS_PROFILE", *CREDENTIALS)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but a test's own; nothing is asked where a bucket lies."""
    for name in AWS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(clients, "resolve_s3_region", lambda bucket: f"region-of-{bucket}")


def s3_client(options: str = "") -> S3Store:
    client = ObjectStore.at(f"s3://bucket/a/b{options}").client
    assert isinstance(client, S3Store)
    return client


def test_each_kind_of_address_has_its_client() -> None:
    google = ObjectStore.at("gs://bucket/a/b?endpoint_override=localhost:1&scheme=http").client
    assert isinstance(google, GCSStore)
    assert google.config["base_url"] == "http://localhost:1"
    azure = ObjectStore.at("az://bucket/a/b?account=mine&endpoint_override=localhost/mine").client
    assert isinstance(azure, AzureStore)
    assert azure.config["account_name"] == "mine"
    assert azure.config["endpoint"] == "https://localhost/mine"
    assert {str(one.prefix) for one in (google, azure, s3_client())} == {"a/b"}


def test_a_bucket_is_where_the_address_or_the_environment_or_aws_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert s3_client().config["region"] == "region-of-bucket"
    assert s3_client("?region=here").config["region"] == "here"
    assert "region" not in s3_client("?endpoint_override=localhost:1").config
    monkeypatch.setenv("AWS_REGION", "there")
    assert "region" not in s3_client().config, "obstore reads it"


def test_attempts_are_the_users_or_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    address, options = "s3://bucket/a", {"region": "here"}

    def retries(most_attempts: int | None) -> int:
        found = clients.client_of(address, options, most_attempts).retry_config
        return int(found["max_retries"])

    assert (retries(None), retries(3)) == (clients.ATTEMPTS - 1, 2)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    assert (retries(None), retries(3)) == (1, 1)


def test_a_profile_is_read_by_boto3_unless_keys_are_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert s3_client().credential_provider is None
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "credentials").write_text(
        "[default]\naws_access_key_id = id\naws_secret_access_key = hidden\n"
    )
    found = s3_client().credential_provider
    assert found is not None
    assert found()["access_key_id"] == "id"  # type: ignore[index]
    with monkeypatch.context() as patch:
        patch.setattr(clients, "find_spec", lambda _: None)
        with pytest.raises(ConfigError, match="read by boto3, but it is not installed; install"):
            s3_client()
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    assert s3_client().credential_provider is None
