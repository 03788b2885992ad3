"""What a node has, and what is asked of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils.translation import gettext as _

from core.exceptions import InvalidInput
from execution.launcher.nodes import NODE_FAILED, RENDEZVOUS
from execution.mirror.dropping import drop
from execution.mirror.paths import check_path
from execution.mirror.reporters import node_count, node_of
from execution.models import MirroredAttempt, MirroredChunk, MirroredFile, MirroredNode

MAX_FILES: Final = 60_000  # of a node


@dataclass(frozen=True)
class Described:
    """A file as a node lists it; ``size`` is None if it grows."""

    path: str
    version: str
    size: int | None
    modified_ns: int


def sync(
    attempt: MirroredAttempt,
    rank: int,
    *,
    launcher: str,
    now: float,
    seen: float,
    files: list[Described] | None,
    knows: bool,
    problem: str = "",
) -> dict[str, Any]:
    """Take a node's report; return what is asked of it. ``files``: what it has now; None: the same
    as before. ``knows``: whether it knows how far each file has arrived. ``problem``: which of them
    it cannot send, and why. Raises AttemptOver, InvalidInput."""
    node = node_of(attempt, rank, launcher, now)
    if files is not None:
        _check_files(files, rank)
        with transaction.atomic():
            locked = MirroredNode.objects.select_for_update(no_key=True).get(pk=node.pk)
            _take_listing(locked, files)
    changes: dict[str, Any] = {"seen_at": Now(), "listed_after": seen}
    if problem != node.problem:
        changes |= {"problem": problem, "is_told": False}
    MirroredNode.objects.filter(pk=node.pk).update(**changes)
    known = None
    if files is not None or not knows:
        rows = MirroredFile.objects.filter(node=node)
        known = [
            {"path": path, "version": version, "size": size}
            for path, version, size in rows.values_list("path", "version", "received")
        ]
    is_alone = node_count(attempt) == 1
    return {
        "now": time.time(),
        "stop": attempt.stop,
        "kill": attempt.kill,
        "meeting": None if is_alone else shared(attempt, RENDEZVOUS, {"host": str, "port": int}),
        "failed": None if is_alone else shared(attempt, NODE_FAILED, {"node": int, "lost": bool}),
        "files": known,
    }


def _check_files(files: list[Described], rank: int) -> None:
    if len(files) > MAX_FILES:
        raise InvalidInput(_("A node can have at most %(limit)d files.") % {"limit": MAX_FILES})
    for file in files:
        check_path(file.path, rank)


def _take_listing(node: MirroredNode, files: list[Described]) -> None:
    listed = {file.path: file for file in files}
    known = {row.path: row for row in MirroredFile.objects.filter(node=node)}
    gone = [row for path, row in known.items() if path not in listed]
    renewed = [
        row for path, row in known.items() if path in listed and row.version != listed[path].version
    ]
    if gone or renewed:
        drop(node.pk, MirroredChunk.objects.filter(file__in=[*gone, *renewed]))
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
