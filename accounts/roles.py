"""Roles in a team or project, and scopes of tokens. What each role may do: docs/teams.md."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class Role(models.IntegerChoices):
    """Each may do what those before it may."""

    VIEWER = 10, _("Viewer")  # reads
    MEMBER = 20, _("Member")  # trains: runs, metrics, logs, artifacts, sweeps
    MAINTAINER = 30, _("Maintainer")  # configures the project, releases, deletes
    OWNER = 40, pgettext_lazy("role", "Owner")  # decides who has which role

    @property
    def slug(self) -> str:
        return self.name.lower()


class Scope(models.TextChoices):
    """What a token allows of what its user may do."""

    READ = "read", _("Read")
    WRITE = "write", _("Read and write")
    ADMIN = "admin", _("Everything, also who has access")

    @property
    def highest_role(self) -> Role:
        return {
            Scope.READ: Role.VIEWER,
            Scope.WRITE: Role.MAINTAINER,
            Scope.ADMIN: Role.OWNER,
        }[self]
