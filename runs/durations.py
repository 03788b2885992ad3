"""How long a new run will hold its GPUs, by earlier runs like it."""

from __future__ import annotations

from statistics import median
from typing import Final

from core.database import Statement
from runs.models import Run
from runs.status import RunStatus

LOOKED_AT: Final = 200  # newest runs of the project
USED: Final = 30  # of these, newest first

# By the index of a project's runs, so that its cost does not grow with their number.
EARLIER: Final = Statement(
    f"""
SELECT held_seconds, (step - start_step)::int8, status = '{RunStatus.COMPLETED.value}'
FROM (
    SELECT recipe_id, gpu_count, held_seconds, finished_at, step, start_step, status
    FROM runs_run
    WHERE project_id = %(project)s::text AND NOT is_hidden AND deleted_at IS NULL
    ORDER BY created_at DESC, id
    LIMIT {LOOKED_AT}
) AS newest
WHERE recipe_id = %(recipe)s::text AND gpu_count = %(gpu_count)s::int8
    AND finished_at IS NOT NULL AND held_seconds > 0
LIMIT {USED}
"""  # noqa: S608  composed of constants
)


def expected_seconds(run: Run) -> float | None:
    """By runs of the same project and recipe, with as many GPUs: the time that a step has taken
    there, if the number of steps is known, else that of those that completed. None: there are
    none."""
    assert run.recipe_id is not None
    earlier = EARLIER.rows(project=run.project_id, recipe=run.recipe_id, gpu_count=run.gpu_count)
    rates = [seconds / steps for seconds, steps, _completed in earlier if steps > 0]
    if run.total_steps and rates:
        return float(median(rates)) * max(0, run.total_steps - run.start_step)
    whole = [seconds for seconds, _steps, completed in earlier if completed]
    return float(median(whole)) if whole else None
