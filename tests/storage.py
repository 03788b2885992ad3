"""Lists the content of artifact storage: a directory or an S3 bucket."""

import os
from pathlib import Path
from typing import Any

import pytest


def everything_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file())


def objects_in(client: Any) -> list[str]:
    response = client.list_objects_v2(Bucket=client.bucket)
    return [item["Key"] for item in response.get("Contents", [])]


class BrokenDisk:
    """The disk of the artifacts: while ``errno`` is set, flushing a file to it fails with it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.errno: int | None = None
        self.attempts = 0
        flush = os.fsync

        def fsync(file: int) -> None:
            self.attempts += 1
            if self.errno is not None:
                raise OSError(self.errno, os.strerror(self.errno))
            flush(file)

        monkeypatch.setattr("artifacts.storage.os.fsync", fsync)
