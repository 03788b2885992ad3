"""Requests that a checkpoint be released, and what was decided: on record for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from artifacts.digests import digest_of as digest_of
from artifacts.models import Artifact
from core.ids import MAX_LENGTH, PublicIdField
from core.json_field import JSONField
from core.message_field import MessageField
from core.messages import Text, loads
from projects.models import Project
from runs.models import Run
from runs.models.run_queryset import DOCUMENTS

MAX_NOTES = 10_000


class RequestState(models.TextChoices):
    ASKED = "asked", _("Asked")
    APPROVED = "approved", _("Approved")
    REFUSED = "refused", _("Refused")
    WITHDRAWN = "withdrawn", _("Withdrawn")
    EXPIRED = "expired", _("Expired: the bytes have changed")


class ReleaseRequestQuerySet(models.QuerySet["ReleaseRequest"]):
    def visible_to(self, user: AnyUser, *, role: Role = Role.VIEWER) -> ReleaseRequestQuerySet:
        """Those of projects that ``user`` sees; scripts see none."""
        if sees_everything(user, role=role):
            return self.all()
        if script_run_of(user):
            return self.none()
        return self.filter(project__in=Project.objects.visible_to(user, role=role))

    def open(self) -> ReleaseRequestQuerySet:
        """Those that wait for a decision."""
        return self.filter(state=RequestState.ASKED, checkpoint__isnull=False)

    def in_state(self, state: RequestState) -> ReleaseRequestQuerySet:
        """See ReleaseRequest.current_state."""
        gone = models.Q(state=RequestState.ASKED, checkpoint=None)
        if state is RequestState.EXPIRED:
            return self.filter(models.Q(state=state) | gone)
        return self.filter(state=state).exclude(gone)

    def waiting_for(self, user: User) -> ReleaseRequestQuerySet:
        """The open ones that ``user`` may decide on."""
        visible = self.visible_to(user, role=Role.MAINTAINER)
        return visible.open().exclude(asked_by=user).exclude(asked_through=user)

    def with_people(self) -> ReleaseRequestQuerySet:
        people = ("asked_by", "decided_by")
        rows = self.select_related("project", "run", "checkpoint", *people)
        return rows.defer(*(f"run__{document}" for document in sorted(DOCUMENTS)))


class ReleaseRequest(models.Model):
    id = PublicIdField(prefix="rel")
    project = models.ForeignKey(
        Project, models.CASCADE, related_name="release_requests", db_index=False
    )
    run = models.ForeignKey(Run, models.CASCADE, related_name="+", verbose_name=_("run"))
    # No reverse relation: a request does not keep the bytes (ArtifactQuerySet.in_use). Other bytes
    # end it, and if they are deleted, it still tells of which checkpoint it was.
    checkpoint = models.ForeignKey(
        Artifact, models.SET_NULL, null=True, related_name="+", verbose_name=_("checkpoint")
    )
    checkpoint_key = models.CharField(max_length=MAX_LENGTH)  # its id
    name = MessageField(_("name"))
    step = models.BigIntegerField(_("step"), null=True)
    digest = models.CharField(max_length=64)  # see digest_of
    state = models.CharField(
        _("state"), max_length=16, choices=RequestState, default=RequestState.ASKED
    )
    notes = models.TextField(_("notes"), blank=True, max_length=MAX_NOTES)
    # Whether the releases that it replaces are to be archived.
    replaces_others = models.BooleanField(default=False)
    # Names as they were: an account may be deleted, what it did stays on record.
    asked_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    asked_by_name = models.CharField(_("asked by"), max_length=150)
    # Who has issued the token that asked, if that is somebody else, as of a service account: they
    # may have asked themselves.
    asked_through = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    asked_at = models.DateTimeField(_("asked at"), auto_now_add=True)
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+"
    )
    decided_by_name = models.CharField(_("decided by"), max_length=150, blank=True)
    decided_at = models.DateTimeField(_("decided at"), null=True)
    decision_notes = models.TextField(blank=True, max_length=MAX_NOTES)
    gates_json = JSONField(default=list, editable=False)  # at the decision: GateResult.as_json

    objects = ReleaseRequestQuerySet.as_manager()

    class Meta:
        verbose_name = _("release request")
        verbose_name_plural = _("release requests")
        ordering = ("-asked_at", "id")
        indexes = (
            models.Index(fields=["project", "-asked_at", "id"], name="releaserequest_of_project"),
            models.Index(
                fields=["asked_at"],
                name="releaserequest_open",
                condition=models.Q(state=RequestState.ASKED),
            ),
        )
        constraints = (
            models.UniqueConstraint(
                name="releaserequest_one_open",
                fields=["checkpoint"],
                condition=models.Q(state=RequestState.ASKED),
            ),
            models.CheckConstraint(
                name="releaserequest_state_known",
                condition=models.Q(state__in=RequestState.values),
            ),
            models.CheckConstraint(
                name="releaserequest_other_eyes",
                condition=~models.Q(state=RequestState.APPROVED, asked_by=models.F("decided_by")),
            ),
            models.CheckConstraint(
                name="releaserequest_other_hands",
                condition=~models.Q(
                    state=RequestState.APPROVED, asked_through=models.F("decided_by")
                ),
            ),
        )

    def __str__(self) -> str:
        return f"{self.name} ({self.pk})"

    @property
    def current_state(self) -> RequestState:
        """Also of one whose checkpoint has been deleted."""
        if self.state == RequestState.ASKED and self.checkpoint is None:
            return RequestState.EXPIRED
        return RequestState(self.state)

    @property
    def is_open(self) -> bool:
        return self.current_state is RequestState.ASKED

    @property
    def gates(self) -> list[dict[str, Any]]:
        """What the gates told at the decision, as its reader is to see it."""
        return [
            {**told, "gate": str(loads(told["gate"])), "why": str(loads(told["why"]))}
            for told in self.gates_json
        ]

    def end(
        self,
        state: RequestState,
        *,
        by: User | None,
        notes: str = "",
        gates: Sequence[dict[str, Any]] = (),
    ) -> None:
        """Write down what was decided. Call with the row locked."""
        self.state = state
        self.decided_by = by
        self.decided_by_name = "" if by is None else by.get_username()
        self.decision_notes = notes
        self.gates_json = list(gates)
        self.decided_at = Now()
        self.save()
        self.refresh_from_db()

    @property
    def state_label(self) -> Text:
        return str(self.current_state.label)
