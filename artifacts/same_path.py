"""Uploaded files at the paths of TrainHub's own checkpoints: which of the two a path names."""

from __future__ import annotations

from collections.abc import Collection

from artifacts.models import Artifact, PathTaken
from artifacts.paths import folders_of
from artifacts.released import released
from core.messages import Message
from runs.models import Run


def own_in_use(run_id: str, paths: Collection[str]) -> dict[str, Artifact]:
    """Path -> TrainHub's own checkpoint, at those of ``paths`` that name it whatever is uploaded:
    it is in use, and no uploaded file is released instead."""
    if not paths:
        return {}
    at_paths = Artifact.objects.filter(run=run_id, file__in=paths).checkpoints()
    own = {item.file: item for item in at_paths.own().in_use().select_related("run")}
    if not own:
        return {}
    uploads = released().filter(run=run_id, file__in=own).uploaded()
    for path in uploads.values_list("file", flat=True):
        if not released().filter(pk=own[path].pk).exists():
            del own[path]
    return own


def check_own(run: Run, path: str, sha256: str) -> Artifact | None:
    """TrainHub's own checkpoint at ``path``, if it is in use and has these very bytes; None if
    nothing at ``path`` is in the way. Call with the run's row locked.

    Raises PathTaken if it has other bytes, or is at a folder of ``path``: whoever knows the path of
    what is tagged or registered would get the uploaded bytes. What is not in use hides behind an
    upload, since that is worse to lose.
    """
    at_path = Artifact.objects.filter(run=run, file__in=[path, *folders_of(path)])
    # Row locks keep it from becoming in use before the transaction ends.
    keys = [item.pk for item in at_path.own().checkpoints().select_for_update().order_by("id")]
    own = Artifact.objects.filter(pk__in=keys).in_use().order_by("id").first() if keys else None
    if own is None or (own.file == path and own.sha256 == sha256):
        return own
    raise PathTaken(
        Message(
            "%(path)s is TrainHub's own checkpoint %(id)s, which is in use: upload to another "
            "path.",
            path=own.file,
            id=own.pk,
        )
    )
