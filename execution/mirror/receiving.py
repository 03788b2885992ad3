"""Takes what nodes send: each byte once, whatever is repeated, delayed or lost on its way."""

from __future__ import annotations

import io
import json
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from artifacts.storage import HashingFile, artifact_storage
from artifacts.storage_errors import storage_errors
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.exceptions import DomainError, InvalidInput
from core.text import storable
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS
from execution.models import (
    MAX_PATH_BYTES,
    MirroredAttempt,
    MirroredChunk,
    MirroredFile,
    MirroredNode,
)
from runs.models import Run

MAX_CHUNK_BYTES: Final = 8 * 1024 * 1024
IN_DATABASE_BYTES: Final = 64 * 1024  # smaller chunks are rows
MAX_FILES: Final = 60_000  # of a node
MAX_WAITING_BYTES: Final = 4 * 1024**4  # of an attempt, sent and not yet taken
FOLDER: Final = ".mirror"  # below the run's, in the storage
# What nodes may send, besides what is below ``checkpoints``.
OWN_FILES: Final = frozenset(
    {"stdout.log", "stderr.log", "launcher.log", "launcher.json", "process.json", "exit.json"}
)


class AttemptOver(DomainError):
    """Nothing of the attempt is taken any more: its launchers end themselves."""

    code = "attempt_over"
    status_code = 410


class OutOfStep(DomainError):
    """What the node thinks of a file is not what the server has."""

    code = "out_of_step"


@dataclass(frozen=True)
class Described:
    """A file as a node lists it; ``size`` is None if it grows."""

    path: str
    version: str
    size: int | None
    modified_ns: int


def attempt_of(run: Run, number: int) -> MirroredAttempt:
    """Raises AttemptOver if it is not the run's current one."""
    attempt = MirroredAttempt.objects.filter(run=run, number=number).first()
    is_current = run.attempt == number and not run.is_terminal and run.deleted_at is None
    if attempt is None or not is_current:
        raise AttemptOver(_("This attempt is over: nothing of it is taken any more."))
    return attempt


# --- listings --------------------------------------------------------------------------------


def sync(
    attempt: MirroredAttempt,
    rank: int,
    *,
    launcher: str,
    now: float,
    seen: float,
    files: list[Described] | None,
    knows: bool,
) -> dict[str, Any]:
    """Take a node's report; return what is asked of it. ``files``: what it has now; None: the same
    as before. ``knows``: whether it knows how far each file has arrived. Raises AttemptOver."""
    node = _node(attempt, rank, launcher, now)
    if files is not None:
        _check_files(files, rank)
        with transaction.atomic():
            locked = MirroredNode.objects.select_for_update(no_key=True).get(pk=node.pk)
            _take_listing(locked, files)
    MirroredNode.objects.filter(pk=node.pk).update(seen_at=Now(), listed_after=seen)
    known = None
    if files is not None or not knows:
        rows = MirroredFile.objects.filter(node=node)
        known = [
            {"path": path, "version": version, "size": size}
            for path, version, size in rows.values_list("path", "version", "received")
        ]
    is_alone = _node_count(attempt) == 1
    return {
        "now": time.time(),
        "stop": attempt.stop,
        "kill": attempt.kill,
        "meeting": None if is_alone else shared(attempt, RENDEZVOUS, {"host": str, "port": int}),
        "failed": None if is_alone else shared(attempt, NODE_FAILED, {"node": int, "lost": bool}),
        "files": known,
    }


def _node_count(attempt: MirroredAttempt) -> int:
    return int(attempt.launch.get("nodes", 1))


def _node(attempt: MirroredAttempt, rank: int, launcher: str, now: float) -> MirroredNode:
    """Raises AttemptOver if another launcher is this node's, InvalidInput."""
    nodes = _node_count(attempt)
    if rank >= nodes:
        raise InvalidInput(
            _("The attempt has %(nodes)d nodes: their ranks are lower.") % {"nodes": nodes}
        )
    node = MirroredNode.objects.filter(attempt=attempt, rank=rank).first()
    if node is None:
        with transaction.atomic():
            node, _created = MirroredNode.objects.get_or_create(
                attempt=attempt,
                rank=rank,
                defaults={"launcher": launcher, "clock_seconds": now - time.time()},
            )
    if node.launcher != launcher:
        raise AttemptOver(_("Another launcher works on this node of the attempt."))
    return node


def _check_files(files: list[Described], rank: int) -> None:
    if len(files) > MAX_FILES:
        raise InvalidInput(_("A node can have at most %(limit)d files.") % {"limit": MAX_FILES})
    for file in files:
        check_path(file.path, rank)


def check_path(path: str, rank: int) -> None:
    """Raises InvalidInput for a path that no launcher sends: one outside the attempt's directory,
    or a request, which only workers make."""
    parts = PurePosixPath(path).parts
    is_plain = (
        0 < len(path.encode(errors="replace")) <= MAX_PATH_BYTES
        and storable(path) == path
        and str(PurePosixPath(path)) == path
        and not path.startswith("/")
        and ".." not in parts
    )
    if not is_plain or not _is_sent(parts, rank):
        raise InvalidInput(_("A launcher sends no such file: %(path)s") % {"path": path[:200]})


def _is_sent(parts: tuple[str, ...], rank: int) -> bool:
    if parts[0] == "checkpoints":
        return len(parts) > 1
    if parts == (NODE_FAILED,):
        return True
    if rank:
        return len(parts) == 2 and parts[0] == f"node-{rank}" and parts[1] in OWN_FILES
    allowed = OWN_FILES | {"metrics.jsonl", "evaluation.json", RENDEZVOUS}
    return (len(parts) == 1 and parts[0] in allowed) or "tfevents" in parts[-1]


def _take_listing(node: MirroredNode, files: list[Described]) -> None:
    listed = {file.path: file for file in files}
    known = {row.path: row for row in MirroredFile.objects.filter(node=node)}
    gone = [row for path, row in known.items() if path not in listed]
    renewed = [
        row for path, row in known.items() if path in listed and row.version != listed[path].version
    ]
    _drop_chunks([*gone, *renewed])
    MirroredFile.objects.filter(pk__in=[row.pk for row in gone]).delete()
    for row in renewed:
        file = listed[row.path]
        row.version, row.size, row.modified_ns = file.version, file.size, file.modified_ns
        row.received, row.received_at = 0, time.time()
    MirroredFile.objects.bulk_update(
        renewed, ["version", "size", "modified_ns", "received", "received_at"], batch_size=500
    )
    new = [file for path, file in listed.items() if path not in known]
    MirroredFile.objects.bulk_create(
        [
            MirroredFile(
                node=node,
                path=file.path,
                version=file.version,
                size=file.size,
                modified_ns=file.modified_ns,
                received_at=time.time(),
            )
            for file in new
        ],
        batch_size=500,
    )
    if gone or renewed or new:
        MirroredNode.objects.filter(pk=node.pk).update(revision=F("revision") + 1)


def _drop_chunks(files: Iterable[MirroredFile]) -> None:
    """Delete the bytes of files. Call in a transaction."""
    chunks = MirroredChunk.objects.filter(file__in=list(files))
    drop(chunks)


def drop(chunks: Any) -> None:
    """Delete chunks with what they have in the storage. Call in a transaction."""
    keys = list(chunks.exclude(key="").values_list("key", flat=True))
    chunks.delete()
    if keys:
        UnreferencedBlob.objects.release(keys)


def shared(attempt: MirroredAttempt, path: str, types: dict[str, type]) -> dict[str, Any] | None:
    """The content of a small file that one node writes for all: values of these ``types``. None
    until it has arrived."""
    files = MirroredFile.objects.filter(node__attempt=attempt, path=path).order_by("node__rank")
    for file in files.prefetch_related("chunks"):
        if file.is_whole:
            content = b"".join(chunk.bytes() for chunk in file.chunks.order_by("start"))
            try:
                found = json.loads(content)
                told = {name: found[name] for name in types}
            except (ValueError, TypeError, KeyError):
                continue
            if all(type(told[name]) is types[name] for name in types):
                return told
    return None


# --- bytes -----------------------------------------------------------------------------------


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
    InvalidInput, StorageError."""
    node = _node(attempt, rank, launcher, time.time())
    file = _file(node, path, version)
    known = _check_offset(file, offset)
    if offset + len(content) <= known:
        return known
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
    MirroredNode.objects.filter(pk=node.pk).update(seen_at=Now(), revision=F("revision") + 1)
    return end


def forget_mirrored(*, instance: Run, **_signal: Any) -> None:
    """Receiver of pre_delete: what a run that is deleted has in the storage goes with it."""
    for attempt in MirroredAttempt.objects.filter(run=instance):
        attempt.forget()
