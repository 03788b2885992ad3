"""What stops a backup or a restore; and progress bars."""

from __future__ import annotations

from typing import Any

from tqdm import tqdm


class BackupError(Exception):
    """With a sentence for the operator."""


def byte_bar(title: str, total_bytes: int) -> tqdm[Any]:
    """On standard error, only if it is a terminal."""
    return tqdm(total=total_bytes, desc=title, unit="B", unit_scale=True, disable=None)
