"""Stores the results that EleutherAI's lm-evaluation-harness leaves in the output folder.

With ``--output_path $TRAINHUB_OUTPUT_DIR`` it writes ``<model>/results_<time>.json`` there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from artifacts import uploads
from artifacts.evaluation_numbers import MAX_BYTES
from artifacts.harness_results import is_named_so
from artifacts.kinds import ArtifactType
from artifacts.storage_errors import StorageError
from core.exceptions import DomainError
from core.files import open_file
from core.messages import in_english, words_of
from runs.models import Run

FOLDER: Final = "evaluation"  # of the artifacts
MAX_FILES: Final = 100


def store_harness_results(run: Run, folder: Path, *, owner: int | None = None) -> list[str]:
    """Store them as evaluations. Returns what was left out and why. ``owner``: see open_file.

    Raises StorageError.
    """
    problems = []
    paths = list(_results_in(folder))
    if len(paths) > MAX_FILES:
        problems.append(f"Only the first {MAX_FILES} of {len(paths)} files of results are kept.")
    for path in paths[:MAX_FILES]:
        name = path.relative_to(folder).as_posix()
        try:
            if path.stat().st_size > MAX_BYTES:
                problems.append(f"{name} is not kept: it has more than {MAX_BYTES} bytes.")
                continue
            with open_file(path, owner) as content:
                uploads.store(run, f"{FOLDER}/{name}", content, type=ArtifactType.EVALUATION)
        except FileNotFoundError:
            continue
        except StorageError:
            raise
        except (OSError, DomainError) as error:
            why = error.strerror if isinstance(error, OSError) else in_english(words_of(error))
            problems.append(f"{name} is not kept: {why}")
    return problems


def _results_in(folder: Path) -> Iterator[Path]:
    """In the folder or one for each model in it, in the order of their names."""
    for pattern in ("results_*.json", "*/results_*.json"):
        yield from sorted(path for path in folder.glob(pattern) if is_named_so(path.name))
