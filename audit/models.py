"""The audit: who has changed what, from where, by which token."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NamedTuple

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.models import Team
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.ids import MAX_LENGTH
from core.json_field import JSONField
from projects.models import Project

NEWEST_FIRST: Final = ("-at", "-id")


class Change(NamedTuple):
    name: str
    before: Any
    after: Any


class EntryQuerySet(models.QuerySet["Entry"]):
    def visible_to(self, user: AnyUser) -> EntryQuerySet:
        """Of a project for its maintainers, of a team for its owners; superusers see all. Not by a
        token that only reads: it has no such role anywhere."""
        if script_run_of(user):
            return self.none()
        if sees_everything(user, role=Role.MAINTAINER):
            return self.all()
        # As lists, so that the plan is made for as many as there are: most people have few.
        projects = list(
            Project.objects.visible_to(user, role=Role.MAINTAINER).values_list("pk", flat=True)
        )
        teams = list(Team.objects.visible_to(user, role=Role.OWNER).values_list("pk", flat=True))
        return self.filter(Q(project_id__in=projects) | Q(team_id__in=teams))


class Entry(models.Model):
    """A change. Written by triggers (triggers.py) and at sign-ins; never changed, and deleted only
    by retention.py: a trigger refuses the rest.

    Its subject, project, team, user and token may be gone since: it refers to none of them.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("when"), db_default=models.functions.Now())
    action = models.CharField(_("action"), max_length=64)  # "run.created"
    kind = models.CharField(_("kind"), max_length=32)
    subject_id = models.TextField(_("subject"), db_collation="C")
    name = models.TextField(_("name"), blank=True)
    project_id = models.CharField(_("project"), max_length=MAX_LENGTH, null=True, db_collation="C")
    team_id = models.CharField(_("team"), max_length=MAX_LENGTH, null=True, db_collation="C")
    actor_id = models.BigIntegerField(null=True)
    actor = models.CharField(_("by"), max_length=150, blank=True)
    token_id = models.CharField(_("token"), max_length=MAX_LENGTH, blank=True, db_collation="C")
    address = models.GenericIPAddressField(_("address"), null=True)
    via = models.CharField(_("via"), max_length=64, blank=True)
    request_id = models.CharField(_("request"), max_length=64, blank=True)
    before = JSONField(_("before"), null=True)
    after = JSONField(_("after"), null=True)

    objects = EntryQuerySet.as_manager()

    class Meta:
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        ordering: ClassVar = NEWEST_FIRST
        indexes = (
            models.Index(fields=["-at", "-id"], name="audit_newest_first"),
            models.Index(
                fields=["project_id", "-at", "-id"],
                name="audit_by_project",
                condition=~Q(project_id=None),
            ),
            models.Index(
                fields=["team_id", "-at", "-id"],
                name="audit_by_team",
                condition=~Q(team_id=None),
            ),
            models.Index(fields=["actor", "-at", "-id"], name="audit_by_actor"),
            models.Index(fields=["subject_id", "-at", "-id"], name="audit_by_subject"),
            models.Index(fields=["action", "-at", "-id"], name="audit_by_action"),
            models.Index(fields=["kind", "-at", "-id"], name="audit_by_kind"),
            models.Index(
                fields=["token_id", "-at", "-id"],
                name="audit_by_token",
                condition=~Q(token_id=""),
            ),
        )

    def __str__(self) -> str:
        return f"{self.action} {self.subject_id}"

    @property
    def verb(self) -> str:
        return self.action.partition(".")[2]

    @property
    def changes(self) -> list[Change]:
        """By name, each with what it was and is; None where there was or is nothing."""
        before, after = self.before or {}, self.after or {}
        return [
            Change(name, before.get(name), after.get(name)) for name in sorted({*before, *after})
        ]
