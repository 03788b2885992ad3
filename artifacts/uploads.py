"""Receives uploaded files: streamed in chunks, verified, and stored completely or not at all."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError, transaction
from django.db.models.functions import Now
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from django.utils.translation import gettext as _

from artifacts import upload_proofs
from artifacts.annotations import read_annotation
from artifacts.blobs import StoredFile, put
from artifacts.evaluations import index_stored
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from artifacts.paths import checked_path
from artifacts.storage import CHUNK_BYTES, Source, artifact_storage
from artifacts.storage_quotas import refuse_over_quota
from artifacts.unreferenced_blobs import UnreferencedBlob, UploadExpired
from artifacts.uploaded_files import (
    annotate_checkpoint,
    check_path,
    lock_run,
    record_upload,
    uploaded_files,
)
from core.exceptions import DomainError, InvalidInput
from runs.models import Run
from runs.reports import in_trash

# Below the run's folder; never used by TrainHub's own artifacts.
UPLOADS_FOLDER = ".files"
MAX_DRAINED_BYTES = 1024**3

_HEX = re.compile(r"[0-9a-f]{64}", re.IGNORECASE)
_REPR_DIGEST = re.compile(r"(?:^|,)\s*sha-256\s*=\s*:([^:,]*):", re.IGNORECASE)


class IncompleteUpload(InvalidInput):
    code = "incomplete_upload"


class ChecksumMismatch(InvalidInput):
    code = "checksum_mismatch"


class LengthRequired(DomainError):
    code = "length_required"
    status_code = 411


@contextmanager
def draining(request: HttpRequest) -> Iterator[None]:
    """If the block rejects the request, read at most MAX_DRAINED_BYTES of the remaining body.

    Most clients do not read a response before they have sent the body. They treat a closed
    connection as a network failure and retry for minutes.
    """
    try:
        yield
    except Exception:
        with suppress(LengthRequired, OSError):
            body = Body(request, is_checked=True)
            remaining = MAX_DRAINED_BYTES
            while remaining > 0 and (chunk := body.skip()):
                remaining -= len(chunk)
        raise


class Body:
    """A request body as a file: only the requested chunk is held in memory.

    A body that ends before its Content-Length raises IncompleteUpload. A body without a length may
    be truncated: it is accepted only if it is empty (as clients send empty files) or ``is_checked``
    (its checksum is known); otherwise it raises LengthRequired.
    """

    def __init__(self, request: HttpRequest, *, is_checked: bool) -> None:
        self.length = _length_of(request)
        self._is_checked = is_checked
        self._stream: Any = request if self.length is not None else request.META["wsgi.input"]
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        """Raises IncompleteUpload, LengthRequired."""
        try:
            chunk: bytes = self._stream.read(size) if size >= 0 else self._read_all()
        except (UnreadablePostError, OSError):
            raise self._incomplete() from None
        self._count += len(chunk)
        if self.length is None:
            if chunk and not self._is_checked:
                raise LengthRequired(_("A Content-Length header is required."))
        elif self._count < self.length and not chunk and size:
            raise self._incomplete()
        return chunk

    def skip(self) -> bytes:
        """Read and discard a chunk, without checks; empty at the end of the body."""
        chunk: bytes = self._stream.read(CHUNK_BYTES)
        return chunk

    def _read_all(self) -> bytes:
        return b"".join(iter(self.skip, b""))

    def _incomplete(self) -> IncompleteUpload:
        return IncompleteUpload(
            _("The body ended after %(count)d bytes: nothing was saved.") % {"count": self._count}
        )


def _length_of(request: HttpRequest) -> int | None:
    """The Content-Length; None without one if the server detects the end of the body. Raises
    LengthRequired if it does not."""
    content_length = request.META.get("CONTENT_LENGTH") or ""
    if content_length.isdecimal():
        return int(content_length)
    if request.META.get("wsgi.input_terminated"):
        return None
    if request.headers.get("Transfer-Encoding"):
        raise LengthRequired(_("A Content-Length header is required."))
    return 0


def announced_sha256(request: HttpRequest) -> set[str]:
    """The body's sha256 as announced in X-Checksum-Sha256 (hexadecimal) and Repr-Digest (RFC 9530);
    empty without these headers. Raises InvalidInput if one is malformed."""
    announced = set()
    checksum = request.headers.get("X-Checksum-Sha256")
    if checksum is not None:
        if not _HEX.fullmatch(checksum.strip()):
            raise InvalidInput(_("X-Checksum-Sha256 must be 64 hexadecimal digits."))
        announced.add(checksum.strip().lower())
    digest = _REPR_DIGEST.search(request.headers.get("Repr-Digest", ""))
    if digest is not None:
        try:
            announced.add(base64.b64decode(digest[1], validate=True).hex())
        except (binascii.Error, ValueError):
            raise InvalidInput(_("Repr-Digest is malformed.")) from None
    return announced


def receive(
    run: Run,
    path: str,
    request: HttpRequest,
    *,
    type: ArtifactType | None = None,
    step: int | None = None,
) -> tuple[Artifact, bool]:
    """Store the request's body as the run's file ``path``, replacing any existing file.

    Returns the artifact and whether its path is new. Without ``type`` and ``step`` from the client,
    the file's name determines them. Raises InvalidInput, PathTaken, InUse, LengthRequired,
    StorageQuotaExceeded, Http404; after any exception nothing of the body is kept.
    """
    announced = announced_sha256(request)
    body = Body(request, is_checked=bool(announced))
    return store(
        run,
        path,
        body,
        announced=announced,
        type=type,
        step=step,
        expected_bytes=body.length,
        is_limited=True,
    )


def store(
    run: Run,
    path: str,
    content: Source,
    *,
    announced: set[str] | None = None,
    type: ArtifactType | None = None,
    step: int | None = None,
    expected_bytes: int | None = None,
    is_report: bool = True,
    is_limited: bool = False,
) -> tuple[Artifact, bool]:
    """Like ``receive``, for any ``content``. ``expected_bytes``: see HashingFile. ``is_report``: it
    comes from the training. ``is_limited``: it is refused beyond a quota.

    The bytes are stored under a unique key before any row refers to them. Readers therefore see
    either the old bytes or the new ones, and of two concurrent uploads one wins completely.
    """
    check_may_store(run, path)
    if is_limited:
        check_quota(run, path, expected_bytes or 0)
    UnreferencedBlob.objects.sweep()
    stored_as = new_stored_as()
    blob = UnreferencedBlob.objects.create(key=key_of(run, stored_as))
    try:
        stored = put(
            run,
            content,
            type=ArtifactType.FILE,
            file=path,
            stored_as=stored_as,
            expected_bytes=expected_bytes,
        )
        for sha256 in announced or ():
            _check_sha256(sha256, stored.sha256)
        if is_limited and expected_bytes is None:
            check_quota(run, path, stored.size_bytes)
        artifact, is_new = record(run, stored, blob, type=type, step=step, is_report=is_report)
    except UploadExpired:
        artifact_storage().delete(blob.key)  # a sweep took it for abandoned
        raise
    except BaseException:
        with suppress(DatabaseError):  # a later sweep deletes it
            UnreferencedBlob.objects.drop([blob.key])
        raise
    follow_up(run, artifact, stored)
    return artifact, is_new


def check_may_store(run: Run, path: str) -> None:
    """Fail before gigabytes are sent; ``record`` checks again. Raises InvalidPath, InTrash,
    PathTaken."""
    checked_path(path)
    _check_not_in_trash(run)
    check_path(run, path)


def check_quota(run: Run, path: str, size_bytes: int) -> None:
    """Raises StorageQuotaExceeded, unless the file replaces one that is not smaller."""
    before = uploaded_files(run).filter(file=path).values_list("size_bytes", flat=True).first()
    if before is None or size_bytes > before:
        refuse_over_quota(run.project, size_bytes - (before or 0))


def new_stored_as() -> str:
    return f"{UPLOADS_FOLDER}/{secrets.token_hex(16)}"


def key_of(run: Run, stored_as: str) -> str:
    return f"{run.project_id}/{run.pk}/{stored_as}"


def record(
    run: Run,
    stored: StoredFile,
    blob: UnreferencedBlob,
    *,
    type: ArtifactType | None,
    step: int | None,
    is_report: bool,
    settle: Callable[[Artifact], None] = lambda _artifact: None,
) -> tuple[Artifact, bool]:
    """Make ``stored``, whose bytes are tracked as ``blob``, the run's file at its path. Returns the
    artifact and whether its path is new; call ``follow_up`` then. ``settle`` is called at the end
    of the transaction. Raises PathTaken, InUse, InTrash, UploadExpired, Http404."""
    examined = upload_proofs.examine(run, stored, type)
    with transaction.atomic():
        locked = lock_run(run)
        _check_not_in_trash(locked)
        if is_report:
            locked.change(reported_at=Now())
        artifact, is_new = record_upload(locked, stored, examined, type=type, step=step)
        if artifact.stored_as == stored.stored_as:
            blob.claim()
        settle(artifact)
    return artifact, is_new


def follow_up(run: Run, artifact: Artifact, stored: StoredFile) -> None:
    """What is done once an upload is recorded: bytes that were there already are deleted, and what
    the file tells is read."""
    if artifact.stored_as != stored.stored_as:
        UnreferencedBlob.objects.drop([key_of(run, stored.stored_as)])
    _annotate(run, artifact)
    if artifact.type == ArtifactType.EVALUATION:
        with suppress(FileNotFoundError, Run.DoesNotExist):  # replaced or deleted meanwhile
            index_stored(artifact)


def _check_not_in_trash(run: Run) -> None:
    if run.deleted_at is not None:
        raise in_trash(run.pk)


def _annotate(run: Run, artifact: Artifact) -> None:
    """If the file is an annotation, store its content on the checkpoint next to it."""
    annotation = read_annotation(artifact)
    if annotation:
        with transaction.atomic():
            locked = lock_run(run)
            annotate_checkpoint(locked, artifact, annotation)


def _check_sha256(announced: str, sha256: str) -> None:
    if announced != sha256:
        raise ChecksumMismatch(
            _("The body's sha256 is %(actual)s, not %(expected)s: nothing was saved.")
            % {"actual": sha256, "expected": announced}
        )
