"""Rows of uploaded files: creation, replacement, renaming and deletion by path."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.http import Http404

from artifacts import harness_results, layouts, upload_proofs
from artifacts.blobs import StoredFile
from artifacts.kinds import ArtifactType
from artifacts.layouts import step_of
from artifacts.models import Artifact, ArtifactQuerySet, InUse, PathTaken, damage_metadata
from artifacts.paths import folders_of, renamed_path
from artifacts.released import released
from artifacts.same_path import check_own
from artifacts.signals import checkpoint_renewed, files_changing
from artifacts.storing import checkpoint_name, create_artifact
from artifacts.unreferenced_blobs import UnreferencedBlob
from artifacts.upload_proofs import Examined
from core.messages import Message
from runs.models import Run

MLFLOW_MODEL: Final = "MLmodel"  # the file at the root of each of them


def lock_run(run: Run) -> Run:
    """Reload ``run`` and lock its row until the transaction ends. Raises Http404."""
    try:
        return Run.objects.lock(run.pk)
    except Run.DoesNotExist:  # deleted in the meantime
        raise Http404 from None


def uploaded_files(run: Run) -> ArtifactQuerySet:
    return Artifact.objects.filter(run=run).uploaded()


def check_path(run: Run, path: str) -> None:
    """Raises PathTaken if ``path`` is a folder, or has an uploaded file as a parent."""
    uploaded = uploaded_files(run)
    file = uploaded.filter(file__in=folders_of(path)).first()
    if file is not None:
        raise PathTaken(Message("%(file)s is a file, not a folder.", file=file.file))
    if uploaded.below(path).exists():
        raise PathTaken(Message("%(path)s is a folder.", path=path))


def record_upload(
    run: Run,
    stored: StoredFile,
    examined: Examined,
    *,
    type: ArtifactType | None,
    step: int | None,
) -> tuple[Artifact, bool]:
    """Make ``stored`` the run's file at its path. Returns the artifact and whether the path is new.

    ``examined``: what it tells, if it is part of a checkpoint. The bytes of a checkpoint in use
    never change: a single file is renamed (``last.ckpt`` → ``last@….ckpt``), as is a whole one if a
    damaged one comes in its place; a folder raises InUse, as does a new file in that of a release,
    or in the MLflow model around it. At the path of TrainHub's own checkpoint in use, the same
    bytes are that checkpoint, and others raise PathTaken. Call in a transaction with the run's row
    locked. Raises PathTaken, InUse.
    """
    check_path(run, stored.file)
    damage = examined.damage
    before = uploaded_files(run).filter(file=stored.file).select_for_update().first()
    if before is None or before.sha256 != stored.sha256:
        own = check_own(run, stored.file, stored.sha256)
        if own is not None:
            return own, False
        check_releases(run, stored.file)
    if type is None:
        type = _recognized(run, stored.file) if before is None else ArtifactType(before.type)
    if before is not None and before.sha256 != stored.sha256:
        _check_folder(run, stored.file)
    is_worse = bool(damage) and before is not None and _is_whole_file(before)
    if before is not None and (is_worse or before.is_in_use()):
        if before.sha256 == stored.sha256:
            return before, False
        _rename(before)
        checkpoint_renewed.send(Artifact, artifact=before, run=run)
        before = None
    if type == ArtifactType.CHECKPOINT and step is None:
        steps = (examined.step, step_of(stored.file), run.step)
        step = next(it for it in steps if it is not None)
    name = checkpoint_name(step) if type == ArtifactType.CHECKPOINT else stored.name
    if before is not None and before.type == type:
        before.name, before.step = name, step
        is_other = before.sha256 != stored.sha256
        is_mended = (
            is_other and bool(before.damage) and upload_proofs.RENEWAL not in before.metadata
        )
        if is_other:  # it described the old bytes
            before.metadata = {
                key: it for key, it in before.metadata.items() if key == upload_proofs.RENEWAL
            }
        before.set_damage(damage)
        before.replace_bytes(stored)
        _judge_folder(run, before, is_again=not is_mended, is_changed=is_other and not is_mended)
        return before, False
    if before is not None:  # the id's prefix is the type, so a new type needs a new artifact
        discard(Artifact.objects.filter(pk=before.pk))
    metadata = damage_metadata(damage)
    created = create_artifact(run, stored, type=type, name=name, step=step, metadata=metadata)
    if created.folder:
        _take_over_parts(run, created)
    _judge_folder(run, created, is_new=before is None)
    return created, before is None


def _is_whole_file(artifact: Artifact) -> bool:
    return artifact.is_checkpoint and not artifact.folder and not artifact.damage


def _judge_folder(
    run: Run,
    file: Artifact,
    *,
    is_new: bool = False,
    is_again: bool = False,
    is_changed: bool = False,
) -> None:
    """Find out whether the checkpoint folder that ``file`` is in, if any, is whole with it.

    ``is_again``: it was whole, and came again; ``is_changed``: with other bytes.
    """
    checkpoint = file if file.folder else checkpoint_around(run, file.file)
    if checkpoint is None:
        if is_changed and file.is_checkpoint:
            checkpoint_renewed.send(Artifact, artifact=file, run=run)
        return
    if is_again and upload_proofs.note_part(checkpoint, file, is_changed=is_changed):
        checkpoint_renewed.send(Artifact, artifact=checkpoint, run=run)
    is_telling = checkpoint is file or not is_new or bool(file.damage)
    upload_proofs.judge(run, checkpoint, because_of="" if is_telling else file.file)


def _recognized(run: Run, path: str) -> ArtifactType:
    """One file represents the checkpoint of a folder: the first that can."""
    if harness_results.is_named_so(path):
        return ArtifactType.EVALUATION
    is_checkpoint = layouts.is_checkpoint(path) and checkpoint_around(run, path) is None
    return ArtifactType.CHECKPOINT if is_checkpoint else ArtifactType.FILE


def checkpoint_around(run: Run, path: str) -> Artifact | None:
    """The checkpoint that is a folder around ``path``; the innermost one."""
    for folder in reversed(folders_of(path)):
        for checkpoint in uploaded_files(run).checkpoints().below(folder):
            if checkpoint.folder == folder:
                return checkpoint
    return None


def _take_over_parts(run: Run, checkpoint: Artifact) -> None:
    """What was taken for checkpoints of their own is part of ``checkpoint``, whose folder has shown
    itself to be one. Those in use stay as they are."""
    inside = uploaded_files(run).checkpoints().below(checkpoint.folder).exclude(pk=checkpoint.pk)
    for part in inside.select_for_update().order_by("id"):
        if part.folder or part.is_in_use():
            continue
        stored = StoredFile(part.file, part.size_bytes, part.sha256, part.stored_as)
        metadata = damage_metadata(part.damage)
        Artifact.objects.filter(pk=part.pk).delete()
        create_artifact(
            run, stored, type=ArtifactType.FILE, name=stored.name, step=None, metadata=metadata
        )


def _checkpoints_of_folder(run: Run, path: str) -> ArtifactQuerySet:
    """The checkpoint of the folder that ``path`` is in; empty if that is no checkpoint folder."""
    checkpoint = checkpoint_around(run, path)
    folder = layouts.folder_of(path)[0] if checkpoint is None else checkpoint.folder
    if not folder:
        return Artifact.objects.none()
    return uploaded_files(run).checkpoints().below(folder)


def _check_folder(run: Run, path: str) -> None:
    """Raises InUse if ``path`` is in the folder of a checkpoint in use."""
    lock_unused(_checkpoints_of_folder(run, path))


def check_releases(run: Run, path: str) -> None:
    """Raises InUse if a file at ``path`` is, or were, part of a release: nobody has approved what
    else it becomes. Call with the run's row locked."""
    files_changing.send(Artifact, run=run, path=path)
    around, _slash, name = path.rpartition("/")
    for checkpoint in released().filter(run=run).uploaded():
        folder = _folder_of_release(run, checkpoint)
        if folder and path.startswith(f"{folder}/"):
            raise in_use_error(checkpoint)
        # It would make a model of the folders in between.
        if name == MLFLOW_MODEL and (not around or checkpoint.file.startswith(f"{around}/")):
            raise in_use_error(checkpoint)


def _folder_of_release(run: Run, checkpoint: Artifact) -> str:
    """That of the MLflow model around it, whose other files say how it is loaded, or its own; empty
    of a single file."""
    marks = [f"{folder}/{MLFLOW_MODEL}" for folder in folders_of(checkpoint.file)]
    found = uploaded_files(run).filter(file__in=marks).values_list("file", flat=True)
    outermost = min(found, key=len, default=None)
    return checkpoint.folder if outermost is None else outermost.removesuffix(f"/{MLFLOW_MODEL}")


def _rename(artifact: Artifact) -> None:
    """Free its path for another file; id, bytes and tags do not change. Raises InUse."""
    path = renamed_path(artifact.file, artifact.pk.rpartition("_")[2])
    if path is None:
        raise in_use_error(artifact)
    artifact.file = path
    artifact.save(update_fields=["file", "updated_at"])


def in_use_error(artifact: Artifact) -> InUse:
    return InUse(
        Message(
            "Checkpoint %(id)s is in use: its files cannot be changed or deleted.", id=artifact.pk
        )
    )


def lock_unused(checkpoints: ArtifactQuerySet) -> None:
    """Lock these rows, so that none becomes in use before the transaction ends.

    Raises InUse if one already is.
    """
    keys = list(checkpoints.select_for_update().order_by("id").values_list("pk", flat=True))
    used = Artifact.objects.filter(pk__in=keys).in_use().order_by("id").first()
    if used is not None:
        raise in_use_error(used)


def discard(uploaded: ArtifactQuerySet) -> int:
    """Delete these rows, and their bytes on commit. Returns the number of rows.

    Call in a transaction.
    """
    artifacts = list(uploaded.select_related("run").select_for_update(of=("self",)))
    keys = [artifact.storage_key for artifact in artifacts]
    UnreferencedBlob.objects.release(keys)
    Artifact.objects.filter(pk__in=[artifact.pk for artifact in artifacts]).delete()
    return len(artifacts)


# --- annotations of checkpoints --------------------------------------------------------------


def annotate_checkpoint(run: Run, file: Artifact, annotation: dict[str, Any]) -> None:
    """Store ``annotation``, read from ``file``, on the checkpoint in the same folder. Does nothing
    unless the folder contains exactly one checkpoint.

    Call in a transaction with the run's row locked.
    """
    folder = file.file.rpartition("/")[0]
    checkpoints = list(uploaded_files(run).checkpoints().select_for_update().order_by("id"))
    in_folder = [item for item in checkpoints if item.file.rpartition("/")[0] == folder]
    if len(in_folder) != 1:
        return
    for checkpoint in checkpoints:
        _remove_aliases(checkpoint, annotation.get("aliases", ()))
    _annotate(in_folder[0], annotation)


def _remove_aliases(checkpoint: Artifact, aliases: Iterable[str]) -> None:
    """Remove aliases that now belong to another checkpoint."""
    before = checkpoint.metadata.get("aliases", [])
    kept = [alias for alias in before if alias not in aliases]
    if kept != before:
        checkpoint.metadata = {**checkpoint.metadata, "aliases": kept}
        checkpoint.save(update_fields=["metadata", "updated_at"])


def _annotate(checkpoint: Artifact, annotation: dict[str, Any]) -> None:
    step = annotation.get("step")
    if step is not None and step_of(checkpoint.file) is None:
        checkpoint.step = step
        checkpoint.name = checkpoint_name(step)
    metadata = {key: value for key, value in annotation.items() if key != "step"}
    checkpoint.metadata = {**checkpoint.metadata, **metadata}
    checkpoint.save(update_fields=["name", "step", "metadata", "updated_at"])
