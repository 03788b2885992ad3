"""Raw SQL: the names that a project's runs use, with the reason it bypasses the ORM."""

from __future__ import annotations

from typing import Final

from core.database import Statement
from runs.param_values import number_sql

NUMBER_OF_VALUE: Final = number_sql("(value #>> '{}')")

NAMES: Final = Statement(f"""
WITH newest AS MATERIALIZED (
    SELECT id, hyperparameters, tags
    FROM runs_run
    WHERE project_id = %(project_id)s::text AND NOT is_hidden AND deleted_at IS NULL
    ORDER BY created_at DESC, id
    LIMIT %(limit)s::bigint
)
SELECT
    'param', key, count(*), count(DISTINCT value), 
    bool_and(({NUMBER_OF_VALUE}) IS NOT NULL),
    (SELECT count(*) FROM newest)
FROM newest, jsonb_each(hyperparameters)
GROUP BY key
UNION ALL
SELECT 'tag', key, count(*), count(DISTINCT value), false, 0
FROM newest, jsonb_each(tags)
GROUP BY key
UNION ALL
SELECT 'metric', series.key, count(*), 0, true, 0
FROM newest JOIN metrics_metricseries AS series ON series.run_id = newest.id
WHERE series.count > 0
GROUP BY series.key
ORDER BY 1, 2
""")  # noqa: S608  built from constants


def names(project_id: str, *, newest: int) -> list[tuple[str, str, int, int, bool, int]]:
    """The names that the ``newest`` runs of the project use: kind (param, tag or metric), name, how
    many runs have it, how many different values they have, whether all are numbers; and, for
    params, of how many runs.

    The ORM cannot group by the keys of JSON objects.
    """
    return NAMES.rows(project_id=project_id, limit=newest)
