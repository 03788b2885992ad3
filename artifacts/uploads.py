"""Files that clients send: in chunks, checked on the way, whole or not there."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from django.db import DatabaseError, transaction
from django.http import HttpRequest
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.utils.translation import gettext as _

from artifacts.annotations import read_annotation
from artifacts.loose_bytes import LooseBytes, UploadExpired
from artifacts.models import Artifact, ArtifactType, lock_run, put
from artifacts.paths import checked_path
from artifacts.storage import CHUNK_BYTES, Source, artifact_storage
from runs.models import Run
from runs.reports import InTrash
from trainhub.exceptions import DomainError, InvalidInput

# Below the run's folder, where no artifact of TrainHub's own lies.
UPLOADS_FOLDER = ".files"
DRAINED_BYTES = 1024**3

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
    """If the block refuses the request, read what the client is still sending, DRAINED_BYTES at
    most: most clients read no answer before, take a broken connection for a failure of the network,
    and try for minutes again."""
    try:
        yield
    except Exception:
        with suppress(LengthRequired, OSError):
            body = Body(request, is_checked=True)
            left = DRAINED_BYTES
            while left > 0 and (chunk := body.skip()):
                left -= len(chunk)
        raise


class Body:
    """A request's body as a file: no more of it is in memory than what is asked for at a time.

    A body that ends before its Content-Length raises IncompleteUpload. One without a length may
    have been cut off anywhere: it counts as whole if it is empty (clients send empty files so) or
    ``is_checked``, that is, its checksum is known; any other raises LengthRequired.
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
                raise LengthRequired(_("Say how long the body is: Content-Length."))
        elif self._count < self.length and not chunk and size:
            raise self._incomplete()
        return chunk

    def skip(self) -> bytes:
        """Some bytes to be thrown away; none at the end, whichever it is."""
        chunk: bytes = self._stream.read(CHUNK_BYTES)
        return chunk

    def _read_all(self) -> bytes:
        return b"".join(iter(self.skip, b""))

    def _incomplete(self) -> IncompleteUpload:
        return IncompleteUpload(
            _("The body ended after %(count)d bytes: nothing was kept.") % {"count": self._count}
        )


def _length_of(request: HttpRequest) -> int | None:
    """Content-Length; None for a body without one, whose end the server knows. Raises
    LengthRequired where it does not."""
    given = request.META.get("CONTENT_LENGTH") or ""
    if given.isdecimal():
        return int(given)
    if request.META.get("wsgi.input_terminated"):
        return None
    if request.headers.get("Transfer-Encoding"):
        raise LengthRequired(_("Say how long the body is: Content-Length."))
    return 0


def announced_sha256(request: HttpRequest) -> set[str]:
    """What X-Checksum-Sha256 (hexadecimal) and Repr-Digest (RFC 9530) say that the body is; empty
    if neither is there. Raises InvalidInput for what is neither."""
    announced = set()
    given = request.headers.get("X-Checksum-Sha256")
    if given is not None:
        if not _HEX.fullmatch(given.strip()):
            raise InvalidInput(_("X-Checksum-Sha256 must be 64 hexadecimal digits."))
        announced.add(given.strip().lower())
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
    """Keep the request's body as the run's file ``path``, in the place of what had that path.

    Returns the artifact, and whether its path is new. ``type`` and ``step``: what the client says
    it is; else its name decides. Raises InvalidInput, PathTaken, InUse, LengthRequired, Http404;
    whatever is raised, nothing is left of the body.
    """
    announced = announced_sha256(request)
    body = Body(request, is_checked=bool(announced))
    return store(run, path, body, announced=announced, type=type, step=step)


def store(
    run: Run,
    path: str,
    content: Source,
    *,
    announced: set[str] | None = None,
    type: ArtifactType | None = None,
    step: int | None = None,
) -> tuple[Artifact, bool]:
    """As ``receive``, of any ``content``.

    The bytes lie under a name of their own before any row names them, so a reader sees the old
    ones or the new ones, and of two uploads at once one wins whole.
    """
    path = checked_path(path)
    _check_kept(run)
    run.artifacts.check_path(path)  # before gigabytes are sent; and once more below
    LooseBytes.objects.sweep()
    stored_as = f"{UPLOADS_FOLDER}/{secrets.token_hex(16)}"
    loose = LooseBytes.objects.create(key=f"{run.project_id}/{run.pk}/{stored_as}")
    try:
        stored = put(run, content, type=ArtifactType.FILE, file=path, stored_as=stored_as)
        for sha256 in announced or ():
            _check(sha256, stored.sha256)
        with transaction.atomic():
            locked = lock_run(run)
            _check_kept(locked)
            locked.change(reported_at=timezone.now())
            artifact, is_new = locked.artifacts.record_upload(locked, stored, type=type, step=step)
            if artifact.stored_as == stored_as:
                loose.claim()
    except UploadExpired:
        artifact_storage().delete(loose.key)  # swept away while it was still coming in
        raise
    except BaseException:
        with suppress(DatabaseError):  # then a later sweep finds it
            LooseBytes.objects.drop([loose.key])
        raise
    if artifact.stored_as != stored_as:
        LooseBytes.objects.drop([loose.key])
    _annotate(run, artifact)
    return artifact, is_new


def _check_kept(run: Run) -> None:
    if run.deleted_at is not None:
        raise InTrash(_("The run %(id)s is in the trash: restore it first.") % {"id": run.pk})


def _annotate(run: Run, artifact: Artifact) -> None:
    """If the file says something of the checkpoint beside it, take that down."""
    said = read_annotation(artifact)
    if said:
        with transaction.atomic():
            locked = lock_run(run)
            locked.artifacts.annotate_checkpoint(locked, artifact, said)


def _check(announced: str, sha256: str) -> None:
    if announced != sha256:
        raise ChecksumMismatch(
            _("The body's sha256 is %(is)s, not %(announced)s: nothing was kept.")
            % {"is": sha256, "announced": announced}
        )
