"""SQL that walks from a run to those it was made of, and to those made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from core.database import Statement, Texts
from runs.models.run_queryset import PARENT_TAG


@dataclass(frozen=True, slots=True)
class Link:
    """``kind``: see artifacts.family.Kinship."""

    parent: str
    child: str
    kind: str
    step: int | None  # of the checkpoint that the child was resumed from


# Of each run its closest parent only, so that there is a tree: the run whose checkpoint it was
# resumed from, else the one that it tries again, else the one that it is nested in. All of a family
# are of one project: what rows edited by hand name in others is not told.
_CLOSEST: Final = f"""
    CROSS JOIN LATERAL (
        SELECT artifact.run_id AS id,
            CASE child.kind WHEN 'evaluation' THEN 'evaluated' ELSE 'resumed' END AS kind,
            artifact.step, 1 AS place
        FROM artifacts_artifact AS artifact JOIN runs_run AS source ON source.id = artifact.run_id
        WHERE artifact.id = child.resumed_from_id AND source.project_id = child.project_id
        UNION ALL
        SELECT source.id, 'retried', NULL, 2
        FROM runs_runevent AS event JOIN runs_run AS source ON source.id = event.reason
        WHERE event.run_id = child.id AND event.kind = 'created' AND event.reason <> ''
            AND source.id <> child.id AND source.project_id = child.project_id
        UNION ALL
        SELECT outer_run.id, 'nested', NULL, 3
        FROM runs_run AS outer_run
        WHERE outer_run.id = child.tags ->> '{PARENT_TAG}'
            AND outer_run.project_id = child.project_id AND outer_run.id <> child.id
        ORDER BY place
        LIMIT 1
    ) AS parent
"""  # noqa: S608  built from constants

PARENTS: Final = Statement(f"""
SELECT parent.id, child.id, parent.kind, parent.step
FROM runs_run AS child {_CLOSEST}
WHERE child.id = ANY(%(runs)s::text[])
""")  # noqa: S608  built from constants

# Recursive: one statement for all generations. Rows edited by hand may form a circle.
ABOVE: Final = Statement(f"""
WITH RECURSIVE link (generation, parent, child, kind, step) AS (
    SELECT 1, parent.id, child.id, parent.kind, parent.step
    FROM runs_run AS child {_CLOSEST}
    WHERE child.id = %(run_id)s::text
    UNION ALL
    SELECT generation + 1, parent.id, child.id, parent.kind, parent.step
    FROM link JOIN runs_run AS child ON child.id = link.parent {_CLOSEST}
    WHERE generation < %(at_most)s::bigint
) CYCLE child SET is_repeated USING path
SELECT parent, child, kind, step
FROM link
WHERE NOT is_repeated
ORDER BY generation
""")  # noqa: S608  built from constants

# Those of a run by each index on its own; a child may have a closer parent, which the statement
# above decides.
CHILDREN: Final = Statement(f"""
SELECT child.id
FROM artifacts_artifact AS artifact JOIN runs_run AS child ON child.resumed_from_id = artifact.id
WHERE artifact.run_id = ANY(%(runs)s::text[])
    AND artifact.type = 'checkpoint'
UNION
SELECT event.run_id
FROM runs_runevent AS event
WHERE event.kind = 'created' AND event.reason <> '' AND event.reason = ANY(%(runs)s::text[])
UNION
SELECT child.id
FROM runs_run AS child
WHERE child.tags ->> '{PARENT_TAG}' = ANY(%(runs)s::text[]) AND child.tags ? '{PARENT_TAG}'
LIMIT %(limit)s::bigint
""")  # noqa: S608  built from constants


def parents(run_ids: list[str]) -> list[Link]:
    """The link of each run to its parent; none of a run that began by itself."""
    return [Link(*row) for row in PARENTS.rows(runs=Texts(run_ids))]


def links_above(run_id: str, at_most: int) -> list[Link]:
    """The link of the run to its parent, of that one to its own …, of so many generations."""
    return [Link(*row) for row in ABOVE.rows(run_id=run_id, at_most=at_most)]


def possible_children(run_ids: list[str], limit: int) -> list[str]:
    """Runs that were resumed from one of ``run_ids``, try it again, or are nested in it."""
    return [row[0] for row in CHILDREN.rows(runs=Texts(run_ids), limit=limit)]
