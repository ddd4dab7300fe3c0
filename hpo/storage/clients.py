"""Make obstore's client of a bucket, with retries, timeouts and credentials; word its errors.

Obstore reads keys from the environment and asks the machine, the pod or the cluster for its role.
For S3 it neither finds out where a bucket lies nor reads the profiles in ``~/.aws``, with roles to
assume and single sign-on; AWS's own boto3 does. Keeps no secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from obstore.store import from_url
from pyarrow.fs import resolve_s3_region

from core.errors import ConfigError

OPTIONS = {
    "s3": ("endpoint_override", "region", "scheme"),
    "gs": ("endpoint_override", "scheme"),
    "az": ("account", "endpoint_override", "scheme"),
}
"""What an address of each kind may hold besides bucket and prefix."""
ENDPOINT = {"s3": "endpoint", "gs": "base_url", "az": "endpoint"}
ATTEMPTS = 7
"""How often a request is tried, over about half a minute, unless ``AWS_MAX_ATTEMPTS`` is set."""
PAUSES = {"init_backoff": timedelta(seconds=0.3), "max_backoff": timedelta(seconds=15), "base": 4}
TIMEOUTS = {"connect_timeout": "5s", "read_timeout": "60s", "timeout": "10m"}
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
ENDPOINTS = ("AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
FILES = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}
_SAID = re.compile(r"<Code>([^<]*)</Code>\s*<Message>([^<\n]*)")


def client_of(url: str, options: Mapping[str, str], most_attempts: int | None) -> Any:
    """Return a client of all objects below a prefix.

    Args:
        url: ``s3://BUCKET/PREFIX``, ``gs://…`` or ``az://…``.
        options: of ``OPTIONS``.
        most_attempts: to carry out a request; None: as the user or ``ATTEMPTS`` says.

    Raises:
        ConfigError: there is a profile that nothing here can read.
        OSError: nobody says where the bucket lies.
        obstore.exceptions.BaseError: a setting that obstore cannot read.
    """
    scheme, _, place = url.partition("://")
    chosen = os.environ.get("AWS_MAX_ATTEMPTS", "")
    attempts = max(1, int(chosen)) if chosen.isdigit() else ATTEMPTS
    settings: dict[str, Any] = {
        # An endpoint itself says whether it is to be reached by https.
        "client_options": {**TIMEOUTS, "allow_http": True},
        "retry_config": {"max_retries": min(attempts, most_attempts or attempts) - 1},
    }
    settings["retry_config"]["backoff"] = PAUSES
    if scheme == "s3":
        settings["disable_bulk_delete"] = True  # not every store knows it
    if "account" in options:
        settings["account_name"] = options["account"]
    if "region" in options:
        settings["region"] = options["region"]
    if "endpoint_override" in options:
        endpoint = f"{options.get('scheme', 'https')}://{options['endpoint_override']}"
        settings[ENDPOINT[scheme]] = endpoint
    elif scheme == "s3" and not any(map(os.environ.get, (*REGIONS, *ENDPOINTS))):
        settings.setdefault("region", resolve_s3_region(place.split("/", maxsplit=1)[0]))
    if scheme == "s3" and _has_profile():
        settings["credential_provider"] = _profile()
    return from_url(url, **settings)


def reason_of(error: Exception) -> str:
    """Return the store's own reason without its ids, ``AccessDenied, Access Denied``."""
    text = str(error).partition("\n\nDebug source")[0]
    said = _SAID.search(text)
    reason = ", ".join(said.groups()) if said else text.rpartition(" - ")[2]
    return " ".join(reason.split()).strip(" ,.:").replace("; ", ", ")


def _has_profile() -> bool:
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        return False
    files = (os.environ.get(name) or Path.home() / ".aws" / file for name, file in FILES.items())
    return bool(os.environ.get("AWS_PROFILE")) or any(Path(file).is_file() for file in files)


def _profile() -> Any:
    if find_spec("boto3") is None:
        raise ConfigError(
            "profiles in ~/.aws must be read by boto3, but it is not installed; install boto3, or "
            "put the keys into the environment by `aws configure export-credentials --format env`"
        )
    return import_module("obstore.auth.boto3").Boto3CredentialProvider()
