"""SQL that tells whether there is anything new of a run to show."""

from __future__ import annotations

from typing import Any, Final

from core.database import Statement

# One statement, as every open page of a run asks for it every few seconds.
RUN_VERSION: Final = Statement("""
SELECT
    run.status, run.recipe_id, run.worker_id, run.updated_at, run.reported_at, run.stepped_at,
    run.attempt_started_at, run.log_count, project.updated_at,
    (SELECT max(id) FROM runs_runevent WHERE run_id = run.id),
    artifact.count, artifact.updated_at, artifact.verified_at, artifact.tagged_at
FROM runs_run AS run
    JOIN projects_project AS project ON project.id = run.project_id
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE deletion_id IS NULL) AS count, max(updated_at) AS updated_at,
            max(verified_at) AS verified_at, max(tag.applied_at) AS tagged_at
        FROM artifacts_artifact
            LEFT JOIN artifacts_artifacttag AS tag ON tag.artifact_id = artifacts_artifact.id
        WHERE run_id = run.id
    ) AS artifact
WHERE run.id = %(run_id)s::text AND run.project_id = %(project_id)s::text
""")


def run_version(project_id: str, run_id: str) -> tuple[Any, ...] | None:
    """(status, recipe, worker, …, times and counts of what belongs to it); None if it is gone."""
    return RUN_VERSION.row(project_id=project_id, run_id=run_id)
