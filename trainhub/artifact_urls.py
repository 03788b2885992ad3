"""Turns TRAINHUB_ARTIFACTS_URL into the Django storage for artifact files."""

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.core.exceptions import ImproperlyConfigured

# Query parameters of s3://bucket/prefix?…, each a django-storages option of the same name.
S3_OPTIONS = {"endpoint_url", "region_name", "access_key", "secret_key", "addressing_style"}


def artifact_storage_options(url: str, local_directory: Path) -> dict[str, Any]:
    """The STORAGES entry for ``url``.

    Empty: files under ``local_directory``. ``s3://bucket/prefix?endpoint_url=…&region_name=…``: any
    S3-compatible server (credentials in the query or, preferably, in AWS_ACCESS_KEY_ID etc.).
    Raises ImproperlyConfigured for anything else.
    """
    if not url:
        return {
            "BACKEND": "artifacts.storage.DurableFileSystemStorage",
            "OPTIONS": {"location": str(local_directory)},
        }
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise ImproperlyConfigured(
            "TRAINHUB_ARTIFACTS_URL must be empty or s3://bucket[/prefix][?endpoint_url=…]."
        )
    query = dict(parse_qsl(parts.query))
    unknown = sorted(query.keys() - S3_OPTIONS)
    if unknown:
        raise ImproperlyConfigured(
            f"TRAINHUB_ARTIFACTS_URL has unknown parameters: {', '.join(unknown)}. "
            f"Supported: {', '.join(sorted(S3_OPTIONS))}."
        )
    return {
        "BACKEND": "artifacts.storage.ArtifactS3Storage",
        "OPTIONS": {
            "bucket_name": parts.netloc,
            "location": parts.path.strip("/"),
            "file_overwrite": True,
            "default_acl": None,
            **query,
        },
    }
