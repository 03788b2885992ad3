"""What a run leaves behind: checkpoints, event files, evaluation results, its configuration."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, ClassVar

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser, User
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

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
        return self.all() if user.is_authenticated else self.none()

    def checkpoints(self) -> ArtifactQuerySet:
        return self.filter(type=ArtifactType.CHECKPOINT)

    def kept_at_cancel(self) -> ArtifactQuerySet:
        """The checkpoint that a cancelled run keeps; none if it had none."""
        return self.checkpoints().filter(name=FINAL_CHECKPOINT_NAME)

    def store_checkpoint(self, run: Run, content: IO[bytes], *, step: int, suffix: str) -> Artifact:
        """The state after ``step``; ``suffix`` is the file's ending, e.g. ``.pt``."""
        return self.store(
            run,
            content,
            type=ArtifactType.CHECKPOINT,
            name=f"第 {step} 步检查点",
            file=f"step-{step:08d}{suffix}",
            step=step,
        )

    def store_events(self, run: Run, content: IO[bytes]) -> Artifact:
        return self.store(
            run, content, type=ArtifactType.EVENT, name="TensorBoard 日志", file="tensorboard"
        )

    def store_evaluation(self, run: Run, content: IO[bytes], *, step: int | None) -> Artifact:
        return self.store(
            run,
            content,
            type=ArtifactType.EVALUATION,
            name="评估结果",
            file="evaluation.json",
            step=step,
        )

    def store_config(self, run: Run, content: IO[bytes]) -> Artifact:
        return self.store(
            run, content, type=ArtifactType.CONFIG, name="配置文件", file="config.json"
        )

    def store(
        self,
        run: Run,
        content: IO[bytes],
        *,
        type: ArtifactType,
        name: str,
        file: str,
        step: int | None = None,
    ) -> Artifact:
        """Keep ``content`` as the run's ``file``, replacing what was there; the bytes come first.

        The row names only bytes that are whole in the storage; a crash in between leaves bytes
        without a row, which the next try overwrites.
        """
        source = HashingFile(content)
        artifact_storage().save(storage_key(run, type, file), source)
        artifact, _created = self.update_or_create(
            run=run,
            file=file,
            defaults={
                "name": name,
                "type": type,
                "step": step,
                "size_bytes": source.byte_count,
                "sha256": source.sha256,
                "updated_at": Now(),
            },
            create_defaults={
                "id": new_id(type.id_prefix),
                "name": name,
                "type": type,
                "step": step,
                "size_bytes": source.byte_count,
                "sha256": source.sha256,
            },
        )
        return artifact


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
            tag, _created = ArtifactTag.objects.update_or_create(
                artifact=self,
                value=value,
                defaults={"notes": notes, "applied_by": by, "applied_at": Now()},
            )
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
