"""SQL that sums up the bytes of artifacts, without those that have been deleted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _

from core.database import Statement, Texts


class StorageGrouping(models.TextChoices):
    """``owner``: who answers for the project."""

    RUN = "run", _("Run")
    PROJECT = "project", _("Project")
    OWNER = "owner", _("Owner")


# (key, name) of a group.
_KEYS: Final = {
    StorageGrouping.RUN: "run.id, run.name, run.project_id",
    StorageGrouping.PROJECT: "project.id, project.name, project.id",
    StorageGrouping.OWNER: "project.owner, project.owner, ''",
}


@dataclass(frozen=True, slots=True)
class StorageUse:
    """``project_id``: of a run or project. ``trash_bytes``: how much of it is in the trash."""

    key: str
    name: str
    project_id: str
    size_bytes: int
    trash_bytes: int
    file_count: int


@cache
def _use(by: StorageGrouping, *, is_limited: bool, is_of_project: bool) -> Statement:
    """One pass over the artifacts that are asked for. ``is_limited``: to the projects that a reader
    sees. The ORM joins the table of deletions for each row; few artifacts have one."""
    conditions = ["true"]
    if is_limited:
        conditions.append("run.project_id = ANY(%(visible)s::text[])")
    if is_of_project:
        conditions.append("run.project_id = %(project_id)s::text")
    return Statement(f"""
WITH of_run AS (
    SELECT
        artifact.run_id, sum(artifact.size_bytes) AS size_bytes, count(*) AS file_count,
        sum(artifact.size_bytes) FILTER (WHERE artifact.deletion_id IS NOT NULL) AS trash_bytes
    FROM artifacts_artifact AS artifact
        JOIN runs_run AS run ON run.id = artifact.run_id
        LEFT JOIN artifacts_checkpointdeletion AS deletion ON deletion.id = artifact.deletion_id
    WHERE deletion.purged_at IS NULL AND {" AND ".join(conditions)}
    GROUP BY artifact.run_id
)
SELECT
    {_KEYS[by]}, sum(of_run.size_bytes)::bigint,
    coalesce(sum(of_run.trash_bytes), 0)::bigint, sum(of_run.file_count)::bigint
FROM of_run
    JOIN runs_run AS run ON run.id = of_run.run_id
    JOIN projects_project AS project ON project.id = run.project_id
GROUP BY 1, 2, 3
ORDER BY 4 DESC, 1
""")  # noqa: S608  composed of constants


def storage_use(
    by: StorageGrouping, *, visible: Texts | None, project_id: str | None
) -> list[StorageUse]:
    """Of all that is stored, the largest first. ``visible``: the ids of the projects that a reader
    sees; None: of all."""
    statement = _use(by, is_limited=visible is not None, is_of_project=project_id is not None)
    given = {"visible": visible, "project_id": project_id}
    used = {name: value for name, value in given.items() if value is not None}
    return [StorageUse(*row) for row in statement.rows(**used)]


# Of one project, or of all projects of an owner.
_BYTES: Final = """
SELECT coalesce(sum(artifact.size_bytes), 0)::bigint
FROM artifacts_artifact AS artifact
    JOIN runs_run AS run ON run.id = artifact.run_id
    LEFT JOIN artifacts_checkpointdeletion AS deletion ON deletion.id = artifact.deletion_id
    {join}
WHERE deletion.purged_at IS NULL AND {condition}
"""
BYTES_OF_PROJECT: Final = Statement(
    _BYTES.format(join="", condition="run.project_id = %(of)s::text")
)
BYTES_OF_OWNER: Final = Statement(
    _BYTES.format(
        join="JOIN projects_project AS project ON project.id = run.project_id",
        condition="project.owner = %(of)s::text",
    )
)


def bytes_of_project(project_id: str) -> int:
    return int(BYTES_OF_PROJECT.rows(of=project_id)[0][0])


def bytes_of_owner(owner: str) -> int:
    return int(BYTES_OF_OWNER.rows(of=owner)[0][0])


ALL_BYTES: Final = Statement("""
SELECT
    coalesce(sum(artifact.size_bytes), 0)::bigint,
    coalesce(sum(artifact.size_bytes) FILTER (WHERE artifact.deletion_id IS NOT NULL), 0)::bigint
FROM artifacts_artifact AS artifact
    LEFT JOIN artifacts_checkpointdeletion AS deletion ON deletion.id = artifact.deletion_id
WHERE deletion.purged_at IS NULL
""")


def all_bytes() -> tuple[int, int]:
    """(all that is stored, what of it is in the trash)."""
    total, trashed = ALL_BYTES.rows()[0]
    return int(total), int(trashed)
