"""The bytes of a run's artifacts, and their keys in the storage."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from artifacts.kinds import MAX_NAME_LENGTH, ArtifactType
from artifacts.storage import HashingFile, Source, artifact_storage
from artifacts.storage_errors import storage_errors
from runs.models import Run


@dataclass(frozen=True)
class StoredFile:
    """Bytes that are complete in the storage but may not have a row yet."""

    file: str
    size_bytes: int
    sha256: str
    stored_as: str = ""

    @property
    def name(self) -> str:
        """The display name."""
        return self.file.rpartition("/")[2][:MAX_NAME_LENGTH]


def put(
    run: Run,
    content: Source,
    *,
    type: ArtifactType,
    file: str,
    stored_as: str = "",
    expected_bytes: int | None = None,
) -> StoredFile:
    """Copy ``content`` to the storage as the run's ``file``, replacing any existing bytes.
    ``expected_bytes``: see HashingFile.

    Bytes are written before their row, so a row never refers to incomplete bytes. A crash in
    between leaves bytes without a row: the next attempt overwrites them, except for those of an
    upload, which are stored under ``stored_as`` and tracked as UnreferencedBlob. Raises
    StorageError.
    """
    source = HashingFile(content, expected_bytes=expected_bytes)
    with storage_errors(source):
        artifact_storage().save(storage_key(run, type, file, stored_as), source)
    return StoredFile(file, source.byte_count, source.sha256, stored_as)


def storage_key(run: Run, type: ArtifactType, file: str, stored_as: str = "") -> str:
    """The key of the bytes, relative to the storage's root.

    TensorBoard reads folders, so ``…/tensorboard`` is a folder that contains the event file.
    """
    suffix = f"/{events_file(run.pk)}" if type == ArtifactType.EVENT and not stored_as else ""
    return f"{run.project_id}/{run.pk}/{stored_as or file}{suffix}"


def root_uri(run: Run) -> str:
    """The prefix of the URIs of a run's artifacts, as defined by the contract."""
    return f"s3://{settings.ARTIFACTS_BUCKET}/{run.project_id}/{run.pk}"


def events_file(run_id: str) -> str:
    return f"events.out.tfevents.{run_id}"
