"""SQL that walks from a run to those that it continues."""

from __future__ import annotations

from typing import Final

from core.database import Statement
from core.numbers import MAX_BIGINT

# Recursive: the ORM would take a query for each generation. No run is resumed from a checkpoint of
# its own descendants, but rows edited by hand must not make this endless. A run is resumed in its
# project: what such rows name in others is not told.
ANCESTORS: Final = Statement("""
WITH RECURSIVE ancestor (generation, checkpoint_id, resumed_from_id, project_id) AS (
    SELECT 1, artifact.id, parent.resumed_from_id, parent.project_id
    FROM runs_run AS child
        JOIN artifacts_artifact AS artifact ON artifact.id = child.resumed_from_id
        JOIN runs_run AS parent
            ON parent.id = artifact.run_id AND parent.project_id = child.project_id
    WHERE child.id = %(run_id)s::text
    UNION ALL
    SELECT generation + 1, artifact.id, parent.resumed_from_id, parent.project_id
    FROM ancestor
        JOIN artifacts_artifact AS artifact ON artifact.id = ancestor.resumed_from_id
        JOIN runs_run AS parent
            ON parent.id = artifact.run_id AND parent.project_id = ancestor.project_id
    WHERE generation < %(at_most)s::bigint
) CYCLE checkpoint_id SET is_repeated USING path
SELECT checkpoint_id
FROM ancestor
WHERE NOT is_repeated
ORDER BY generation
""")


def ancestors(run_id: str, at_most: int = MAX_BIGINT) -> list[str]:
    """The checkpoints that the run, its parent, that one's parent … were resumed from."""
    return [row[0] for row in ANCESTORS.rows(run_id=run_id, at_most=at_most)]
