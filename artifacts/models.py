"""What a run leaves behind: checkpoints, event files, evaluation results, its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import IO, TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from accounts.permissions import sees_everything
from artifacts.queries import one_promotion_at_a_time
from artifacts.storage import HashingFile, artifact_storage, sha256_of
from runs.models import Run
from trainhub.choices import ContractChoices
from trainhub.exceptions import InvalidInput
from trainhub.ids import PublicIdField, new_id

if TYPE_CHECKING:
    from django.core.files.base import File


class ArtifactType(models.TextChoices):
    CHECKPOINT = "checkpoint", _("Checkpoint")
    EVENT = "event", _("TensorBoard events")
    EVALUATION = "evaluation", _("Evaluation result")
    CONFIG = "config", _("Configuration")

    @property
    def id_prefix(self) -> str:
        return {"checkpoint": "ckpt", "event": "log", "evaluation": "eval", "config": "conf"}[
            self.value
        ]


class TagValue(ContractChoices):
    CANDIDATE = "候选", _("Candidate")
    RELEASED = "发布", _("Released")
    ARCHIVED = "归档", _("Archived")


FINAL_CHECKPOINT_NAME = "取消前的检查点"  # the contract's name, in every language


class NotACheckpoint(InvalidInput):
    code = "not_a_checkpoint"


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def visible_to(self, user: AbstractBaseUser | AnonymousUser) -> ArtifactQuerySet:
        """What ``user`` may see. Every member sees every artifact until there are teams."""
        return self.all() if sees_everything(user) else self.none()

    def checkpoints(self) -> ArtifactQuerySet:
        return self.filter(type=ArtifactType.CHECKPOINT)

    def kept_at_cancel(self) -> ArtifactQuerySet:
        """The checkpoint that a cancelled run keeps; none if it had none."""
        return self.checkpoints().filter(name=FINAL_CHECKPOINT_NAME)

    def store_checkpoint(self, run: Run, content: IO[bytes], *, step: int, suffix: str) -> Artifact:
        """The state after ``step``; ``suffix`` is the file's ending, e.g. ``.pt``.

        For small content: it is copied here and now. For large one: ``put_checkpoint`` before the
        run's row is locked, ``record_checkpoint`` after.
        """
        stored = put(run, content, type=ArtifactType.CHECKPOINT, file=f"step-{step:08d}{suffix}")
        return self.record_checkpoint(run, stored, step=step)

    def put_checkpoint(
        self, run: Run, content: IO[bytes], *, step: int, version: str, suffix: str
    ) -> StoredFile:
        """Copy the bytes to the storage, under a name of this ``version`` of the step's alone: what
        is recorded of another version stays as it is."""
        file = f"step-{step:08d}-{version}{suffix}"
        return put(run, content, type=ArtifactType.CHECKPOINT, file=file)

    def record_checkpoint(self, run: Run, stored: StoredFile, *, step: int) -> Artifact:
        """Make ``stored`` the run's checkpoint of ``step``. Call with the run's row locked.

        A checkpoint of this step that somebody relies on (a tag, a run resumed from it) never gets
        other bytes: the new ones become a checkpoint beside it. Any other is replaced.
        """
        with transaction.atomic():
            # Locked, so that nobody comes to rely on one between the question and the answer.
            same_step = list(
                self.checkpoints().filter(run=run, step=step).select_for_update().order_by("id")
            )
            for artifact in same_step:
                same = artifact.sha256 == stored.sha256
                if same and artifact.is_relied_on() and artifact.problem() is None:
                    artifact._discard(stored)  # its address stays as its readers know it
                    return artifact
                if same or not artifact.is_relied_on():
                    artifact._replace_bytes(stored)
                    return artifact
            return self._create(
                run, stored, type=ArtifactType.CHECKPOINT, name=f"第 {step} 步检查点", step=step
            )

    def put_events(self, run: Run, content: IO[bytes]) -> StoredFile:
        return put(run, content, type=ArtifactType.EVENT, file="tensorboard")

    def record_events(self, run: Run, stored: StoredFile) -> Artifact:
        return self._record(run, stored, type=ArtifactType.EVENT, name="TensorBoard 日志")

    def store_evaluation(self, run: Run, content: IO[bytes], *, step: int | None) -> Artifact:
        type = ArtifactType.EVALUATION
        stored = put(run, content, type=type, file="evaluation.json")
        return self._record(run, stored, type=type, name="评估结果", step=step)

    def store_config(self, run: Run, content: IO[bytes]) -> Artifact:
        type = ArtifactType.CONFIG
        stored = put(run, content, type=type, file="config.json")
        return self._record(run, stored, type=type, name="配置文件")

    def _record(
        self,
        run: Run,
        stored: StoredFile,
        *,
        type: ArtifactType,
        name: str,
        step: int | None = None,
    ) -> Artifact:
        """The row of a file that its run writes again and again under one name."""
        artifact = self.filter(run=run, file=stored.file).first()
        if artifact is None:
            return self._create(run, stored, type=type, name=name, step=step)
        artifact.step = step
        artifact._replace_bytes(stored)
        return artifact

    def _create(
        self, run: Run, stored: StoredFile, *, type: ArtifactType, name: str, step: int | None
    ) -> Artifact:
        return self.create(
            id=new_id(type.id_prefix),
            run=run,
            type=type,
            name=name,
            step=step,
            file=stored.file,
            size_bytes=stored.size_bytes,
            sha256=stored.sha256,
        )


@dataclass(frozen=True)
class StoredFile:
    """Bytes that are whole in the storage, and perhaps in no row yet."""

    file: str
    size_bytes: int
    sha256: str


def put(run: Run, content: IO[bytes], *, type: ArtifactType, file: str) -> StoredFile:
    """Copy ``content`` to the storage as the run's ``file``, replacing what was there.

    The bytes come first, the row after: it names only bytes that are whole. A crash in between
    leaves bytes without a row, which the next try overwrites.
    """
    source = HashingFile(content)
    artifact_storage().save(storage_key(run, type, file), source)
    return StoredFile(file, source.byte_count, source.sha256)


def storage_key(run: Run, type: ArtifactType, file: str) -> str:
    """Where the bytes lie below the storage's root.

    TensorBoard reads folders: its address ``…/tensorboard`` is one, and the event file lies in it.
    """
    suffix = f"/events.out.tfevents.{run.pk}" if type == ArtifactType.EVENT else ""
    return f"{run.project_id}/{run.pk}/{file}{suffix}"


class Artifact(models.Model):
    id = PublicIdField()
    run = models.ForeignKey(Run, models.CASCADE, related_name="artifacts", verbose_name=_("run"))
    type = models.CharField(_("type"), max_length=16, choices=ArtifactType)
    name = models.CharField(_("name"), max_length=250)
    file = models.CharField(_("file"), max_length=500)
    step = models.BigIntegerField(_("step"), null=True, blank=True)
    size_bytes = models.BigIntegerField(_("size (bytes)"))
    sha256 = models.CharField("SHA-256", max_length=64)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)

    objects = ArtifactQuerySet.as_manager()

    CONTENT_TYPES: ClassVar[dict[str, str]] = {
        ArtifactType.CONFIG: "application/json",
        ArtifactType.EVALUATION: "application/json",
    }

    class Meta:
        verbose_name = _("artifact")
        verbose_name_plural = _("artifacts")
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(name="artifact_run_file", fields=["run", "file"]),
            models.CheckConstraint(
                name="artifact_type_known", condition=models.Q(type__in=ArtifactType.values)
            ),
            models.CheckConstraint(
                name="artifact_size_not_negative", condition=models.Q(size_bytes__gte=0)
            ),
        )
        indexes = (
            # A run's latest checkpoint: resume, cancel, recovery.
            models.Index(
                fields=["run", "-step"],
                name="artifact_checkpoints",
                condition=models.Q(type=ArtifactType.CHECKPOINT),
            ),
            # The admin's list.
            models.Index(fields=["-created_at", "id"], name="artifact_newest_first"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def path(self) -> str:
        """The address the contract shows; the bytes lie where the storage keeps them."""
        bucket = settings.ARTIFACTS_BUCKET
        return f"s3://{bucket}/{self.run.project_id}/{self.run_id}/{self.file}"

    @property
    def storage_key(self) -> str:
        return storage_key(self.run, ArtifactType(self.type), self.file)

    @property
    def file_name(self) -> str:
        return self.storage_key.rpartition("/")[2]

    @property
    def content_type(self) -> str:
        return self.CONTENT_TYPES.get(self.type, "application/octet-stream")

    @property
    def is_checkpoint(self) -> bool:
        return self.type == ArtifactType.CHECKPOINT

    def open(self) -> File[Any]:
        return artifact_storage().open(self.storage_key, "rb")

    def is_relied_on(self) -> bool:
        return self.tags.exists() or self.resumed_runs.exists() or self.model_versions.exists()

    def _replace_bytes(self, stored: StoredFile) -> None:
        """Point to ``stored``; the bytes it pointed to go when that is committed."""
        superseded = None if self.file == stored.file else self.storage_key
        self.file = stored.file
        self.size_bytes = stored.size_bytes
        self.sha256 = stored.sha256
        self.save(update_fields=["file", "step", "size_bytes", "sha256", "updated_at"])
        if superseded is not None:
            transaction.on_commit(partial(artifact_storage().delete, superseded))

    def _discard(self, stored: StoredFile) -> None:
        """Drop ``stored``, bytes that are not needed, when that is committed."""
        if stored.file != self.file:
            key = storage_key(self.run, ArtifactType(self.type), stored.file)
            transaction.on_commit(partial(artifact_storage().delete, key))

    def problem(self) -> str | None:
        """Read the stored bytes again: how they differ from what was recorded, None if not."""
        try:
            sha256, size_bytes = sha256_of(self.storage_key)
        except FileNotFoundError:
            return "the bytes are gone"
        if size_bytes != self.size_bytes:
            return f"{size_bytes} bytes are stored, {self.size_bytes} were recorded"
        return None if sha256 == self.sha256 else "its sha256 is not the recorded one"

    def name_final(self) -> None:
        """Name it as the checkpoint that a cancelled run keeps."""
        self.name = FINAL_CHECKPOINT_NAME
        self.save(update_fields=["name", "updated_at"])

    def tag(self, value: TagValue, *, notes: str, by: User | None) -> ArtifactTag:
        """Mark a checkpoint; the same value again updates notes, time and author."""
        if not self.is_checkpoint:
            raise NotACheckpoint(_t("Only checkpoints can be tagged."))
        with transaction.atomic():
            one_promotion_at_a_time()
            # The bytes that are tagged stay: see record_checkpoint.
            Artifact.objects.select_for_update(no_key=True).get(pk=self.pk)
            tag, _created = ArtifactTag.objects.update_or_create(
                artifact=self,
                value=value,
                defaults={"notes": notes, "applied_by": by, "applied_at": Now()},
            )
            self.model_versions.follow_tag(value)
        tag.refresh_from_db()
        return tag


class ArtifactTag(models.Model):
    artifact = models.ForeignKey(Artifact, models.CASCADE, related_name="tags")
    value = models.CharField(_("tag"), max_length=8, choices=TagValue)
    notes = models.TextField(_("notes"), blank=True, max_length=10_000)
    applied_at = models.DateTimeField(_("applied at"), auto_now_add=True)
    applied_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, verbose_name=_("by")
    )

    class Meta:
        verbose_name = _("artifact tag")
        verbose_name_plural = _("artifact tags")
        ordering = ("applied_at", "id")
        constraints = (
            models.UniqueConstraint(name="artifacttag_once", fields=["artifact", "value"]),
            models.CheckConstraint(
                name="artifacttag_value_known", condition=models.Q(value__in=TagValue.values)
            ),
        )
        indexes = (
            # "Runs with a checkpoint of this tag": the filter of a project's runs.
            models.Index(fields=["value", "artifact"], name="artifacttag_by_value"),
        )

    def __str__(self) -> str:
        return self.value


# Django finds models here alone.
from artifacts import logged_models, registry  # noqa: E402, F401
