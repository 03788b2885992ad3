"""SQL that assigns runs to a worker, each with its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from core.database import Statement, Texts
from runs.models.event import EventKind
from runs.models.worker import Worker
from runs.status import RunStatus

SEPARATOR: Final = ","  # of devices, whose names have none

# Whoever else has locked a run, or claimed it, keeps it.
CLAIM: Final = Statement(
    f"""
WITH chosen AS (
    SELECT * FROM unnest(%(ids)s::text[], %(devices)s::text[]) AS row (id, devices)
), before AS (
    SELECT id, status, attempt FROM runs_run
    WHERE id = ANY (%(ids)s::text[]) AND worker_id IS NULL
        AND status IN ('{RunStatus.QUEUED.value}', '{RunStatus.RUNNING.value}')
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), claimed AS (
    UPDATE runs_run AS run
    SET
        status = '{RunStatus.RUNNING.value}',
        status_reason = CASE
            WHEN before.status = '{RunStatus.QUEUED.value}' THEN '' ELSE run.status_reason
        END,
        worker_id = %(worker)s::text,
        devices = string_to_array(chosen.devices, '{SEPARATOR}'),
        started_at = coalesce(run.started_at, statement_timestamp()),
        held_seconds = coalesce(run.held_seconds, 0),
        held_since = statement_timestamp(),
        updated_at = statement_timestamp()
    FROM before JOIN chosen USING (id)
    WHERE run.id = before.id
    RETURNING run.id, before.status, before.attempt
)
INSERT INTO runs_runevent (
    run_id, kind, from_status, to_status, attempt, worker_id, reason, created_at
)
SELECT
    id, '{EventKind.CLAIMED.value}',
    CASE WHEN status = '{RunStatus.QUEUED.value}' THEN status ELSE '' END,
    CASE
        WHEN status = '{RunStatus.QUEUED.value}' THEN '{RunStatus.RUNNING.value}' ELSE ''
    END,
    attempt, %(worker)s::text, '', statement_timestamp()
FROM claimed
RETURNING run_id
"""  # noqa: S608  composed of constants
)


# They stay as they are until the cluster starts them: see Run.start_in_cluster.
SUBMIT: Final = Statement(
    f"""
WITH before AS (
    SELECT id FROM runs_run
    WHERE id = ANY (%(ids)s::text[]) AND worker_id IS NULL
        AND status IN ('{RunStatus.QUEUED.value}', '{RunStatus.RUNNING.value}')
    ORDER BY id
    FOR NO KEY UPDATE SKIP LOCKED
), submitted AS (
    UPDATE runs_run AS run
    SET worker_id = %(worker)s::text, updated_at = statement_timestamp()
    FROM before
    WHERE run.id = before.id
    RETURNING run.id, run.attempt
)
INSERT INTO runs_runevent (
    run_id, kind, from_status, to_status, attempt, worker_id, reason, created_at
)
SELECT
    id, '{EventKind.SUBMITTED.value}', '', '', attempt, %(worker)s::text, '',
    statement_timestamp()
FROM submitted
RETURNING run_id
"""  # noqa: S608
)


def claim_runs(
    worker: Worker, devices: Mapping[str, Sequence[str]], *, in_queue: bool = False
) -> set[str]:
    """Assign unclaimed runs to ``worker``: ID -> the devices of its host that the run gets.
    ``in_queue``: its executor has a queue of its own.

    Returns the IDs of those that it has now: all but what others have locked or claimed.
    """
    if not devices:
        return set()
    if in_queue:
        return {pk for (pk,) in SUBMIT.rows(ids=Texts(devices), worker=worker.pk)}
    rows = CLAIM.rows(
        ids=Texts(devices),
        devices=Texts(SEPARATOR.join(names) for names in devices.values()),
        worker=worker.pk,
    )
    return {pk for (pk,) in rows}
