"""Lists the content of artifact storage: a directory or an S3 bucket."""

from pathlib import Path
from typing import Any


def everything_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def objects_in(client: Any) -> list[str]:
    response = client.list_objects_v2(Bucket=client.bucket)
    return [item["Key"] for item in response.get("Contents", [])]
