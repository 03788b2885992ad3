"""SQL that writes the values of runs that have ended: one statement per function.

Call them in this order in one transaction. The runs are locked by a statement of its own: what
locks a run changes its hyperparameters and series, and a later statement sees all that it did.
"""

from __future__ import annotations

from typing import Final

from core.database import Statement, Texts
from core.text import MAX_KEY_LENGTH
from runs.models import ColumnKind
from runs.param_values import MAX_TEXT, number_sql

LOCK_RUNS: Final = Statement("""
SELECT id, deleted_at IS NULL
FROM runs_run
WHERE NOT is_indexed AND NOT is_hidden AND finished_at IS NOT NULL
ORDER BY id
LIMIT %(limit)s::bigint
FOR NO KEY UPDATE SKIP LOCKED
""")


def lock_runs(limit: int) -> list[tuple[str, bool]]:
    """Lock runs that can be indexed and that nobody else has locked: their IDs, and whether they
    are listed or in the trash."""
    return LOCK_RUNS.rows(limit=limit)


DELETE_PARAM_VALUES: Final = Statement(
    "DELETE FROM runs_paramvalue WHERE run_id = ANY(%(run_ids)s::text[])"
)
DELETE_METRIC_VALUES: Final = Statement(
    "DELETE FROM metrics_metricvalue WHERE run_id = ANY(%(run_ids)s::text[])"
)


def delete_values(run_ids: list[str]) -> None:
    DELETE_PARAM_VALUES.run(run_ids=Texts(run_ids))
    DELETE_METRIC_VALUES.run(run_ids=Texts(run_ids))


PARAMS: Final = f"""
    runs_run AS run,
    jsonb_each(
        CASE jsonb_typeof(run.hyperparameters)
            WHEN 'object' THEN run.hyperparameters ELSE '{{}}'
        END
    ) AS param (key, value)
    WHERE run.id = ANY(%(run_ids)s::text[])
        AND param.value <> 'null' AND length(param.key) <= {MAX_KEY_LENGTH}
"""
SERIES: Final = """
    runs_run AS run JOIN metrics_metricseries AS series ON series.run_id = run.id
    WHERE run.id = ANY(%(run_ids)s::text[]) AND series.last_value IS NOT NULL
"""

CREATE_COLUMNS: Final = Statement(
    f"""
WITH named AS MATERIALIZED (
    SELECT DISTINCT run.project_id, '{ColumnKind.PARAM.value}' AS kind, param.key FROM {PARAMS}
    UNION ALL
    SELECT DISTINCT run.project_id, '{ColumnKind.METRIC.value}', series.key FROM {SERIES}
)
INSERT INTO runs_runcolumn (project_id, kind, key)
SELECT * FROM named
WHERE NOT EXISTS (
    SELECT
    FROM runs_runcolumn AS known
    WHERE (known.project_id, known.kind, known.key) = (named.project_id, named.kind, named.key)
)
-- In one order, so that no two workers wait for each other.
ORDER BY named.project_id, named.kind, named.key COLLATE "C"
ON CONFLICT DO NOTHING
"""  # noqa: S608  composed of constants
)


def create_columns(run_ids: list[str]) -> None:
    """Create the missing columns of what these runs have."""
    CREATE_COLUMNS.run(run_ids=Texts(run_ids))


INSERT_PARAM_VALUES: Final = Statement(
    f"""
WITH params AS MATERIALIZED (
    SELECT
        run.id AS run_id, run.project_id, param.key, param.value #>> '{{}}' AS text,
        jsonb_typeof(param.value) = 'string' AS is_text
    FROM {PARAMS}
)
INSERT INTO runs_paramvalue (run_id, column_id, number, text, is_text)
SELECT
    params.run_id, known.id,
    {number_sql("params.text")}, left(params.text, {MAX_TEXT}), params.is_text
FROM params JOIN runs_runcolumn AS known ON
    known.project_id = params.project_id
    AND known.kind = '{ColumnKind.PARAM.value}' AND known.key = params.key
"""  # noqa: S608  composed of constants
)
INSERT_METRIC_VALUES: Final = Statement(
    f"""
WITH summaries AS MATERIALIZED (
    SELECT
        run.id AS run_id, run.project_id, series.key,
        series.last_value, series.minimum, series.maximum
    FROM {SERIES}
)
INSERT INTO metrics_metricvalue (run_id, column_id, last, minimum, maximum)
SELECT
    summaries.run_id, known.id, summaries.last_value, summaries.minimum, summaries.maximum
FROM summaries JOIN runs_runcolumn AS known ON
    known.project_id = summaries.project_id
    AND known.kind = '{ColumnKind.METRIC.value}' AND known.key = summaries.key
"""  # noqa: S608  composed of constants
)


def insert_values(run_ids: list[str]) -> None:
    """Copy the hyperparameters of these runs and the summaries of their series."""
    INSERT_PARAM_VALUES.run(run_ids=Texts(run_ids))
    INSERT_METRIC_VALUES.run(run_ids=Texts(run_ids))


MARK_INDEXED: Final = Statement(
    "UPDATE runs_run SET is_indexed = true WHERE id = ANY(%(run_ids)s::text[])"
)


def mark_indexed(run_ids: list[str]) -> None:
    MARK_INDEXED.run(run_ids=Texts(run_ids))
