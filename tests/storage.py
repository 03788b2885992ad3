"""Artifacts' storage as tests look at it: a folder, or a bucket of a server of their own."""

from pathlib import Path
from typing import Any


def everything_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def objects_in(client: Any) -> list[str]:
    listed = client.list_objects_v2(Bucket=client.bucket)
    return [item["Key"] for item in listed.get("Contents", [])]
