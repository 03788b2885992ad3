"""The artifacts of a run: checkpoints, event files, evaluation results, its configuration, and any
file its script logs; and the tags of checkpoints.

TrainHub's own artifacts (checkpoints ingested by an executor, config.json, tensorboard,
evaluation.json) are stored under their names. An uploaded file (uploads.py) has a path chosen by
the client, but its bytes are stored under a unique key. An uploaded file and one of TrainHub's own
can therefore have the same path without conflict: they are separate artifacts. Which of them the
path names: see same_path.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast

from django.conf import settings
from django.contrib.auth.models import User
from django.core.files.base import File
from django.db import models, transaction
from django.db.models.functions import Now
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from artifacts import layouts
from artifacts.blobs import StoredFile, events_file, root_uri, storage_key
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.direct_uploads import DirectUpload as DirectUpload
from artifacts.kinds import ArtifactType, TagValue
from artifacts.queries import lock_promotions
from artifacts.signals import checkpoint_changed, checkpoint_tagged, checkpoint_tagging
from artifacts.storage import artifact_storage, open_range, sha256_of
from artifacts.storage_quotas import StorageQuota as StorageQuota
from artifacts.unreferenced_blobs import UnreferencedBlob
from core.exceptions import DomainError, InvalidInput
from core.ids import PublicIdField
from core.json_field import JSONField
from core.message_field import MessageField
from core.messages import Message, Text, dumps, loads
from core.text import MAX_KEY_LENGTH
from projects.access import require_of
from projects.models import Project
from runs.checkpoint import CheckpointGone
from runs.models import Run

# In Chinese, the name that the contract gives it.
FINAL_CHECKPOINT_NAME = Message("Checkpoint before the cancellation")


def damage_metadata(damage: Text) -> dict[str, str]:
    """The entry of an artifact's metadata that says why it is incomplete, if it is."""
    return {"damage": dumps(damage)} if damage else {}


def damage_of(metadata: dict[str, Any]) -> Text:
    """What ``damage_metadata`` has noted; empty if nothing."""
    return loads(metadata.get("damage", ""))


def ignored_metadata(reason: Text) -> dict[str, str]:
    """The entry of an evaluation's metadata that says what of it is ignored, if anything is."""
    return {"ignored": dumps(reason)} if reason else {}


class NotACheckpoint(InvalidInput):
    code = "not_a_checkpoint"


class DamagedCheckpoint(InvalidInput):
    code = "damaged_checkpoint"


class PathTaken(DomainError):
    """A path cannot be both a file and a folder."""

    code = "path_taken"


class InUse(DomainError):
    """The bytes are in use: by a tag, a run resumed from them, or a registered version."""

    code = "artifact_in_use"


class ArtifactQuerySet(models.QuerySet["Artifact"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> ArtifactQuerySet:
        """The artifacts of the runs that ``user`` may see."""
        if sees_everything(user, role=role):
            return self.all()
        if script_run_of(user):
            return self.filter(run__in=Run.objects.visible_to(user, role=role))
        return self.filter(run__project__in=Project.objects.visible_to(user, role=role))

    def checkpoints(self) -> ArtifactQuerySet:
        return self.filter(type=ArtifactType.CHECKPOINT)

    def checkpoints_of(self, run: Run) -> ArtifactQuerySet:
        """The run's checkpoints that it can be resumed from, the best one first."""
        return self.filter(run=run).resumable().latest_first()

    def resumable(self) -> ArtifactQuerySet:
        """Checkpoints that are not damaged, and have the state of the training."""
        complete = self.checkpoints().exclude(metadata__has_key="damage")
        return complete.exclude(metadata__contains={"layout": layouts.MODEL})

    def with_bytes(self) -> ArtifactQuerySet:
        """Without the checkpoints whose bytes have been deleted. Of ``every``."""
        return self.filter(models.Q(deletion=None) | models.Q(deletion__purged_at=None))

    def removed(self) -> ArtifactQuerySet:
        """In the trash, or deleted from there. Of ``every``."""
        return self.exclude(deletion=None)

    def own(self) -> ArtifactQuerySet:
        """Artifacts created by TrainHub itself."""
        return self.filter(stored_as="")

    def uploaded(self) -> ArtifactQuerySet:
        """Files uploaded by clients."""
        return self.exclude(stored_as="")

    def below(self, folder: str) -> ArtifactQuerySet:
        """Files in ``folder`` at any depth; an empty ``folder`` is the run's root."""
        return self.filter(file__startswith=f"{folder}/") if folder else self.all()

    def in_use(self) -> ArtifactQuerySet:
        """Artifacts that another row refers to: a tag, a resumed run or a registered version.

        If the result must stay valid, lock the rows in an earlier statement: a single statement
        that waits for a lock does not see the tag it waited for.
        """
        is_used = models.Q(models.Exists(Run.objects.filter(resumed_from_id=models.OuterRef("pk"))))
        for relation in self.model._meta.related_objects:
            rows = relation.related_model._base_manager.filter(
                **{relation.field.name: models.OuterRef("pk")}
            )
            is_used |= models.Q(models.Exists(rows))
        return self.filter(is_used)

    def latest_first(self, *of_each: str) -> ArtifactQuerySet:
        """In order of preference for resuming: checkpoints ingested by the executor before those
        uploaded by the script (which may lack the optimizer state), then the latest step first.
        ``of_each``: columns by which they are ordered before."""
        is_uploaded = models.Case(models.When(stored_as="", then=0), default=1)
        return self.order_by(*of_each, is_uploaded, "-step", "-updated_at")

    def for_display(self) -> ArtifactQuerySet:
        """In the display order of pages: latest step first; files, possibly thousands, last."""
        is_file = models.Case(models.When(type=ArtifactType.FILE, then=1), default=0)
        step = models.F("step").desc(nulls_last=True)
        return self.order_by(is_file, step, "-created_at", "id").prefetch_related(
            "tags__applied_by"
        )

    def kept_at_cancel(self) -> ArtifactQuerySet:
        """The checkpoint kept when the run was cancelled; empty if it had none."""
        return self.checkpoints().filter(name=FINAL_CHECKPOINT_NAME)


_ArtifactManager = models.Manager.from_queryset(ArtifactQuerySet)


class KeptArtifacts(_ArtifactManager["Artifact"]):
    def get_queryset(self) -> ArtifactQuerySet:
        return cast(ArtifactQuerySet, super().get_queryset().filter(deletion=None))


class Artifact(models.Model):
    id = PublicIdField()
    run = models.ForeignKey(Run, models.CASCADE, related_name="artifacts", verbose_name=_("run"))
    type = models.CharField(_("type"), max_length=16, choices=ArtifactType)
    name = MessageField(_("name"))
    # The name of one of TrainHub's own files, or the path of an uploaded file within the run.
    # The "C" collation lets the index also serve prefix searches for the files of a folder.
    file = models.CharField(_("file"), max_length=500, db_collation="C")
    # The storage key of an uploaded file below the run's folder; empty for TrainHub's own.
    stored_as = models.CharField(max_length=64, blank=True, editable=False)
    step = models.BigIntegerField(_("step"), null=True, blank=True)
    # The annotations that a logger wrote next to a checkpoint: see annotations.py.
    metadata = JSONField(_("metadata"), default=dict, blank=True, editable=False)
    size_bytes = models.BigIntegerField(_("size (bytes)"))
    sha256 = models.CharField("SHA-256", max_length=64)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True)
    # When its bytes were last hashed: as they were stored, or read again to resume from them. None
    # of those stored by an earlier version.
    verified_at = models.DateTimeField(_("verified at"), null=True, editable=False)
    # Set of a removed checkpoint and its files: see trash.py. Once its bytes are deleted, the row
    # stays for what refers to it: what evaluations told of it, and which runs made them.
    deletion = models.ForeignKey(
        CheckpointDeletion,
        models.CASCADE,
        null=True,
        editable=False,
        related_name="+",
        db_index=False,
    )

    # What is removed is nowhere but in the trash. First, so that ``run.artifacts`` is like it.
    objects = KeptArtifacts()
    every = ArtifactQuerySet.as_manager()

    CONTENT_TYPES: ClassVar[dict[str, str]] = {
        ArtifactType.CONFIG: "application/json",
        ArtifactType.EVALUATION: "application/json",
    }

    class Meta:
        verbose_name = _("artifact")
        verbose_name_plural = _("artifacts")
        ordering = ("created_at", "id")
        constraints = (
            models.UniqueConstraint(
                name="artifact_run_file",
                fields=["run", "file"],
                condition=models.Q(stored_as=""),
            ),
            models.UniqueConstraint(
                name="artifact_run_upload",
                fields=["run", "file"],
                condition=~models.Q(stored_as="") & models.Q(deletion=None),
            ),
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
            # The checkpoints of a project, newest first: run by run, from the index alone.
            models.Index(
                fields=["run", "-created_at", "id"],
                name="artifact_checkpoints_by_age",
                condition=models.Q(type=ArtifactType.CHECKPOINT, deletion=None),
            ),
            # The files of a removed checkpoint.
            models.Index(
                fields=["deletion"],
                name="artifact_of_deletion",
                condition=models.Q(deletion__isnull=False),
            ),
            # The admin's list.
            models.Index(fields=["-created_at", "id"], name="artifact_newest_first"),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def path(self) -> str:
        """The URI defined by the contract; unrelated to where the storage keeps the bytes."""
        file = f"files/{self.file}" if self.is_uploaded else self.file
        return f"{root_uri(self.run)}/{file}"

    @property
    def storage_key(self) -> str:
        return storage_key(self.run, ArtifactType(self.type), self.file, self.stored_as)

    @property
    def tree_path(self) -> str:
        """The path in the run's file tree, as listed to clients."""
        is_folder = self.type == ArtifactType.EVENT and not self.is_uploaded
        return f"{self.file}/{events_file(self.run_id)}" if is_folder else self.file

    @property
    def file_name(self) -> str:
        return self.tree_path.rpartition("/")[2]

    @property
    def is_uploaded(self) -> bool:
        return self.stored_as != ""

    @property
    def folder(self) -> str:
        """The folder of a checkpoint that is a whole folder of uploaded files; otherwise empty."""
        return self._place[0]

    @property
    def layout(self) -> str:
        """The name of a checkpoint's layout (see layouts.py), if it is known; otherwise empty."""
        folder, layout = self._place
        if folder:
            return "" if layout is None else layout.name
        name: str = self.metadata.get("layout", "")
        return name

    @property
    def _place(self) -> tuple[str, layouts.Layout | None]:
        is_uploaded = self.is_checkpoint and self.is_uploaded
        return layouts.checkpoint_folder(self.file) if is_uploaded else ("", None)

    @property
    def damage(self) -> Text:
        """Why a checkpoint is incomplete, as far as that is known without reading all of it; empty
        if it is not."""
        return damage_of(self.metadata)

    @property
    def ignored(self) -> Text:
        """What of an evaluation's numbers is ignored, and why; empty if nothing is."""
        return loads(self.metadata.get("ignored", ""))

    @property
    def is_damaged_in_storage(self) -> bool:
        """Whether the damage is that its bytes are not those that were stored."""
        return bool(self.metadata.get("damaged_in_storage"))

    def set_damage(self, damage: Text, *, in_storage: bool = False) -> None:
        """Does not save. ``in_storage``: see is_damaged_in_storage."""
        kept = {
            key: value
            for key, value in self.metadata.items()
            if key not in {"damage", "damaged_in_storage"}
        }
        if damage and in_storage:
            kept["damaged_in_storage"] = True
        self.metadata = {**kept, **damage_metadata(damage)}

    def parts(self) -> Iterable[Artifact]:
        """All files of a checkpoint that is a folder; otherwise only this file."""
        if not self.folder:
            return [self]
        artifacts = Artifact.objects.filter(run=self.run_id).select_related("run")
        return artifacts.uploaded().below(self.folder).order_by("file")

    @property
    def content_type(self) -> str:
        return self.CONTENT_TYPES.get(self.type, "application/octet-stream")

    @property
    def is_checkpoint(self) -> bool:
        return self.type == ArtifactType.CHECKPOINT

    def open(self, first: int = 0, end: int | None = None) -> File[Any]:
        """The bytes from ``first`` to before ``end`` or somewhat further, to be read once. Raises
        FileNotFoundError."""
        return open_range(self.storage_key, first, end)

    def is_stored(self) -> bool:
        return artifact_storage().exists(self.storage_key)

    def is_in_use(self) -> bool:
        return Artifact.objects.filter(pk=self.pk).in_use().exists()

    def replace_bytes(self, stored: StoredFile) -> None:
        """Save the artifact with the bytes ``stored``; the old bytes are deleted on commit."""
        superseded = self.storage_key
        is_other = self.sha256 != stored.sha256
        self.file = stored.file
        self.stored_as = stored.stored_as
        self.size_bytes = stored.size_bytes
        self.sha256 = stored.sha256
        self.verified_at = timezone.now()
        self.save(
            update_fields=[
                "name",
                "metadata",
                "file",
                "stored_as",
                "step",
                "size_bytes",
                "sha256",
                "updated_at",
                "verified_at",
            ]
        )
        if superseded != self.storage_key:
            UnreferencedBlob.objects.release([superseded])
        if is_other and self.is_checkpoint:
            checkpoint_changed.send(Artifact, artifact=self)

    def problem(self) -> Text | None:
        """Why the checkpoint is damaged: it was stored as such, or its bytes differ from the
        recorded size and sha256. None if it is sound. Reads all bytes."""
        if self.damage:
            return self.damage
        for part in self.parts():
            problem = part.storage_problem()
            if problem is not None:
                return problem
        return None

    def note_verified(self) -> None:
        """``problem`` has found nothing."""
        self.verified_at = timezone.now()
        Artifact.objects.filter(pk=self.pk).update(verified_at=self.verified_at)

    def storage_problem(self) -> Text | None:
        """How this file differs from what was stored; None if it does not. Reads all its bytes."""
        try:
            sha256, size_bytes = sha256_of(self.storage_key)
        except FileNotFoundError:
            return Message("its bytes are missing")
        if size_bytes != self.size_bytes:
            return Message(
                "%(stored)d bytes are stored, %(recorded)d were recorded",
                stored=size_bytes,
                recorded=self.size_bytes,
            )
        if sha256 != self.sha256:
            return Message("its sha256 is not the recorded one")
        return None

    def lock(self) -> None:
        """Lock the row until the transaction ends. Raises CheckpointGone."""
        if not Artifact.objects.select_for_update(no_key=True).filter(pk=self.pk).exists():
            raise CheckpointGone(Message("%(id)s has been deleted.", id=self.pk))

    def name_final(self) -> None:
        """Set the name that marks the checkpoint kept by a cancelled run."""
        self.name = FINAL_CHECKPOINT_NAME
        self.save(update_fields=["name", "updated_at"])

    def tag(
        self, value: TagValue, *, notes: str, by: User | None, approval: object = None
    ) -> ArtifactTag:
        """Tag a checkpoint. Setting the same value again updates its notes, time and author.

        Members propose candidates, but not in place of a release; maintainers release and archive.
        ``approval``: for the receivers of checkpoint_tagging, which may raise further errors.

        Raises NotACheckpoint, DamagedCheckpoint, CheckpointGone, RoleNeeded.
        """
        if not self.is_checkpoint:
            raise NotACheckpoint(Message("Only checkpoints can be tagged."))
        needed = Role.MEMBER if value is TagValue.CANDIDATE else Role.MAINTAINER
        require_of(by, self.run.project_id, needed)
        with transaction.atomic():
            lock_promotions()
            # Keeps the tagged bytes from being replaced: see record_checkpoint.
            self.lock()
            self.refresh_from_db(fields=["metadata"])
            if self.damage:
                raise DamagedCheckpoint(
                    Message(
                        "Checkpoint %(id)s is damaged and cannot be tagged: %(damage)s.",
                        id=self.pk,
                        damage=self.damage,
                    )
                )
            checkpoint_tagging.send(Artifact, artifact=self, value=value, by=by, approval=approval)
            tag, _created = ArtifactTag.objects.update_or_create(
                artifact=self,
                value=value,
                defaults={"notes": notes, "applied_by": by, "applied_at": Now()},
            )
            checkpoint_tagged.send(Artifact, artifact=self, value=value, by=by)
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
            # Filters a project's runs by the tags of their checkpoints.
            models.Index(fields=["value", "artifact"], name="artifacttag_by_value"),
        )

    def __str__(self) -> str:
        return self.get_value_display()


class EvaluationResult(models.Model):
    """A number of an evaluation: see evaluations.py. ``run`` and ``step``: what was evaluated.

    ``value`` is finite.
    """

    id = models.BigAutoField(primary_key=True)
    # Those of its run, so that a leaderboard reads this table alone. No indexes of their own: the
    # two below begin with them.
    project = models.ForeignKey(
        "projects.Project", models.CASCADE, related_name="+", db_index=False
    )
    run = models.ForeignKey(Run, models.CASCADE, related_name="+", db_index=False)
    # The file; None of a metric that an evaluation run has logged. No reverse relation: what a file
    # tells does not keep it (ArtifactQuerySet.in_use).
    artifact = models.ForeignKey(
        Artifact, models.CASCADE, null=True, related_name="+", db_index=False
    )
    # What a run of its own, ``evaluated_by``, has evaluated: see evaluation_runs.py. Both None of
    # what the run tells of itself: that belongs to its newest checkpoint up to ``step``.
    checkpoint = models.ForeignKey(
        Artifact, models.CASCADE, null=True, related_name="+", db_index=False
    )
    evaluated_by = models.ForeignKey(
        Run, models.CASCADE, null=True, related_name="+", db_index=False
    )
    step = models.BigIntegerField(_("step"))
    key = models.CharField(_("key"), max_length=MAX_KEY_LENGTH, db_collation="C")
    value = models.FloatField(_("value"))
    # When the file told it. None of those read by an earlier version.
    created_at = models.DateTimeField(_("created at"), null=True, editable=False)

    class Meta:
        verbose_name = _("evaluation result")
        verbose_name_plural = _("evaluation results")
        constraints = (
            models.UniqueConstraint(
                name="evaluationresult_once", fields=["artifact", "step", "key"]
            ),
            models.UniqueConstraint(
                name="evaluationresult_metric_once",
                fields=["evaluated_by", "key"],
                condition=models.Q(artifact=None),
            ),
            models.CheckConstraint(
                name="evaluationresult_has_source",
                condition=models.Q(artifact__isnull=False) | models.Q(evaluated_by__isnull=False),
            ),
            models.CheckConstraint(
                name="evaluationresult_of_evaluation",
                condition=models.Q(checkpoint=None, evaluated_by=None)
                | models.Q(checkpoint__isnull=False, evaluated_by__isnull=False),
            ),
        )
        indexes = (
            # The results of a checkpoint: those of its run's steps up to the next one.
            models.Index(fields=["run", "step"], name="evaluationresult_of_run"),
            # Deletion of what it refers to.
            models.Index(
                fields=["checkpoint"],
                name="evaluationresult_of_checkpoint",
                condition=models.Q(checkpoint__isnull=False),
            ),
            models.Index(
                fields=["evaluated_by"],
                name="evaluationresult_by_run",
                condition=models.Q(evaluated_by__isnull=False),
            ),
            # Leaderboards, in their order; and which keys a project has.
            models.Index(fields=["project", "key", "value"], name="evaluationresult_ranked"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.step} {self.key}: {self.value}"
