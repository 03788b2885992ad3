"""Stores the files that a training leaves next to its checkpoints, as ordinary artifacts."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from django.utils.translation import gettext as _

from artifacts import uploads
from artifacts.kinds import ArtifactType
from artifacts.storage_errors import StorageError
from core.exceptions import DomainError
from execution.executors.checkpoint_scan import Scan, readable
from runs.models import Run

FOLDER: Final = "checkpoints"  # of the artifacts
MAX_FILES: Final = 500
MAX_BYTES: Final = 1024**3  # of all of them


def store_others(run: Run, folder: Path, found: Scan) -> list[str]:
    """Store the files in ``folder`` that are no checkpoints. Returns what was left out and why.

    Raises StorageError.
    """
    problems = [
        _("%(path)s is a link that cannot be followed.") % {"path": path}
        for path in found.skipped_links
    ]
    total_bytes = 0
    for number, path in enumerate(found.others):
        name = readable(str(path.relative_to(folder)))
        try:
            total_bytes += path.stat().st_size
            if number >= MAX_FILES or total_bytes > MAX_BYTES:
                problems.append(
                    _("%(path)s and further files are not kept: there are too many, or too large.")
                    % {"path": name}
                )
                break
            with path.open("rb") as content:
                uploads.store(run, f"{FOLDER}/{name}", content, type=ArtifactType.FILE)
        except FileNotFoundError:
            continue  # deleted by the training
        except StorageError:
            raise
        except (OSError, DomainError) as error:
            problems.append(
                _("%(path)s is not kept: %(why)s") % {"path": name, "why": _reason(error)}
            )
    return problems


def _reason(error: OSError | DomainError) -> str:
    return str(error.message) if isinstance(error, DomainError) else str(error.strerror)
