"""SQL about the checkpoints of a project, which joins them with what was measured at their steps.

Checkpoints, evaluations and metrics are tables of their own; a page of checkpoints takes one
statement for each. The results of an evaluation run belong to the checkpoint that it evaluates,
others to the run's newest checkpoint up to the step that was evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from core.database import Bigints, Statement, Texts

# For each checkpoint and metric one probe into the index of the points, backwards from its step.
METRICS_AT: Final = Statement("""
SELECT asked.position - 1, series.key, point.value
FROM unnest(%(run_ids)s::text[], %(steps)s::bigint[])
        WITH ORDINALITY AS asked (run_id, step, position)
    JOIN metrics_metricseries AS series
        ON series.run_id = asked.run_id AND series.key = ANY(%(keys)s::text[])
    CROSS JOIN LATERAL (
        SELECT value
        FROM metrics_metricpoint
        WHERE series_id = series.id AND step <= asked.step
        ORDER BY step DESC, timestamp_ms DESC, value DESC
        LIMIT 1
    ) AS point
""")


def metrics_at(places: Sequence[tuple[str, int]], keys: Sequence[str]) -> list[dict[str, float]]:
    """For each (run, step): key → the value at that step, or the newest before it."""
    found: list[dict[str, float]] = [{} for _place in places]
    if places and keys:
        rows = METRICS_AT.rows(
            run_ids=Texts([run_id for run_id, _step in places]),
            steps=Bigints([step for _run_id, step in places]),
            keys=Texts(keys),
        )
        for position, key, value in rows:
            found[position][key] = value
    return found


RESULTS_OF: Final = Statement("""
SELECT asked.position - 1, result.key, result.value
FROM unnest(%(run_ids)s::text[], %(steps)s::bigint[], %(checkpoint_ids)s::text[])
        WITH ORDINALITY AS asked (run_id, step, checkpoint_id, position)
    CROSS JOIN LATERAL (
        SELECT min(step) AS step
        FROM artifacts_artifact
        WHERE run_id = asked.run_id AND type = 'checkpoint' AND step > asked.step
    ) AS following
    CROSS JOIN LATERAL (
        SELECT DISTINCT ON (key) key, value
        FROM artifacts_evaluationresult
        WHERE run_id = asked.run_id
            AND step >= asked.step
            AND (following.step IS NULL OR step < following.step)
            AND (checkpoint_id IS NULL OR checkpoint_id = asked.checkpoint_id)
        ORDER BY key, checkpoint_id IS NULL, step DESC, id DESC
    ) AS result
ORDER BY asked.position, result.key
""")


def results_of(places: Sequence[tuple[str, int, str]]) -> list[dict[str, float]]:
    """For each checkpoint (run, step, id): key → the newest result of its evaluations, those of
    evaluation runs before those of its own run."""
    found: list[dict[str, float]] = [{} for _place in places]
    if places:
        rows = RESULTS_OF.rows(
            run_ids=Texts([run_id for run_id, _step, _id in places]),
            steps=Bigints([step for _run_id, step, _id in places]),
            checkpoint_ids=Texts([pk for _run_id, _step, pk in places]),
        )
        for position, key, value in rows:
            found[position][key] = value
    return found


# --- leaderboards --------------------------------------------------------------------------------

# One probe of the index for each key, instead of a scan of all results.
RESULT_KEYS: Final = Statement("""
WITH RECURSIVE known (key) AS (
    (
        SELECT key
        FROM artifacts_evaluationresult
        WHERE project_id = %(project_id)s::text
        ORDER BY key
        LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT key
        FROM artifacts_evaluationresult
        WHERE project_id = %(project_id)s::text AND key > known.key
        ORDER BY key
        LIMIT 1
    )
    FROM known
    WHERE known.key IS NOT NULL
)
SELECT key FROM known WHERE key IS NOT NULL LIMIT %(limit)s::bigint
""")


def result_keys(project_id: str, *, limit: int) -> list[str]:
    """What evaluations of the project have measured, in alphabetical order."""
    return [row[0] for row in RESULT_KEYS.rows(project_id=project_id, limit=limit)]


@dataclass(frozen=True, slots=True)
class Rank:
    """A checkpoint's place is that of its row. ``step``: where ``value`` was measured."""

    checkpoint_id: str
    value: float
    step: int


# Read in the order of the index until there are enough. A result counts unless the checkpoint has a
# newer one of the same key, or has been removed: its results are then nobody's.
_RANKED_RESULTS: Final = """
SELECT checkpoint.id, result.value, result.step
FROM artifacts_evaluationresult AS result
    JOIN runs_run AS run
        ON run.id = result.run_id AND run.deleted_at IS NULL AND NOT run.is_hidden
    CROSS JOIN LATERAL (
        SELECT id, step, deletion_id
        FROM artifacts_artifact
        WHERE run_id = result.run_id AND type = 'checkpoint' AND step <= result.step
            AND (result.checkpoint_id IS NULL OR id = result.checkpoint_id)
        ORDER BY step DESC, deletion_id IS NULL DESC, stored_as = '' DESC, updated_at DESC
        LIMIT 1
    ) AS checkpoint
    CROSS JOIN LATERAL (
        SELECT min(step) AS step
        FROM artifacts_artifact
        WHERE run_id = result.run_id AND type = 'checkpoint' AND step > checkpoint.step
    ) AS following
WHERE result.project_id = %(project_id)s::text
    AND result.key = %(key)s::text
    AND checkpoint.deletion_id IS NULL
    AND NOT EXISTS (
        SELECT
        FROM artifacts_evaluationresult AS newer
        WHERE newer.run_id = result.run_id
            AND newer.key = result.key
            AND newer.step >= checkpoint.step
            AND newer.step < coalesce(following.step, 9223372036854775807)
            AND (newer.checkpoint_id IS NULL OR newer.checkpoint_id = checkpoint.id)
            AND (newer.checkpoint_id IS NOT NULL, newer.step, newer.id)
                > (result.checkpoint_id IS NOT NULL, result.step, result.id)
    )
ORDER BY result.value {order}
LIMIT %(limit)s::bigint
"""
LOWEST_RESULTS: Final = Statement(_RANKED_RESULTS.format(order="ASC"))
HIGHEST_RESULTS: Final = Statement(_RANKED_RESULTS.format(order="DESC"))


def ranked_results(project_id: str, key: str, *, lowest_first: bool, limit: int) -> list[Rank]:
    """The checkpoints with the best results of that key, the best first."""
    statement = LOWEST_RESULTS if lowest_first else HIGHEST_RESULTS
    return [Rank(*row) for row in statement.rows(project_id=project_id, key=key, limit=limit)]


# No checkpoint of a run is better than the best value of the run, which its series knows. Runs
# without a checkpoint are left out here: there may be a hundred thousand.
_BOUNDS: Final = """
SELECT series.run_id, series.{column}
FROM metrics_metricseries AS series
    JOIN runs_run AS run ON run.id = series.run_id
WHERE series.key = %(key)s::text
    AND series.{column} IS NOT NULL
    AND run.project_id = %(project_id)s::text
    AND run.deleted_at IS NULL
    AND NOT run.is_hidden
    AND EXISTS (
        SELECT
        FROM artifacts_artifact AS artifact
        WHERE artifact.run_id = run.id AND artifact.type = 'checkpoint'
            AND artifact.deletion_id IS NULL
    )
ORDER BY series.{column} {order}
LIMIT %(limit)s::bigint
"""
MINIMA: Final = Statement(_BOUNDS.format(column="minimum", order="ASC"))
MAXIMA: Final = Statement(_BOUNDS.format(column="maximum", order="DESC"))


def best_values(
    project_id: str, key: str, *, lowest_first: bool, limit: int | None = None
) -> list[tuple[str, float]]:
    """The best value that each run of the project with checkpoints has ever had, the best run
    first. ``limit``: None has no limit."""
    statement = MINIMA if lowest_first else MAXIMA
    return statement.rows(project_id=project_id, key=key, limit=limit)


_CHECKPOINT_VALUES: Final = """
SELECT artifact.id, point.value, point.step
FROM metrics_metricseries AS series
    JOIN artifacts_artifact AS artifact
        ON artifact.run_id = series.run_id AND artifact.type = 'checkpoint'
            AND artifact.deletion_id IS NULL
    CROSS JOIN LATERAL (
        SELECT value, step
        FROM metrics_metricpoint
        WHERE series_id = series.id AND step <= artifact.step
        ORDER BY step DESC, timestamp_ms DESC, value DESC
        LIMIT 1
    ) AS point
WHERE series.run_id = ANY(%(run_ids)s::text[])
    AND series.key = %(key)s::text
    AND point.value <> 'NaN'
ORDER BY point.value {order}
LIMIT %(limit)s::bigint
"""
LOWEST_VALUES: Final = Statement(_CHECKPOINT_VALUES.format(order="ASC"))
HIGHEST_VALUES: Final = Statement(_CHECKPOINT_VALUES.format(order="DESC"))


def checkpoint_values(
    run_ids: Sequence[str], key: str, *, lowest_first: bool, limit: int
) -> list[Rank]:
    """Of the runs' checkpoints, by the metric's values at their steps, the best ones first."""
    statement = LOWEST_VALUES if lowest_first else HIGHEST_VALUES
    return [Rank(*row) for row in statement.rows(run_ids=Texts(run_ids), key=key, limit=limit)]
