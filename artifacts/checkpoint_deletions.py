"""What is on record of each checkpoint that was removed: what it was, why, and how far it got.

A record goes from the trash either back (``restored_at``), or to the deletion of its bytes
(``purged_at``), which ends when the storage has deleted each of its files (``deleted_at``). A
person may ask for that deletion at once (``purge_requested_at``): then it is not restored.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.ids import MAX_LENGTH, PublicIdField
from core.message_field import MessageField
from core.text import MAX_NAME_LENGTH
from projects.models import Project
from runs.models import Run


class DeletionState(models.TextChoices):
    TRASHED = "trashed", _("In the trash")
    RESTORED = "restored", _("Restored")
    PURGING = "purging", _("Being deleted")
    DELETED = "deleted", _("Deleted")


class CheckpointDeletionQuerySet(models.QuerySet["CheckpointDeletion"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> CheckpointDeletionQuerySet:
        """Those of projects that ``user`` sees; scripts see none."""
        if sees_everything(user, role=role):
            return self.all()
        if script_run_of(user):
            return self.none()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))

    def not_purged(self) -> CheckpointDeletionQuerySet:
        """Those whose bytes are stored, and that may have to be deleted."""
        return self.filter(restored_at=None, purged_at=None)

    def in_trash(self) -> CheckpointDeletionQuerySet:
        """Those that can be restored."""
        return self.not_purged().filter(purge_requested_at=None)

    def due(self) -> CheckpointDeletionQuerySet:
        """Those to be deleted at once, then those that have been in the trash for long enough: each
        the oldest first."""
        before = Now() - timedelta(days=settings.CHECKPOINT_TRASH_DAYS)
        is_due = models.Q(purge_requested_at__isnull=False) | models.Q(trashed_at__lte=before)
        requested_first = models.F("purge_requested_at").asc(nulls_last=True)
        return self.not_purged().filter(is_due).order_by(requested_first, "trashed_at", "id")

    def in_state(self, state: DeletionState) -> CheckpointDeletionQuerySet:
        if state is DeletionState.TRASHED:
            return self.in_trash()
        if state is DeletionState.RESTORED:
            return self.exclude(restored_at=None)
        if state is DeletionState.DELETED:
            return self.exclude(deleted_at=None)
        is_purging = models.Q(purge_requested_at__isnull=False) | models.Q(purged_at__isnull=False)
        return self.filter(is_purging, restored_at=None, deleted_at=None)

    def request_purge(self, by: User | None) -> int:
        """Have the bytes of those in the trash deleted without waiting; return how many they are.
        What is restored or purged at the same time is not among them."""
        return self.in_trash().update(
            purge_requested_at=Now(), purged_by_name="" if by is None else by.get_username()
        )

    def taken_back(self, project_id: str) -> set[str]:
        """The ids of checkpoints that people have restored: a policy does not undo that. What a
        training has written again is not among them."""
        restored = self.filter(project=project_id, restored_at__isnull=False)
        by_people = restored.exclude(restored_by_name="")
        return set(by_people.values_list("checkpoint_key", flat=True))

    def note_deleted_file(self, pk: str) -> None:
        """The storage has deleted one file. Call in the transaction that forgets its key, so that
        a file is counted once."""
        count = models.F("deleted_files") + 1
        self.filter(pk=pk).update(
            deleted_files=count,
            deleted_at=models.Case(
                models.When(deleted_files__gte=models.F("file_count") - 1, then=Now()),
                default=models.F("deleted_at"),
            ),
        )


class CheckpointDeletion(models.Model):
    id = PublicIdField(prefix="del")
    project = models.ForeignKey(Project, models.CASCADE, related_name="+", db_index=False)
    run = models.ForeignKey(Run, models.CASCADE, related_name="+", verbose_name=_("run"))
    run_name = models.CharField(_("run"), max_length=MAX_NAME_LENGTH)
    checkpoint_key = models.CharField(max_length=MAX_LENGTH)  # its id
    name = MessageField(_("name"))
    file = models.CharField(_("file"), max_length=500)
    step = models.BigIntegerField(_("step"), null=True)
    file_count = models.PositiveIntegerField(_("files"))
    size_bytes = models.BigIntegerField(_("size (bytes)"))  # of all its files
    sha256 = models.CharField("SHA-256", max_length=64)  # of ``file``
    digest = models.CharField(max_length=64)  # of all its files: see digests.py
    reason = MessageField(_("reason"))
    by_policy = models.BooleanField(_("by policy"), default=False)
    # Names as they were: an account may be deleted, what it did stays on record.
    deleted_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    deleted_by_name = models.CharField(_("by"), max_length=150, blank=True)
    trashed_at = models.DateTimeField(_("moved to the trash at"), db_default=Now())
    restored_at = models.DateTimeField(_("restored at"), null=True)
    restored_by_name = models.CharField(_("restored by"), max_length=150, blank=True)
    # Who had it deleted without waiting until its time is over.
    purge_requested_at = models.DateTimeField(_("deletion requested at"), null=True)
    purged_by_name = models.CharField(_("deleted for good by"), max_length=150, blank=True)
    purged_at = models.DateTimeField(_("purged at"), null=True)
    deleted_files = models.PositiveIntegerField(_("deleted files"), default=0)
    deleted_at = models.DateTimeField(_("deleted from the storage at"), null=True)

    objects = CheckpointDeletionQuerySet.as_manager()

    class Meta:
        verbose_name = _("checkpoint deletion")
        verbose_name_plural = _("checkpoint deletions")
        ordering = ("-trashed_at", "id")
        indexes = (
            models.Index(
                fields=["project", "-trashed_at", "id"], name="checkpointdeletion_of_project"
            ),
            # What is to be purged next.
            models.Index(
                fields=["trashed_at", "id"],
                name="checkpointdeletion_in_trash",
                condition=models.Q(restored_at=None, purged_at=None),
            ),
            # The same, without waiting.
            models.Index(
                fields=["purge_requested_at"],
                name="checkpointdeletion_requested",
                condition=models.Q(
                    restored_at=None, purged_at=None, purge_requested_at__isnull=False
                ),
            ),
        )
        constraints = (
            models.CheckConstraint(
                name="checkpointdeletion_back_or_gone",
                condition=models.Q(restored_at=None) | models.Q(purged_at=None),
            ),
            models.CheckConstraint(
                name="checkpointdeletion_deleted_when_purged",
                condition=models.Q(deleted_at=None) | models.Q(purged_at__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.checkpoint_key})"

    @property
    def state(self) -> DeletionState:
        if self.restored_at is not None:
            return DeletionState.RESTORED
        if self.purged_at is None and self.purge_requested_at is None:
            return DeletionState.TRASHED
        return DeletionState.PURGING if self.deleted_at is None else DeletionState.DELETED

    @property
    def is_in_trash(self) -> bool:
        return self.state is DeletionState.TRASHED

    @property
    def state_label(self) -> str:
        return str(self.state.label)

    @property
    def purge_due_at(self) -> datetime | None:
        """When its bytes are deleted; None if it is not in the trash."""
        if not self.is_in_trash:
            return None
        return self.trashed_at + timedelta(days=settings.CHECKPOINT_TRASH_DAYS)

    def note_restored(self, by: User | None) -> None:
        """Call with the row locked."""
        self.restored_at = Now()
        self.restored_by_name = "" if by is None else by.get_username()
        self.save(update_fields=["restored_at", "restored_by_name"])
        self.refresh_from_db()
