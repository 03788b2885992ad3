"""Whether a caller has a role for a run of which only the id is known."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from accounts.grants import AnyUser, grant_of
from accounts.permissions import script_run_of, sees_everything
from core.database import Statement
from projects.access import may
from runs.models import Run

PROJECT_OF: Final = Statement("SELECT project_id FROM runs_run WHERE id = %(run_id)s::text")
MOST_REMEMBERED: Final = 20_000  # runs


class _Unknown(Exception):
    """There is no such run: not to be remembered, as it may be created yet."""


@lru_cache(MOST_REMEMBERED)
def _project_of(run_id: str) -> str:
    """A run stays in its project for ever."""
    row = PROJECT_OF.row(run_id=run_id)
    if row is None:
        raise _Unknown
    project_id: str = row[0]
    return project_id


def may_use_run(user: AnyUser, run_id: str) -> bool:
    """Whether the run is visible to ``user``, for whom superusers need no statement: whether it
    exists is then left to the caller to find out."""
    if sees_everything(user):
        return True
    if script_run_of(user):
        return Run.objects.visible_to(user).filter(pk=run_id).exists()
    try:
        return may(user, _project_of(run_id), grant_of(user).needed_role)
    except _Unknown:
        return False
