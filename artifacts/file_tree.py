"""A run's artifacts as a file tree. Folders are not stored: they follow from the paths of files.

If a client uploads a file to the path of one of TrainHub's own files, the tree shows the client's
file, unless TrainHub's is a checkpoint in use (same_path.py). Both are available by their artifact
ids.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.db import transaction
from django.utils.translation import gettext as _

from artifacts import upload_proofs
from artifacts.models import Artifact, ArtifactQuerySet, InUse
from artifacts.paths import folders_of
from artifacts.same_path import own_in_use
from artifacts.uploaded_files import check_releases, discard, lock_run, lock_unused
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
    """The direct children of ``folder`` (empty: the root), sorted by name; none if it is a file."""
    prefix = f"{folder}/" if folder else ""
    children: dict[str, int | None] = {}
    for path, size_bytes in _files(run, folder):
        name, deeper, _rest = path.removeprefix(prefix).partition("/")
        children[name] = None if deeper else size_bytes
    return [Entry(prefix + name, size_bytes) for name, size_bytes in sorted(children.items())]


def _files(run: Run, folder: str) -> Iterator[tuple[str, int]]:
    """The paths below ``folder`` and their sizes in bytes."""
    columns = ("file", "size_bytes")
    uploaded = dict(run.artifacts.uploaded().below(folder).values_list(*columns))
    taken = uploaded.keys() | {folder for path in uploaded for folder in folders_of(path)}
    own = list(run.artifacts.own())
    in_use = own_in_use(run.pk, {artifact.file for artifact in own if artifact.file in taken})
    if in_use:
        uploaded = {
            path: size
            for path, size in uploaded.items()
            if in_use.keys().isdisjoint([path, *folders_of(path)])
        }
        taken -= in_use.keys()
    yield from uploaded.items()
    for artifact in own:
        path = artifact.tree_path
        shadowed = path in taken or any(above in uploaded for above in folders_of(path))
        if not shadowed and (not folder or path.startswith(f"{folder}/")):
            yield path, artifact.size_bytes


def find(run: Run, path: str) -> Artifact | None:
    """The file at ``path`` in the tree."""
    if "\x00" in path:  # PostgreSQL cannot compare it with anything
        return None
    uploaded: Artifact | None = run.artifacts.uploaded().filter(file=path).first()
    if uploaded is not None:
        return own_in_use(run.pk, [path]).get(path, uploaded)
    # The row of an event file names its folder, so its own path is not in the database.
    candidates = run.artifacts.own().filter(file__in=[path, *folders_of(path)])
    return next((artifact for artifact in candidates if artifact.tree_path == path), None)


def delete(run: Run, path: str) -> int:
    """Delete the uploaded file ``path``, or all uploads below it if it is a folder (empty: the
    root), and return their count.

    TrainHub's own artifacts are kept. Raises InUse, with nothing deleted, if a file is part of a
    checkpoint in use or ``path`` is one of TrainHub's own files; Http404.
    """
    for checkpoint in run.artifacts.uploaded().checkpoints():
        if checkpoint.folder and path.startswith(f"{checkpoint.folder}/"):
            upload_proofs.read_ahead(run, checkpoint.folder)
    with transaction.atomic():
        locked = lock_run(run)
        below = locked.artifacts.uploaded().below(path)
        targets = below | locked.artifacts.uploaded().filter(file=path) if path else below
        # Row locks keep a checkpoint from becoming in use between the check and the deletion.
        keys = list(targets.select_for_update().order_by("id").values_list("pk", flat=True))
        affected = _affected_checkpoints(locked, path)
        lock_unused(affected)
        check_releases(locked, path)
        own = None if keys or not path else find(locked, path)
        if own is not None:
            raise InUse(
                _("%(path)s was created by TrainHub and cannot be deleted.") % {"path": path}
            )
        partly = [item for item in affected if item.pk not in set(keys)]
        count = discard(Artifact.objects.filter(pk__in=keys))
        for checkpoint in partly:
            upload_proofs.judge(locked, checkpoint)
        return count


def _affected_checkpoints(run: Run, path: str) -> ArtifactQuerySet:
    """The uploaded checkpoints with a file at or below ``path``. Call with the run's row locked, so
    that no path changes in the meantime."""
    checkpoints: ArtifactQuerySet = run.artifacts.uploaded().checkpoints()
    if not path:
        return checkpoints
    return checkpoints.filter(pk__in=[item.pk for item in checkpoints if _overlaps(path, item)])


def _overlaps(path: str, checkpoint: Artifact) -> bool:
    location = checkpoint.folder or checkpoint.file
    return f"{location}/".startswith(f"{path}/") or f"{path}/".startswith(f"{location}/")
