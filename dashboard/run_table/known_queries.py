"""Raw SQL: the names that a project's runs use, with the reason it bypasses the ORM."""

from __future__ import annotations

from typing import Final

from core.database import Statement
from runs.models import ColumnKind
from runs.param_values import number_sql

PARAM: Final = ColumnKind.PARAM.value
METRIC: Final = ColumnKind.METRIC.value

NAMES: Final = Statement(
    f"""
WITH newest AS MATERIALIZED (
    SELECT id, hyperparameters, metrics, tags
    FROM runs_run
    WHERE project_id = %(project_id)s::text AND NOT is_hidden AND deleted_at IS NULL
    ORDER BY created_at DESC, id
    LIMIT %(limit)s::bigint
), param_values AS MATERIALIZED (
    -- By value first: few of them differ, and only these are looked at.
    SELECT key, value, count(*) AS runs, value #>> '{{}}' AS text
    FROM newest, jsonb_each(hyperparameters)
    GROUP BY key, value
), used (kind, key, runs, "values", is_number) AS (
    SELECT '{PARAM}', key, sum(runs)::bigint, count(*), bool_and({number_sql("text")} IS NOT NULL)
    FROM param_values
    GROUP BY key
    UNION ALL
    SELECT 'tag', key, count(*), 0, false
    FROM newest, jsonb_object_keys(tags) AS key
    GROUP BY key
    UNION ALL
    SELECT '{METRIC}', key, count(*), 0, true
    FROM newest, jsonb_object_keys(metrics) AS key
    GROUP BY key
), known (kind, key, runs, "values", is_number) AS (
    -- What only older runs have: those that have been indexed.
    SELECT
        kind, key, 0,
        CASE
            WHEN numbers.least < numbers.greatest OR texts.least < texts.greatest THEN 2 ELSE 1
        END,
        texts.least IS NULL
    FROM
        runs_runcolumn AS "column",
        LATERAL (
            SELECT min(number) AS least, max(number) AS greatest
            FROM runs_paramvalue
            WHERE column_id = "column".id AND number IS NOT NULL
        ) AS numbers,
        LATERAL (
            SELECT min(text) AS least, max(text) AS greatest
            FROM runs_paramvalue
            WHERE column_id = "column".id AND number IS NULL
        ) AS texts
    WHERE project_id = %(project_id)s::text
        -- Those that no run has any more are not deleted.
        AND (kind = '{METRIC}' OR numbers.least IS NOT NULL OR texts.least IS NOT NULL)
)
SELECT
    kind, key, max(runs), max("values"), bool_and(is_number), (SELECT count(*) FROM newest)
FROM (SELECT * FROM used UNION ALL SELECT * FROM known) AS names
GROUP BY kind, key
ORDER BY kind, key COLLATE "C"
"""  # noqa: S608
)

# A row's version changes with every update of it.
VERSION: Final = Statement("""
SELECT
    count(*), coalesce(bit_xor(hashtextextended(concat_ws(' ', id, version, place), 0)), 0),
    (SELECT coalesce(max(id), 0) FROM runs_runcolumn WHERE project_id = %(project_id)s::text)
FROM (
    SELECT id, xmin AS version, ctid AS place
    FROM runs_run
    WHERE project_id = %(project_id)s::text AND NOT is_hidden AND deleted_at IS NULL
    ORDER BY created_at DESC, id
    LIMIT %(limit)s::bigint
) AS newest
""")


def version(project_id: str, *, newest: int) -> tuple[int, ...] | None:
    """Changes whenever one of the ``newest`` runs does, in a hundredth of the time that it takes to
    read their names. The ORM does not know the system columns."""
    return VERSION.row(project_id=project_id, limit=newest)


def names(project_id: str, *, newest: int) -> list[tuple[str, str, int, int, bool, int]]:
    """The names that the project's runs use: kind (param, tag or metric), name, how many of the
    ``newest`` runs have it, how many different values these have (or, if that is more, 2: all that
    have been indexed), whether all are numbers; and, for params, of how many runs.

    Tags are those of the newest runs alone. The ORM cannot group by the keys of JSON objects.
    """
    return NAMES.rows(project_id=project_id, limit=newest)
