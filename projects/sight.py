"""Which projects a reader sees, for answers that reach into several: queues, reports, activity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from django.db.models import QuerySet

from accounts.grants import AnyUser
from accounts.permissions import sees_everything
from accounts.roles import Role
from core.database import Texts
from projects.models import Project

Rows = TypeVar("Rows", bound=QuerySet[Any])


@dataclass(frozen=True, slots=True)
class Sight:
    """``run_counts``: how many runs each visible project has had; None: everything is visible."""

    run_counts: Mapping[str, int] | None = None

    @classmethod
    def of(cls, user: AnyUser, *, role: Role = Role.VIEWER) -> Sight:
        """Of the projects in which they have ``role``, or a higher one. One statement; none for
        those who see everything."""
        if sees_everything(user, role=role):
            return EVERYTHING
        visible = Project.objects.visible_to(user, role=role)
        return cls(dict(visible.values_list("pk", "run_count")))

    def __contains__(self, project_id: str) -> bool:
        return self.run_counts is None or project_id in self.run_counts

    @property
    def is_limited(self) -> bool:
        return self.run_counts is not None

    @property
    def ids(self) -> Texts | None:
        """Of the visible projects, as a parameter of SQL; None: all are visible."""
        return None if self.run_counts is None else Texts(self.run_counts)

    @property
    def run_count(self) -> int:
        """Of the visible projects, if they are limited; those in the trash included."""
        return sum((self.run_counts or {}).values())

    def narrow(self, rows: Rows, project: str) -> Rows:
        """The visible ones of ``rows``. ``project``: the lookup of their project's id."""
        if self.run_counts is None:
            return rows
        return rows.filter(**{f"{project}__in": list(self.run_counts)})


EVERYTHING: Final = Sight()
