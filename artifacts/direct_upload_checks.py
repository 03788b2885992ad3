"""Reads what clients have sent to S3 themselves, compares it with what they announced, and records
it: no artifact has bytes that TrainHub has not hashed.

Small files are read while their completion is answered, the others by workers. One at a time reads
an upload: it has taken it for a while, and renews that; if it dies, another one reads it again.
"""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Final

from django.db import transaction
from django.http import Http404
from django.utils import timezone

from artifacts.blobs import StoredFile
from artifacts.direct_uploads import DirectUpload, UploadStatus
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact
from artifacts.storage import sha256_of
from artifacts.storage_errors import StorageError, s3_errors
from artifacts.unreferenced_blobs import UnreferencedBlob
from artifacts.uploads import check_quota, follow_up, record
from core.database_errors import problem_of
from core.exceptions import DomainError
from core.messages import Message, Text, in_english, words_of
from runs.models import Run

logger = logging.getLogger(__name__)

TAKEN_FOR: Final = timedelta(minutes=2)
RENEWED_EVERY_SECONDS: Final = 20.0
PER_PASS: Final = 20


class UploadFailed(DomainError):
    code = "upload_failed"


class Superseded(Exception):
    """The upload has been completed or aborted by somebody else."""


def check_due() -> int:
    """Check the uploads that wait for it, up to a number; return how many."""
    for count in range(PER_PASS):
        upload = _take()
        if upload is None:
            return count
        check(upload)
    return PER_PASS


def _take() -> DirectUpload | None:
    with transaction.atomic():
        now = timezone.now()
        due = DirectUpload.objects.filter(status=UploadStatus.CHECKING, check_after__lte=now)
        locked = due.order_by("check_after").select_for_update(skip_locked=True, of=("self",))
        upload = locked.first()
        if upload is not None:
            upload.check_after = now + TAKEN_FOR
            upload.save(update_fields=["check_after"])
    return upload


def check(upload: DirectUpload) -> None:
    """Read the bytes of an upload that the caller has taken, and record it. The upload then has the
    status that it has now. Reads all bytes: call without a lock. Raises StorageError and the errors
    of the database: it is checked again later."""
    run = Run.objects.filter(pk=upload.run_id).first()
    if run is None:
        failed(upload, Message("The run has been deleted."))
        return
    try:
        with s3_errors():
            sha256, size_bytes = sha256_of(upload.key, _Renewal(upload))
            _compare(upload, sha256, size_bytes)
            check_quota(run, upload.file, size_bytes)  # which may not have been announced
            _record(run, upload, StoredFile(upload.file, size_bytes, sha256, upload.stored_as))
    except Superseded:
        upload.refresh_from_db()
    except FileNotFoundError:
        failed(upload, Message("its bytes are missing"))
    except StorageError:
        raise
    except DomainError as error:
        if problem_of(error) is not None:
            raise
        failed(upload, words_of(error))
    except Http404:
        failed(upload, Message("The run has been deleted."))


class _Renewal:
    """Keeps the upload taken, and its bytes from being swept, while they are read."""

    def __init__(self, upload: DirectUpload) -> None:
        self._upload, self._next = upload, time.monotonic() + RENEWED_EVERY_SECONDS

    def __call__(self, _size: int) -> None:
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + RENEWED_EVERY_SECONDS
        taken = DirectUpload.objects.filter(pk=self._upload.pk, status=UploadStatus.CHECKING)
        if not taken.update(check_after=timezone.now() + TAKEN_FOR):
            raise Superseded
        UnreferencedBlob.objects.track(self._upload.key)


def _compare(upload: DirectUpload, sha256: str, size_bytes: int) -> None:
    if upload.size_bytes not in {None, size_bytes}:
        raise UploadFailed(
            Message(
                "%(actual)d bytes were sent, not %(expected)d: nothing was saved.",
                actual=size_bytes,
                expected=upload.size_bytes,
            )
        )
    if upload.sha256 and upload.sha256 != sha256:
        raise UploadFailed(
            Message(
                "The sha256 of what was sent is %(actual)s, not %(expected)s: nothing was saved.",
                actual=sha256,
                expected=upload.sha256,
            )
        )


def _record(run: Run, upload: DirectUpload, stored: StoredFile) -> None:
    """As any uploaded file is. Raises Superseded."""

    def settle(artifact: Artifact) -> None:
        if not upload.change_from(
            UploadStatus.CHECKING, status=UploadStatus.COMPLETED, artifact=artifact
        ):
            raise Superseded

    artifact, _is_new = record(
        run,
        stored,
        UnreferencedBlob(key=upload.key),
        type=ArtifactType(upload.type) if upload.type else None,
        step=upload.step,
        is_report=False,  # its completion was one
        settle=settle,
    )
    follow_up(run, artifact, stored)


def failed(upload: DirectUpload, problem: Text) -> None:
    """Nothing becomes of the upload: delete its bytes."""
    if upload.change_from(UploadStatus.CHECKING, status=UploadStatus.FAILED, problem=problem):
        logger.warning("direct upload %s failed: %s", upload.pk, in_english(problem))
        UnreferencedBlob.objects.drop([upload.key])
