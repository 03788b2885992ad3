"""One digest of all bytes of a checkpoint, which may be a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from artifacts.models import Artifact


def digest_of(checkpoint: Artifact) -> str:
    """Of all of the checkpoint's bytes, by their recorded sha256."""
    return digest_of_files(checkpoint.parts())


def digest_of_files(files: Iterable[Artifact]) -> str:
    parts = [f"{file.sha256} {file.size_bytes}" for file in files]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()
