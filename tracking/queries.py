"""Raw SQL, one query per function, with the reason it bypasses the ORM."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

from django.db import connection

from core.database import Statement


class RunRow(NamedTuple):
    """The fields of a run that clients read from its row; JSON as text from the database."""

    id: str
    name: str
    project_id: str
    status: str
    started_at: datetime | None
    finished_at: datetime | None
    is_deleted: bool
    tags: str
    hyperparameters: str
    metrics: str | None
    created_by: str | None
    has_datasets: bool
    has_models: bool


RUN_ROWS: Final = Statement("""
SELECT
    run.id, run.name, run.project_id, run.status, run.started_at, run.finished_at,
    run.deleted_at IS NOT NULL, run.tags::text, run.hyperparameters::text,
    CASE WHEN %(with_metrics)s::boolean THEN run.metrics::text END, creator.username,
    EXISTS (SELECT FROM runs_datasetinput WHERE run_id = run.id),
    EXISTS (SELECT FROM runs_modellink WHERE run_id = run.id)
FROM
    unnest(%(ids)s::text[]) WITH ORDINALITY AS requested (id, position)
    JOIN runs_run AS run USING (id)
    LEFT JOIN auth_user AS creator ON creator.id = run.created_by_id
ORDER BY position
""")


def run_rows(ids: Sequence[str], *, with_metrics: bool) -> list[RunRow]:
    """The rows in the order of ``ids``, skipping unknown ids.

    The ORM would build model instances with thirty columns each and parse JSON that is not used.
    """
    return [RunRow(*row) for row in RUN_ROWS.rows(ids=list(ids), with_metrics=with_metrics)]


LATEST_METRICS: Final = Statement("""
SELECT
    run_id,
    string_agg(
        '{"key":' || to_json(key::text)::text
        || ',"value":' || CASE
            WHEN last_value IN ('NaN', 'Infinity', '-Infinity') THEN '"' || last_value || '"'
            ELSE last_value::text
        END
        || ',"timestamp":' || last_timestamp_ms
        || ',"step":' || last_step || '}',
        ',' ORDER BY key
    )
FROM metrics_metricseries
WHERE run_id = ANY(%(run_ids)s::text[]) AND count > 0
GROUP BY run_id
""")


def latest_metrics(run_ids: Sequence[str]) -> dict[str, str]:
    """The latest value of each metric, as JSON array text by run id. Reads no points.

    PostgreSQL builds the JSON, because a page of a thousand runs with two hundred metrics each is
    too slow in Python.
    """
    rows = LATEST_METRICS.rows(run_ids=list(run_ids))
    return {run_id: f"[{metrics}]" for run_id, metrics in rows}


LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 7211965))"


def lock_experiment_name(name: str) -> None:
    """Lock an experiment name until the transaction ends, against concurrent creates and renames.

    The ORM cannot lock a row that does not exist yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_NAME, {"name": name})
