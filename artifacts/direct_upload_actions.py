"""Begins, completes and aborts uploads whose bytes clients send to S3 themselves.

Nothing is locked while S3 is asked. A status is changed only from the one that allows it, so of two
requests at once one does: the other one finds what has become of the upload.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Final, NamedTuple

from django.db import transaction
from django.http import Http404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from artifacts.direct_transfers import (
    MAX_PARTS,
    DirectTransfers,
    InvalidParts,
    NoSuchUpload,
    Part,
    direct_transfers,
    part_bytes,
    transfers_of_earlier,
)
from artifacts.direct_upload_checks import TAKEN_FOR, UploadFailed, check, failed
from artifacts.direct_uploads import LASTS, DirectUpload, UploadStatus
from artifacts.kinds import ArtifactType
from artifacts.same_path import check_own
from artifacts.unreferenced_blobs import UnreferencedBlob, UploadExpired
from artifacts.uploads import check_may_store, check_quota, key_of, new_stored_as
from core.exceptions import DomainError, InvalidInput
from core.messages import Message
from runs.models import Run
from runs.reports import lock_reporting_run

URL_LIFE: Final = timedelta(hours=1)
# A smaller file is read, to compare its sha256, before its completion is answered.
CHECKED_AT_ONCE_BYTES: Final = 256 * 1024 * 1024


class DirectUploadsOff(DomainError):
    code = "direct_uploads_off"


class UploadAborted(DomainError):
    code = "upload_aborted"


class UploadCompleted(DomainError):
    code = "upload_completed"


class PartUrl(NamedTuple):
    """Where a part is sent. ``size_bytes``: how many bytes it must have; None: any."""

    number: int
    url: str
    size_bytes: int | None


def start(
    run: Run,
    path: str,
    *,
    type: ArtifactType | None = None,
    step: int | None = None,
    size_bytes: int | None = None,
    sha256: str = "",
    part_count: int | None = None,
) -> DirectUpload:
    """Begin the upload of the run's file ``path``. Either ``size_bytes`` is given, or into how many
    parts the client divides what it will send; the sizes of those are not checked then.

    Raises DirectUploadsOff, InvalidPath, PathTaken, InTrash, StorageQuotaExceeded, StorageError.
    """
    transfers = _required_transfers()
    check_may_store(run, path)
    check_quota(run, path, size_bytes or 0)
    UnreferencedBlob.objects.sweep()
    DirectUpload.objects.sweep()
    part_size = None if size_bytes is None else part_bytes(size_bytes)
    if size_bytes is not None and part_size is not None:
        part_count = -(-size_bytes // part_size)
    if part_count is None or not 1 <= part_count <= MAX_PARTS:
        raise InvalidInput(
            Message("A file has from 1 to %(limit)d parts.", limit=MAX_PARTS), attr="num_parts"
        )
    stored_as = new_stored_as()
    with transaction.atomic():
        _lock_run(run.pk)
        if sha256:  # otherwise it is known once all is sent
            check_own(run, path, sha256)
        upload = DirectUpload.objects.create(
            run=run,
            file=path,
            type=type or "",
            step=step,
            size_bytes=size_bytes,
            sha256=sha256,
            part_count=part_count,
            part_size=part_size,
            key=key_of(run, stored_as),
            stored_as=stored_as,
            expires_at=timezone.now() + LASTS,
        )
        UnreferencedBlob.objects.track(upload.key)
    upload.multipart_id = transfers.begin(upload.key)
    upload.save(update_fields=["multipart_id"])
    return upload


def part_urls(
    upload: DirectUpload, numbers: Iterable[int], *, life: timedelta = URL_LIFE
) -> list[PartUrl]:
    """URLs of these parts of an upload that is open. Raises DirectUploadsOff, UploadExpired and
    what an upload that has ended raises."""
    transfers = _required_transfers()
    _check_open(upload)
    seconds = min(life, upload.expires_at - timezone.now()).total_seconds()
    return [
        PartUrl(
            number,
            transfers.part_url(
                upload.key,
                upload.multipart_id,
                number,
                size=upload.size_of_part(number),
                seconds=max(1.0, seconds),
            ),
            upload.size_of_part(number),
        )
        for number in numbers
        if 1 <= number <= upload.part_count
    ]


def complete(upload: DirectUpload, parts: Sequence[Part]) -> None:
    """All parts have been sent: check the bytes, now or, if they are many, soon, and record the
    artifact; also if that is done again. ``upload`` then has the status that it has now.

    Raises InvalidParts, UploadExpired, UploadAborted, UploadFailed, InTrash, StorageError.
    """
    if upload.status == UploadStatus.OPEN:
        _check_open(upload)
        _put_together(upload, parts)
    if upload.status == UploadStatus.FAILED:
        raise UploadFailed(upload.problem)
    if upload.status == UploadStatus.ABORTED:
        raise _aborted()


def _put_together(upload: DirectUpload, parts: Sequence[Part]) -> None:
    ordered = sorted(parts)
    if [part.number for part in ordered] != list(range(1, upload.part_count + 1)):
        raise InvalidParts(
            Message("All %(count)d parts are needed, each once.", count=upload.part_count),
            attr="parts",
        )
    transfers = _earlier_transfers()
    try:
        transfers.complete(upload.key, upload.multipart_id, ordered)
        size = transfers.size_of(upload.key)
    except (NoSuchUpload, FileNotFoundError):
        size = _size_if_complete(transfers, upload)
    is_small = size <= CHECKED_AT_ONCE_BYTES
    now = timezone.now()
    with transaction.atomic():
        _lock_run(upload.run_id)
        is_first = upload.change_from(
            UploadStatus.OPEN,
            status=UploadStatus.CHECKING,
            has_parts=False,
            check_after=now + TAKEN_FOR if is_small else now,
        )
        if is_first:
            UnreferencedBlob.objects.track(upload.key)  # a day from now on
    if is_first and upload.size_bytes not in {None, size}:
        failed(
            upload,
            Message(
                "%(actual)d bytes were sent, not %(expected)d: nothing was saved.",
                actual=size,
                expected=upload.size_bytes,
            ),
        )
    elif is_first and is_small:
        check(upload)


def _lock_run(run_id: str) -> None:
    """Until the transaction ends. Raises InTrash, Http404."""
    try:
        lock_reporting_run(run_id)
    except Run.DoesNotExist:  # deleted in the meantime
        raise Http404 from None


def _size_if_complete(transfers: DirectTransfers, upload: DirectUpload) -> int:
    """Of an upload that S3 does not know: another request has just completed or aborted it."""
    try:
        return transfers.size_of(upload.key)
    except FileNotFoundError:
        upload.refresh_from_db()
        if upload.status == UploadStatus.ABORTED:
            raise _aborted() from None
        raise _expired() from None


def abort(upload: DirectUpload) -> None:
    """Delete what was sent; also if that is done again. Raises UploadCompleted if it is an artifact
    by now, StorageError."""
    upload.abort()
    if upload.status == UploadStatus.COMPLETED:
        raise UploadCompleted(Message("The upload has been completed: its file is stored."))


def _check_open(upload: DirectUpload) -> None:
    if upload.status == UploadStatus.FAILED:
        raise UploadFailed(upload.problem)
    if upload.status == UploadStatus.ABORTED:
        raise _aborted()
    if upload.status != UploadStatus.OPEN:
        raise UploadCompleted(Message("All parts of the upload have been sent."))
    if upload.is_expired or not upload.multipart_id:
        raise _expired()


def _aborted() -> UploadAborted:
    return UploadAborted(Message("The upload has been aborted."))


def _expired() -> UploadExpired:
    return UploadExpired(Message("The upload took too long: its data has been deleted."))


def _required_transfers() -> DirectTransfers:
    transfers = direct_transfers()
    if transfers is None:
        raise DirectUploadsOff(
            _("Files are sent through this server: PUT …/artifacts/files/{path}.")
        )
    return transfers


def _earlier_transfers() -> DirectTransfers:
    transfers = transfers_of_earlier()
    if transfers is None:  # the storage has been changed meanwhile
        raise _expired()
    return transfers
