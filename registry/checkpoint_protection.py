"""Checkpoints that registered and logged models and requests for releases need."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from artifacts.protection import Checkpoints, Protections, of_those
from core.messages import Message, Text
from registry.logged_models import FILES_FOLDER, LoggedModel
from registry.models import ModelVersion
from registry.release_requests import ReleaseRequest


def protected_by_registry(*, checkpoints: Checkpoints, **_signal: Any) -> Protections:
    """Receiver of checkpoint_protection."""
    found: defaultdict[str, list[Text]] = defaultdict(list)
    runs = {checkpoint.run_id for checkpoint in checkpoints}
    versions = ModelVersion.objects.filter(checkpoint__run__in=runs).order_by("pk")
    for pk, name, number in versions.values_list("checkpoint", "model__name", "number"):
        found[pk].append(_registered(name, number))
    # A version of a folder with several checkpoints has none of them, but needs the files.
    uploaded: defaultdict[str, list[str]] = defaultdict(list)  # ids by run
    for checkpoint in checkpoints:
        if checkpoint.is_uploaded:
            uploaded[checkpoint.run_id].append(checkpoint.pk)
    for run_id, name, number in (
        ModelVersion.objects.filter(run__in=list(uploaded), checkpoint=None)
        .order_by("pk")
        .values_list("run", "model__name", "number")
    ):
        for pk in uploaded[run_id]:
            found[pk].append(_registered(name, number))
    asked = ReleaseRequest.objects.open().filter(checkpoint__run__in=runs)
    for pk in asked.values_list("checkpoint", flat=True):
        found[pk].append(Message("its release has been asked for"))
    for pk, name in _in_logged_models(checkpoints):
        found[pk].append(Message("it is of the logged model %(name)s", name=name))
    return of_those(checkpoints, found)


def _registered(name: str, number: int) -> Message:
    return Message(
        "version %(number)d of the model %(name)s is made of it", number=number, name=name
    )


def _in_logged_models(checkpoints: Checkpoints) -> list[tuple[str, str]]:
    """(checkpoint, name of the logged model whose files have it)."""
    models = {}
    for checkpoint in checkpoints:
        folder, _slash, rest = checkpoint.file.partition("/")
        if checkpoint.is_uploaded and folder == FILES_FOLDER:
            models[checkpoint.pk] = rest.partition("/")[0]
    kept = LoggedModel.objects.kept().filter(pk__in=set(models.values()))
    names = dict(kept.values_list("pk", "name")) if models else {}
    return [(pk, names[model]) for pk, model in models.items() if model in names]
