"""SQL beyond the ORM: one query a function, and why the ORM could not say it."""

from collections.abc import Sequence

from django.db import connection

LATEST_METRICS = """
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
FROM runs_metricseries
WHERE run_id = ANY(%(run_ids)s::text[]) AND count > 0
GROUP BY run_id
"""


def latest_metrics(run_ids: Sequence[str]) -> dict[str, str]:
    """The latest of each metric of the runs, by run: JSON arrays as texts. Reads no point.

    Written by PostgreSQL, because a page of a thousand runs with two hundred metrics each is no
    work for Python.
    """
    if not run_ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(LATEST_METRICS, {"run_ids": list(run_ids)})
        return {run_id: f"[{metrics}]" for run_id, metrics in cursor.fetchall()}


LOCK_NAME = "SELECT pg_advisory_xact_lock(hashtextextended(%(name)s, 7211965))"


def lock_experiment_name(name: str) -> None:
    """Until the transaction ends nobody else creates an experiment of this name, or renames one.

    The ORM has no word for a lock on what is not there yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(LOCK_NAME, {"name": name})
