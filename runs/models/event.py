"""Run events: the history of a run."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.contrib.postgres.indexes import HashIndex
from django.db import models
from django.utils.translation import gettext_lazy as _

from core.message_field import MessageField
from runs.status import TERMINAL, RunStatus


class EventKind(models.TextChoices):
    CREATED = "created", _("created")
    CLAIMED = "claimed", _("claimed by a worker")
    # Of a run whose executor has a queue of its own.
    SUBMITTED = "submitted", _("submitted to its cluster")
    STARTED = "started", _("started by its cluster")
    REQUEUED = "requeued", _("waits in its cluster")
    STATUS = "status", _("status changed")
    STOP_REQUESTED = "stop_requested", _("stop requested")
    RECOVERED = "recovered", _("recovered")
    READOPTED = "readopted", _("readopted")
    RELEASED = "released", _("released by its worker")
    REWOUND = "rewound", _("rewound to a checkpoint")
    LOST = "lost", _("marked as lost")
    REOPENED = "reopened", _("reopened after its end")
    PARAMS_CHANGED = "params_changed", _("hyperparameters changed on resuming")
    DELETED = "deleted", _("moved to the trash")
    RESTORED = "restored", _("restored from the trash")
    ARCHIVED = "archived", _("archived")
    UNARCHIVED = "unarchived", _("listed again")
    NOT_STORED = "not_stored", _("could not store its files")
    STORED = "stored", _("stored its files after all")
    NOT_SENT = "not_sent", _("could not send its files")
    SENT = "sent", _("sent its files after all")
    FAULT = "fault", _("its worker met an error")
    FAULT_OVER = "fault_over", _("its worker's error is over")
    RENAMED = "renamed", _("renamed")
    NOTE_CHANGED = "note_changed", _("note changed")
    TAGS_CHANGED = "tags_changed", _("tags changed")
    PRIORITY_CHANGED = "priority_changed", _("priority changed")
    PREEMPTED = "preempted", _("preempted")
    PAUSED = "paused", _("paused")
    CONTINUED = "continued", _("continued after a pause")


# From then on, a worker holds the run and its GPUs.
ARRIVALS: Final = (EventKind.CLAIMED, EventKind.STARTED)
# A worker gives the run up before it has ended, or its cluster takes the GPUs back.
LEAVINGS: Final = (
    EventKind.RECOVERED,
    EventKind.RELEASED,
    EventKind.REQUEUED,
    EventKind.PREEMPTED,
    EventKind.PAUSED,
)


class RunEvent(models.Model):
    """One row for every status change of a run, every request for one, and every change of what
    people write about it. Never edited."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", models.CASCADE, related_name="events")
    kind = models.CharField(_("kind"), max_length=16, choices=EventKind)
    from_status = models.CharField(_("from"), max_length=16, choices=RunStatus, blank=True)
    to_status = models.CharField(_("to"), max_length=16, choices=RunStatus, blank=True)
    attempt = models.PositiveSmallIntegerField(_("attempt"))
    # Its index is the one of what a person has done.
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        blank=True,
        db_index=False,
        verbose_name=_("by"),
    )
    worker = models.ForeignKey(
        "runs.Worker", models.SET_NULL, null=True, blank=True, verbose_name=_("worker")
    )
    reason = MessageField(_("reason"), blank=True)
    created_at = models.DateTimeField(_("when"), auto_now_add=True)

    class Meta:
        verbose_name = _("run event")
        verbose_name_plural = _("run events")
        ordering = ("id",)
        indexes = (
            # The runs that were made of a run: "created", because of its ID or its checkpoint's.
            # Hashed, as a reason may be of any length.
            HashIndex(
                fields=["reason"],
                name="runevent_created_because",
                condition=models.Q(kind=EventKind.CREATED) & ~models.Q(reason=""),
            ),
            # What everybody does, newest first, by what it is: dashboard/activity.py.
            models.Index(
                fields=["kind", "to_status", "-created_at", "-id"], name="runevent_by_kind"
            ),
            # The same of one person.
            models.Index(fields=["actor", "-created_at", "-id"], name="runevent_by_actor"),
        )

    def __str__(self) -> str:
        return f"{self.run_id} {self.get_kind_display()} {self.get_to_status_display()}".strip()

    @property
    def changes_hold(self) -> bool:
        """Whether a worker holds the run and its GPUs from then on, or none does: it has ended, or
        waits for the next attempt."""
        return self.kind in {*ARRIVALS, *LEAVINGS} or self.to_status in TERMINAL
