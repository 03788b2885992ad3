"""Compares what is stored with what the database knows of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.core.files.storage import Storage
from django.db import transaction
from django.utils import timezone

from artifacts.storage import DurableFileSystemStorage, artifact_storage, sha256_of
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.messages import Message, Text
from trainhub.stored_files import Reference, references


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file in the storage that nothing refers to."""

    key: str
    size_bytes: int


def problem_of(reference: Reference) -> Text | None:
    """How the file differs from what is recorded of it, of what is no artifact. Reads all bytes."""
    try:
        sha256, size_bytes = sha256_of(reference.key)
    except FileNotFoundError:
        return Message("its bytes are missing")
    if size_bytes != reference.size_bytes:
        return Message(
            "%(stored)d bytes are stored, %(recorded)d were recorded",
            stored=size_bytes,
            recorded=reference.size_bytes,
        )
    if reference.sha256 and sha256 != reference.sha256:
        return Message("its sha256 is not the recorded one")
    return None


def orphans(folder: str = "") -> list[Orphan]:
    """Files below ``folder`` that nothing refers to and nothing is about to: they are older than
    any upload takes."""
    storage = artifact_storage()
    stored = set(_listed(storage, folder))  # first: what comes later is known by then
    with transaction.atomic():
        for reference in references():
            stored.discard(reference.key)
        stored.difference_update(UnreferencedBlob.objects.values_list("key", flat=True).iterator())
    found = (_orphan(storage, key) for key in sorted(stored))
    return [orphan for orphan in found if orphan is not None]


def _orphan(storage: Storage, key: str) -> Orphan | None:
    """None if it is new, or gone by now."""
    try:
        age = timezone.now() - storage.get_modified_time(key)
        is_old = age > UnreferencedBlob.ABANDONED_AFTER
        return Orphan(key, storage.size(key)) if is_old else None
    except FileNotFoundError:
        return None


def _listed(storage: Storage, folder: str) -> Iterator[str]:
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in files:
        if name:  # S3 lists the folder itself, if it was made
            yield f"{folder}/{name}" if folder else name
    for name in folders:
        if name != DurableFileSystemStorage.INCOMING:
            yield from _listed(storage, f"{folder}/{name}" if folder else name)
