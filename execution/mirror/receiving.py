"""Takes the bytes that nodes send: each once, whatever is repeated, delayed or lost on its way."""

from __future__ import annotations

import io
import secrets
import time
from dataclasses import dataclass
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, Sum
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from artifacts.storage import HashingFile, artifact_storage
from artifacts.storage_errors import storage_errors
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.exceptions import DomainError, InvalidInput
from execution.mirror.paths import CHECKPOINTS, entry_of, is_note
from execution.mirror.reporters import node_of
from execution.models import MirroredAttempt, MirroredChunk, MirroredFile, MirroredNode

MAX_CHUNK_BYTES: Final = 8 * 1024 * 1024
IN_DATABASE_BYTES: Final = 64 * 1024  # smaller chunks are rows
CHECKPOINTS_SHARE: Final = 0.9  # of what may wait: they leave room for what is printed
NOTES_BYTES: Final = 64 * 1024 * 1024  # beyond it: notes tell the end
GB: Final = 1024**3
FOLDER: Final = ".mirror"  # below the run's, in the storage


class OutOfStep(DomainError):
    """What the node thinks of a file is not what the server has."""

    code = "out_of_step"


class TooMuchWaits(DomainError):
    """The node has to keep the rest until the worker of the run has stored what is here."""

    code = "too_much_waits"
    status_code = 503
    retry_seconds = 5


def receive(
    attempt: MirroredAttempt,
    rank: int,
    content: bytes,
    *,
    launcher: str,
    path: str,
    version: str,
    offset: int,
    modified_ns: int,
) -> int:
    """Take bytes of a file from ``offset`` on; return how many of it there are then. What is known
    is ignored. Raises AttemptOver, OutOfStep for another version than was listed or a gap,
    TooMuchWaits, InvalidInput, StorageError."""
    node = node_of(attempt, rank, launcher, time.time())
    file = _file(node, path, version)
    known = _check_offset(file, offset)
    if offset + len(content) <= known:
        return known
    _check_waiting(attempt, path, len(content))
    key = "" if len(content) <= IN_DATABASE_BYTES else _put(attempt, content)
    try:
        with transaction.atomic():
            received = _append(node, file.pk, version, content, key, offset, modified_ns)
            if key and received is not None:
                UnreferencedBlob(key=key).claim()
    except IntegrityError:
        received = None  # the run was deleted, or another request was faster
    if received is None:
        if key:
            UnreferencedBlob.objects.drop([key])
        return _check_offset(_file(node, path, version), offset)
    return received


def _check_waiting(attempt: MirroredAttempt, path: str, size: int) -> None:
    """Raise TooMuchWaits if ``size`` bytes more would be too many that the worker has not stored
    yet."""
    nodes = MirroredNode.objects.filter(attempt=attempt)
    waiting = nodes.aggregate(total=Sum("waiting_bytes", default=0))["total"]
    limit = settings.MIRROR_WAITING_GB * GB
    of_checkpoints = limit * CHECKPOINTS_SHARE
    is_of_checkpoint = path.startswith(f"{CHECKPOINTS}/")
    if is_note(path):
        limit += NOTES_BYTES
    elif is_of_checkpoint:
        limit = of_checkpoints
    if waiting + size <= limit:
        return
    entries = _entries(attempt)
    if is_of_checkpoint:
        waiting = _waiting_for(entries, entry_of(path), waiting)
    else:  # what checkpoints have beyond their share does not count
        excess = sum(entry.waiting for entry in entries.values()) - of_checkpoints
        waiting -= max(0, excess)
    if waiting + size > limit:
        raise TooMuchWaits(
            _(
                "The worker has not stored yet what the nodes of this attempt have sent: more than "
                "%(limit)s GB must not wait (TRAINHUB_MIRROR_WAITING_GB)."
            )
            % {"limit": f"{settings.MIRROR_WAITING_GB:g}"}
        )


@dataclass
class _Entry:
    """What is directly in the checkpoint folder: the lowest key of its files, how many of its bytes
    wait for the worker, and whether all of it is here that nodes have listed."""

    key: int
    waiting: int = 0
    is_whole: bool = True


def _entries(attempt: MirroredAttempt) -> dict[str, _Entry]:
    """By name."""
    files = MirroredFile.objects.filter(
        node__attempt=attempt, path__startswith=f"{CHECKPOINTS}/"
    ).annotate(waiting=Sum("chunks__size", default=0))
    found: dict[str, _Entry] = {}
    for key, path, size, received, waiting in files.order_by("pk").values_list(
        "pk", "path", "size", "received", "waiting"
    ):
        entry = found.setdefault(entry_of(path), _Entry(key))
        entry.waiting += waiting
        entry.is_whole = entry.is_whole and size == received
    return found


def _waiting_for(entries: dict[str, _Entry], name: str, waiting: int) -> int:
    """How many bytes count for the entry ``name``, of all that are ``waiting``. Of entries of which
    a node has yet to send something, the one that was listed first has to wait for no later one:
    else nodes that are ahead could fill what may wait with entries that others cannot complete."""
    incomplete = [entry for entry in entries.values() if not entry.is_whole]
    oldest = min(incomplete, key=lambda entry: entry.key, default=None)
    if oldest is None or entries.get(name) is not oldest:
        return waiting
    return sum(entry.waiting for entry in entries.values() if entry.key <= oldest.key)


def _file(node: MirroredNode, path: str, version: str) -> MirroredFile:
    file = MirroredFile.objects.filter(node=node, path=path, version=version).first()
    if file is None:
        raise OutOfStep(_("No such version of this file is listed."))
    return file


def _check_offset(file: MirroredFile, offset: int) -> int:
    if offset > file.received:
        raise OutOfStep(
            _("The server has %(size)d bytes of this file: bytes before these are missing.")
            % {"size": file.received}
        )
    return file.received


def _put(attempt: MirroredAttempt, content: bytes) -> str:
    """Store bytes; the key, which is tracked until a row refers to it. Raises StorageError."""
    run = attempt.run
    key = f"{run.project_id}/{run.pk}/{FOLDER}/{secrets.token_hex(16)}"
    UnreferencedBlob.objects.track(key)
    source = HashingFile(io.BytesIO(content), expected_bytes=len(content))
    with storage_errors(source):
        artifact_storage().save(key, source)
    return key


def _append(
    node: MirroredNode,
    pk: int,
    version: str,
    content: bytes,
    key: str,
    offset: int,
    modified_ns: int,
) -> int | None:
    """None if a concurrent request has changed the file meanwhile."""
    MirroredNode.objects.select_for_update(no_key=True).filter(pk=node.pk).first()  # before files
    file = (
        MirroredFile.objects.select_for_update(no_key=True).filter(pk=pk, version=version).first()
    )
    if file is None or file.received != offset:
        return None
    end = offset + len(content)
    if file.size is not None and end > file.size:
        raise InvalidInput(_("The file was listed with %(size)d bytes.") % {"size": file.size})
    in_row = None if key else content
    MirroredChunk.objects.create(
        file=file, start=offset, size=len(content), content=in_row, key=key
    )
    changes = {"received": end, "received_at": time.time(), "modified_ns": modified_ns}
    MirroredFile.objects.filter(pk=pk).update(**changes)
    MirroredNode.objects.filter(pk=node.pk).update(
        seen_at=Now(), revision=F("revision") + 1, waiting_bytes=F("waiting_bytes") + len(content)
    )
    return end
