"""A run's artifacts as the tree of files that clients list: folders are what paths have in common.

Where a client logged a file under the path of one of TrainHub's own, the client's is the one that
the tree shows; the other keeps its address by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from artifacts.models import Artifact, ArtifactQuerySet, InUse, lock_run
from artifacts.paths import folders_of
from runs.models import Run


@dataclass(frozen=True)
class Entry:
    """``path`` is relative to the run's root; ``size_bytes`` is None for a folder."""

    path: str
    size_bytes: int | None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def entries(run: Run, folder: str) -> list[Entry]:
    """What lies directly in ``folder`` (empty: the root), by name; nothing if it is a file."""
    inside = f"{folder}/" if folder else ""
    found: dict[str, int | None] = {}
    for path, size_bytes in _files(run, folder):
        name, deeper, _rest = path.removeprefix(inside).partition("/")
        found[name] = None if deeper else size_bytes
    return [Entry(inside + name, size_bytes) for name, size_bytes in sorted(found.items())]


def _files(run: Run, folder: str) -> Iterator[tuple[str, int]]:
    """Paths below ``folder`` and sizes in bytes; one row each, nothing else is read."""
    columns = ("file", "size_bytes")
    uploaded = dict(run.artifacts.uploaded().below(folder).values_list(*columns))
    yield from uploaded.items()
    taken = uploaded.keys() | {folder for path in uploaded for folder in folders_of(path)}
    for artifact in run.artifacts.own():
        path = artifact.tree_path
        shadowed = path in taken or any(above in uploaded for above in folders_of(path))
        if not shadowed and (not folder or path.startswith(f"{folder}/")):
            yield path, artifact.size_bytes


def find(run: Run, path: str) -> Artifact | None:
    """The file that the tree shows under ``path``."""
    uploaded: Artifact | None = run.artifacts.uploaded().filter(file=path).first()
    if uploaded is not None:
        return uploaded
    # Own artifacts are few; an event file's path is made of its folder's.
    of_path = run.artifacts.own().filter(file__in=[path, *folders_of(path)])
    return next((artifact for artifact in of_path if artifact.tree_path == path), None)


def delete(run: Run, path: str) -> int:
    """Delete the uploaded file ``path``, or all below it if it is a folder (empty: the root).

    Returns how many there were. What TrainHub made itself stays. Raises InUse, with nothing
    deleted, for a file that somebody relies on and for one of TrainHub's own; Http404.
    """
    with transaction.atomic():
        locked = lock_run(run)
        below = locked.artifacts.uploaded().below(path)
        doomed = below | locked.artifacts.uploaded().filter(file=path) if path else below
        # Locked, so that nobody comes to rely on one between the question and the answer.
        keys = list(doomed.select_for_update().order_by("id").values_list("pk", flat=True))
        _checkpoints_touched(locked, path).lock_unused()
        own = None if keys or not path else find(locked, path)
        if own is not None:
            raise InUse(_("%(path)s is TrainHub's own: it stays.") % {"path": path})
        return Artifact.objects.filter(pk__in=keys).discard()


def _checkpoints_touched(run: Run, path: str) -> ArtifactQuerySet:
    """The uploaded checkpoints of which a file is, or lies below, ``path``. Call with the run's row
    locked: nothing gets another path meanwhile."""
    checkpoints: ArtifactQuerySet = run.artifacts.uploaded().checkpoints()
    if not path:
        return checkpoints
    return checkpoints.filter(pk__in=[item.pk for item in checkpoints if _touches(path, item)])


def _touches(path: str, checkpoint: Artifact) -> bool:
    at = checkpoint.folder or checkpoint.file
    return f"{at}/".startswith(f"{path}/") or f"{path}/".startswith(f"{at}/")
