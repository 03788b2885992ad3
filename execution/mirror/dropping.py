"""Deletes what nodes have sent, once nobody needs it any more."""

from __future__ import annotations

from typing import Any

from django.db.models import F, QuerySet
from django.db.models.functions import Greatest

from artifacts.unreferenced_blobs import UnreferencedBlob
from execution.models import MirroredAttempt, MirroredChunk, MirroredNode
from runs.models import Run
from runs.status import TERMINAL


def drop(node: int, chunks: Any) -> None:
    """Delete chunks of a node, by its primary key, with what they have in the storage. Call in a
    transaction."""
    MirroredNode.objects.select_for_update(no_key=True).filter(pk=node).first()  # before its chunks
    rows = list(chunks.values_list("pk", "key", "size"))
    MirroredChunk.objects.filter(pk__in=[pk for pk, _key, _size in rows]).delete()
    if keys := [key for _pk, key, _size in rows if key]:
        UnreferencedBlob.objects.release(keys)
    left = Greatest(F("waiting_bytes") - sum(size for _pk, _key, size in rows), 0)
    MirroredNode.objects.filter(pk=node).update(waiting_bytes=left)


def forget_mirrored(*, instance: Run, **_signal: Any) -> None:
    """Receiver of pre_delete: what a run that is deleted has in the storage goes with it."""
    for attempt in MirroredAttempt.objects.filter(run=instance):
        attempt.forget()


def ended_attempts() -> QuerySet[MirroredAttempt]:
    """Of runs that have ended: nobody takes anything of them any more."""
    return MirroredAttempt.objects.filter(run__status__in=TERMINAL)
