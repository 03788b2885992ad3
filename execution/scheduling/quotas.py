"""How many GPUs quotas leave to each project."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from django.utils.translation import gettext as _

from core.database import Statement
from execution.scheduling.gpu_use import GpuUse
from execution.scheduling.supply import NO_LIMIT

SECONDS_PER_HOUR: Final = 3600.0

QUOTAS: Final = Statement(
    """
SELECT
    quota.id, quota.pool_id, quota.max_gpus::int8, quota.max_gpu_hours,
    coalesce(of_project.name, quota.owner),
    coalesce(of_project.id, project.id)
FROM runs_quota AS quota
LEFT JOIN projects_project AS of_project ON of_project.id = quota.project_id
LEFT JOIN projects_project AS project
    ON quota.project_id IS NULL AND project.owner = quota.owner
ORDER BY quota.id
"""
)
# Whoever decides by them waits for whoever else does.
LOCK_QUOTAS: Final = Statement("SELECT id FROM runs_quota ORDER BY id FOR NO KEY UPDATE")


@dataclass(slots=True)
class Limit:
    """A quota, and what the projects that it is of hold and have used. ``pool``: None is all;
    ``owner``: whose it is, for people."""

    pool: str | None
    max_gpus: int | None
    max_gpu_hours: float | None
    owner: str
    projects: set[str] = field(default_factory=set)
    gpus: int = 0
    month_gpu_hours: float = 0.0

    @property
    def left(self) -> int:
        """How many more GPUs may be held; negative after a quota has been lowered."""
        if self._is_used_up:
            return 0
        return NO_LIMIT if self.max_gpus is None else self.max_gpus - self.gpus

    @property
    def _is_used_up(self) -> bool:
        return self.max_gpu_hours is not None and self.month_gpu_hours >= self.max_gpu_hours

    def limits(self, project_id: str, pool: str) -> bool:
        return project_id in self.projects and self.pool in {None, pool}

    def reason(self) -> str:
        """Why it holds runs back, as a sentence."""
        if self._is_used_up:
            text = _(
                "The quota of %(owner)s is used up: %(hours).0f of %(most).0f GPU-hours this month."
            )
            return text % {
                "owner": self.owner,
                "hours": self.month_gpu_hours,
                "most": self.max_gpu_hours,
            }
        text = _("The quota of %(owner)s: %(gpus)d of %(most)d GPUs are in use.")
        return text % {"owner": self.owner, "gpus": self.gpus, "most": self.max_gpus}


@dataclass(slots=True)
class Quotas:
    """The limits on the GPUs of projects."""

    limits: list[Limit] = field(default_factory=list)

    @classmethod
    def read(cls, use: GpuUse) -> Quotas:
        """A transaction that allocates GPUs locks them before."""
        limits: dict[int, Limit] = {}
        for pk, pool, max_gpus, max_gpu_hours, owner, project in QUOTAS.rows():
            limit = limits.setdefault(pk, Limit(pool, max_gpus, max_gpu_hours, owner))
            if project is not None:
                limit.projects.add(project)
                limit.gpus += use.held(project, pool)
                limit.month_gpu_hours += use.month(project, pool) / SECONDS_PER_HOUR
        return cls(list(limits.values()))

    def of(self, project_id: str, pool: str) -> list[Limit]:
        return [limit for limit in self.limits if limit.limits(project_id, pool)]

    def left(self, pool: str) -> dict[str, int]:
        """How many more GPUs of the pool each limited project may hold."""
        left: dict[str, int] = defaultdict(lambda: NO_LIMIT)
        for limit in self.limits:
            if limit.pool in {None, pool}:
                for project_id in limit.projects:
                    left[project_id] = min(left[project_id], limit.left)
        return dict(left)

    def take(self, project_id: str, pool: str, count: int) -> None:
        for limit in self.of(project_id, pool):
            limit.gpus += count
