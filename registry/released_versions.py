"""Released versions that are not made of one checkpoint: their files stay as they are, too.

Where they are is read from the location that clients download them from, since a version may name
any run and any logged model next to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.db.models import Q

from artifacts.models import InUse
from artifacts.queries import lock_promotions
from artifacts.released import ReleasedCheckpoint
from core.messages import Message
from registry.logged_models import FILES_FOLDER, LoggedModel, kept_text
from registry.models import ModelVersion
from runs.models import Run, RunQuerySet


def refuse_change(*, run: Run, path: str, **_signal: Any) -> None:
    """Receiver of files_changing. Raises InUse."""
    for version, locked in _locked_in(run):
        if not path or f"{path}/".startswith(f"{locked}/") or locked.startswith(f"{path}/"):
            raise InUse(
                Message(
                    "Version %(number)d of the model %(name)s is released: its files cannot be "
                    "changed or deleted.",
                    number=version.number,
                    name=version.model.name,
                )
            )


def _locked_in(run: Run) -> Iterator[tuple[ModelVersion, str]]:
    """(released version, file or folder of ``run`` that it is made of). Of one that has a
    checkpoint, the logged model around that; the rest is in uploaded_files.py."""
    versions = ModelVersion.objects.released().filter(project=run.project_id).order_by("pk")
    for version in versions.select_related("model", "checkpoint"):
        parts = _parts_of(version.location)
        if parts[1:2] == [FILES_FOLDER] and parts[3:4] == ["artifacts"]:
            model_id = parts[2]
            models = LoggedModel.objects.filter(Q(source_run=run) | Q(keeper=run, source_run=None))
            if models.filter(pk=model_id).exists():
                yield version, f"{FILES_FOLDER}/{model_id}"
        elif parts[1:3] == [run.pk, "artifacts"] and len(parts) > 3:
            if version.checkpoint is None:
                yield version, "/".join(parts[3:])
            elif parts[3] == FILES_FOLDER and len(parts) > 4:
                yield version, "/".join(parts[3:5])


def _parts_of(location: str) -> list[str]:
    """Those of the path of a location on this server, after MLflow's scheme: the experiment, the
    run or ``models``, and so on; empty for one elsewhere."""
    try:
        address = urlsplit(location)
    except ValueError:
        return []
    return address.path.strip("/").split("/") if address.scheme == "mlflow-artifacts" else []


def refuse_deletion(*, runs: RunQuerySet, **_signal: Any) -> None:
    """Receiver of runs_deleting. Raises ReleasedCheckpoint."""
    lock_promotions()  # nothing is released between this and the deletion
    of_runs = Q(run__in=runs) | Q(logged_model__source_run__in=runs)
    versions = ModelVersion.objects.released().filter(of_runs, checkpoint=None)
    version = versions.select_related("model").order_by("pk").first()
    if version is not None:
        raise ReleasedCheckpoint(kept_text(version.model.name, version.number))
