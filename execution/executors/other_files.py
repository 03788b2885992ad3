"""Stores the files that a training leaves next to its checkpoints, as ordinary artifacts."""

from __future__ import annotations

from typing import Final

from artifacts import uploads
from artifacts.kinds import ArtifactType
from artifacts.storage_errors import StorageError
from core.exceptions import DomainError
from core.messages import in_english, words_of
from execution.executors.checkpoint_scan import Scan
from execution.executors.found_checkpoint import FoundFile
from runs.models import Run

FOLDER: Final = "checkpoints"  # of the artifacts
MAX_FILES: Final = 500
MAX_BYTES: Final = 1024**3  # of all of them
SHOWN: Final = 10  # names of files that are not kept


def store_others(run: Run, found: Scan) -> list[str]:
    """Store the files that a scan has found besides the checkpoints, the small ones first. Returns
    what was left out and why.

    Raises StorageError.
    """
    problems = [f"{path} is a link that is not followed." for path in found.skipped]
    left_out: list[str] = []
    total_bytes = 0
    for number, (name, file) in enumerate(sorted(found.others.items(), key=_size)):
        size_bytes = file.status.st_size
        if number >= MAX_FILES or total_bytes + size_bytes > MAX_BYTES:
            left_out.append(name)
            continue
        total_bytes += size_bytes
        try:
            with file.open() as content:
                uploads.store(run, f"{FOLDER}/{name}", content, type=ArtifactType.FILE)
        except FileNotFoundError:
            continue  # deleted by the training
        except StorageError:
            raise
        except (OSError, DomainError) as error:
            problems.append(f"{name} is not kept: {_reason(error)}")
    if left_out:
        shown = ", ".join(left_out[:SHOWN])
        problems.append(
            f"{len(left_out)} files are not kept, as they are too many or too large: {shown}."
        )
    return problems


def _size(item: tuple[str, FoundFile]) -> tuple[int, str]:
    name, file = item
    return file.status.st_size, name


def _reason(error: OSError | DomainError) -> str:
    return str(error.strerror) if isinstance(error, OSError) else in_english(words_of(error))
