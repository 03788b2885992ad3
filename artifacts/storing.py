"""Stores TrainHub's own artifacts of a run: checkpoints, event file, evaluation, configuration.

``store_…`` functions copy small content and write its row in one step. For large content, ``put_…``
copies the bytes before the run's row is locked, and ``record_…`` then writes the artifact's row.
"""

from __future__ import annotations

import io
from collections.abc import Container
from dataclasses import dataclass
from typing import IO, Any, Final

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from artifacts import evaluations, layouts
from artifacts.blobs import StoredFile, put, storage_key
from artifacts.evaluation_numbers import Evaluation, read_evaluation
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact, damage_metadata
from artifacts.rewritten import take_back
from artifacts.storage import Source
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.ids import new_id
from core.messages import Message, Text
from core.text import truncate
from runs.models import Run

MAX_SHOWN: Final = 200  # characters of a folder's name


def store_checkpoint(run: Run, content: IO[bytes], *, step: int, suffix: str) -> Artifact:
    """Store the checkpoint of ``step``; ``suffix`` is the file extension, e.g. ``.pt``."""
    file = f"step-{step:08d}{suffix}"
    with transaction.atomic():
        take_back(run, file)  # before its bytes are replaced
        stored = put(run, content, type=ArtifactType.CHECKPOINT, file=file)
        return record_checkpoint(run, stored, step=step)


def announce_checkpoint(run: Run, *, step: int, version: str, suffix: str) -> None:
    """What ``put_checkpoint`` stores with these arguments is deleted unless it is claimed. Call
    with the run's row locked: who has lost the run announces nothing of it."""
    UnreferencedBlob.objects.track(_key_of(run, _version_file(step, version, suffix)))


def put_checkpoint(
    run: Run,
    content: Source,
    *,
    step: int,
    version: str,
    suffix: str,
    expected_bytes: int | None = None,
) -> StoredFile:
    """Copy the bytes to the storage under a name unique to this ``version`` of the step: the bytes
    of other versions are unchanged."""
    file = _version_file(step, version, suffix)
    type = ArtifactType.CHECKPOINT
    return put(run, content, type=type, file=file, expected_bytes=expected_bytes)


def claim_checkpoint(run: Run, stored: StoredFile) -> None:
    """Keep the bytes, which are recorded, or discarded as known, in this transaction. Call with the
    run's row locked. Raises UploadExpired if they have been deleted meanwhile."""
    if not Artifact.objects.own().filter(run=run, file=stored.file).exists():
        UnreferencedBlob(key=_key_of(run, stored.file)).claim()
    else:
        UnreferencedBlob.objects.filter(key=_key_of(run, stored.file)).delete()


def drop_unclaimed(run: Run, stored: StoredFile) -> None:
    """Delete the bytes unless they have been claimed, as by another worker that has stored the
    same. If that fails, a later sweep does it."""
    UnreferencedBlob.objects.drop([_key_of(run, stored.file)])


def _version_file(step: int, version: str, suffix: str) -> str:
    return f"step-{step:08d}-{version}{suffix}"


def _key_of(run: Run, file: str) -> str:
    return storage_key(run, ArtifactType.CHECKPOINT, file)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a checkpoint on a worker's host comes from. ``saved_as``: its path in the checkpoint
    folder; ``layout``: see layouts.py; ``damage``: why it is incomplete, if it is."""

    saved_as: str
    layout: str
    damage: Text = ""

    @property
    def metadata(self) -> dict[str, str]:
        origin = {"saved_as": self.saved_as, "layout": self.layout}
        return {**origin, **damage_metadata(self.damage)}


def sound_copies(run: Run, stored: StoredFile) -> set[str]:
    """The ids of the run's whole checkpoints with the bytes of ``stored``. Reads all their bytes:
    call before the run's row is locked."""
    copies = Artifact.objects.own().checkpoints().filter(run=run, sha256=stored.sha256)
    sound = [artifact for artifact in copies.select_related("run") if artifact.problem() is None]
    for artifact in sound:
        artifact.note_verified()
    return {artifact.pk for artifact in sound}


def record_checkpoint(
    run: Run,
    stored: StoredFile,
    *,
    step: int,
    origin: Origin | None = None,
    sound: Container[str] = (),
) -> Artifact:
    """Make ``stored`` the run's checkpoint of ``step``. Call with the run's row locked.

    Replaces the checkpoint of this step from the same source, except that the bytes of a
    checkpoint in use (tagged, resumed from) never change, nor those of a whole one if these are
    damaged: the new bytes become an additional checkpoint, as do those from another source.
    ``sound``: the ``sound_copies`` of these bytes, which are kept instead of them if they are in
    use.
    """
    with transaction.atomic():
        take_back(run, stored.file)
        is_damaged = origin is not None and bool(origin.damage)
        for artifact in _of_same_origin(run, step, origin):
            same = artifact.sha256 == stored.sha256
            is_worse = is_damaged and not artifact.damage
            # In use: keep the path that its users know. Or these very bytes have been seen whole.
            if same and artifact.pk in sound and (is_worse or artifact.is_in_use()):
                _discard(artifact, stored)
                return artifact
            if same or not (is_worse or artifact.is_in_use()):
                if origin is not None:
                    artifact.metadata = origin.metadata
                artifact.replace_bytes(stored)
                return artifact
        return create_artifact(
            run,
            stored,
            type=ArtifactType.CHECKPOINT,
            name=_name_of(step, origin),
            step=step,
            metadata={} if origin is None else origin.metadata,
        )


def _of_same_origin(run: Run, step: int, origin: Origin | None) -> list[Artifact]:
    """The checkpoints that new bytes of this step may replace, the damaged and the newest first.

    Row locks keep a checkpoint from becoming in use between the check and the write.
    """
    existing = Artifact.objects.own().checkpoints().filter(run=run, step=step)
    if origin is not None:
        has_origin = Q(metadata__has_key="saved_as")
        existing = existing.filter(~has_origin | Q(metadata__saved_as=origin.saved_as))
    locked = existing.select_for_update().order_by("id")
    newest = sorted(locked, key=lambda artifact: artifact.updated_at, reverse=True)
    return sorted(newest, key=lambda artifact: not artifact.damage)


def use_same_bytes(run: Run, stored: StoredFile) -> Artifact | None:
    """The run's checkpoint with the bytes of ``stored``, which are then discarded; None if there is
    none. Of a copy whose step is not known, this is the step. Call with the run's row locked."""
    own = Artifact.objects.own().checkpoints().filter(run=run, sha256=stored.sha256)
    in_order = sorted(own.order_by("step", "id"), key=lambda it: it.file != stored.file)
    same = next((it for it in in_order if not it.damage and it.is_stored()), None)
    if same is not None:
        _discard(same, stored)
    return same


def move_to_step(run: Run, origin: Origin, *, guess: int | None, step: int) -> Artifact | None:
    """Correct the checkpoint from ``origin`` that was taken for that of step ``guess``. Returns
    None, with nothing changed, if it is in use or no more. Call with the run's row locked."""
    taken = Artifact.objects.own().checkpoints().filter(run=run, step=guess)
    artifact = taken.filter(metadata__saved_as=origin.saved_as).select_for_update().last()
    if artifact is None or artifact.is_in_use():
        return None
    artifact.step, artifact.name = step, _name_of(step, origin)
    artifact.metadata = origin.metadata
    artifact.save(update_fields=["step", "name", "metadata", "updated_at"])
    return artifact


def _name_of(step: int, origin: Origin | None) -> Text:
    if origin is None or origin.layout != layouts.MODEL:
        return checkpoint_name(step)
    if origin.saved_as == layouts.ROOT:
        return Message("Final model")
    return Message("Final model %(folder)s", folder=truncate(origin.saved_as, MAX_SHOWN))


def _discard(artifact: Artifact, stored: StoredFile) -> None:
    """Delete ``stored``, a duplicate of the artifact's bytes, on commit."""
    others = Artifact.every.with_bytes().own()
    if not others.filter(run=artifact.run, file=stored.file).exists():
        UnreferencedBlob.objects.release([_key_of(artifact.run, stored.file)])


def put_events(run: Run, content: IO[bytes]) -> StoredFile:
    return put(run, content, type=ArtifactType.EVENT, file="tensorboard")


def record_events(run: Run, stored: StoredFile) -> Artifact:
    return _record(run, stored, type=ArtifactType.EVENT, name=Message("TensorBoard logs"))


@dataclass(frozen=True, slots=True)
class StoredEvaluation:
    """A stored evaluation, and what it tells."""

    file: StoredFile
    evaluation: Evaluation


def store_evaluation(run: Run, content: IO[bytes], *, step: int | None) -> Artifact:
    stored = put_evaluation(run, content)
    with transaction.atomic():
        return record_evaluation(run, stored, step=step)


def put_evaluation(run: Run, content: IO[bytes]) -> StoredEvaluation:
    """``content`` is kept in memory: an executor has read it whole."""
    text = content.read()
    type = ArtifactType.EVALUATION
    stored = put(run, io.BytesIO(text), type=type, file="evaluation.json")
    return StoredEvaluation(stored, read_evaluation(text))


def record_evaluation(run: Run, stored: StoredEvaluation, *, step: int | None) -> Artifact:
    """Call with the run's row locked. ``step``: of the run, unless the evaluation tells another."""
    name = Message("Evaluation results")
    type = ArtifactType.EVALUATION
    artifact = _record(run, stored.file, type=type, name=name, step=step)
    evaluations.index(run, artifact, stored.evaluation)
    return artifact


def store_config(run: Run, content: IO[bytes]) -> Artifact:
    type = ArtifactType.CONFIG
    stored = put(run, content, type=type, file="config.json")
    return _record(run, stored, type=type, name=Message("Configuration file"))


def _record(
    run: Run, stored: StoredFile, *, type: ArtifactType, name: Text, step: int | None = None
) -> Artifact:
    """Create or update the row of a file that its run rewrites under one name."""
    artifact = Artifact.objects.own().filter(run=run, file=stored.file).first()
    if artifact is None:
        return create_artifact(run, stored, type=type, name=name, step=step)
    artifact.step = step
    artifact.replace_bytes(stored)
    return artifact


def create_artifact(
    run: Run,
    stored: StoredFile,
    *,
    type: ArtifactType,
    name: Text,
    step: int | None,
    metadata: dict[str, Any] | None = None,
) -> Artifact:
    return Artifact.objects.create(
        id=new_id(type.id_prefix),
        run=run,
        type=type,
        name=name,
        step=step,
        file=stored.file,
        stored_as=stored.stored_as,
        size_bytes=stored.size_bytes,
        sha256=stored.sha256,
        metadata=metadata or {},
        verified_at=timezone.now(),
    )


def checkpoint_name(step: int | None) -> Text:
    return Message("Checkpoint of step %(step)d", step=step or 0)
