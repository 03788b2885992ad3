"""SQL about all checkpoints of some runs, as policies ask: there may be 100,000 of them, which take
a second as these rows, and a minute as models with their runs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import starmap
from typing import Final, NamedTuple

from artifacts import layouts
from core.database import Statement, Texts
from core.messages import Text, loads


class StoredCheckpoint(NamedTuple):
    """``stored_name``: as the row has it; ``size_bytes``: of its own file; ``created``,
    ``updated``: Unix time in seconds; ``layout``, ``folder``: as Artifact has them."""

    pk: str
    run_id: str
    run_name: str
    stored_name: str
    file: str
    is_uploaded: bool
    step: int | None
    size_bytes: int
    is_damaged: bool
    created: float
    updated: float
    layout: str
    folder: str = ""

    @property
    def name(self) -> Text:
        return loads(self.stored_name)


# The newest run first, and in it the newest checkpoint.
CHECKPOINTS: Final = Statement("""
SELECT
    artifact.id, run.id, run.name, artifact.name, artifact.file, artifact.stored_as <> '',
    artifact.step, artifact.size_bytes, coalesce(artifact.metadata ->> 'damage', '') <> '',
    extract(epoch FROM artifact.created_at)::float8,
    extract(epoch FROM artifact.updated_at)::float8,
    coalesce(artifact.metadata ->> 'layout', '')
FROM artifacts_artifact AS artifact
    JOIN runs_run AS run ON run.id = artifact.run_id
WHERE run.id = ANY(%(run_ids)s::text[])
    AND run.project_id = %(project_id)s::text
    AND run.deleted_at IS NULL
    AND NOT run.is_hidden
    AND artifact.type = 'checkpoint'
    AND artifact.deletion_id IS NULL
ORDER BY run.created_at DESC, run.id DESC, coalesce(artifact.step, 0) DESC, artifact.id
""")


def checkpoints_of(project_id: str, run_ids: Sequence[str]) -> list[StoredCheckpoint]:
    """Of those of the runs that are listed."""
    rows = CHECKPOINTS.rows(project_id=project_id, run_ids=Texts(run_ids))
    found = starmap(StoredCheckpoint, rows)
    return [_with_folder(item) if item.is_uploaded else item for item in found]


def _with_folder(item: StoredCheckpoint) -> StoredCheckpoint:
    """Which folder it stands for follows from its path by rules that SQL cannot express."""
    folder, layout = layouts.checkpoint_folder(item.file)
    return item if layout is None else item._replace(folder=folder, layout=layout.name)


# As RESULTS_OF of checkpoint_queries.py tells of each checkpoint, from the other side: there are
# fewer results of one key than checkpoints.
RESULTS: Final = Statement("""
SELECT DISTINCT ON (result.run_id, checkpoint.step, result.checkpoint_id)
    result.run_id, checkpoint.step, result.checkpoint_id, result.value
FROM artifacts_evaluationresult AS result
    CROSS JOIN LATERAL (
        SELECT coalesce(max(step), 0) AS step
        FROM artifacts_artifact
        WHERE run_id = result.run_id AND type = 'checkpoint' AND step <= result.step
    ) AS checkpoint
WHERE result.run_id = ANY(%(run_ids)s::text[]) AND result.key = %(key)s::text
ORDER BY result.run_id, checkpoint.step, result.checkpoint_id, result.step DESC, result.id DESC
""")


def results_of(
    checkpoints: Sequence[StoredCheckpoint], run_ids: Sequence[str], key: str
) -> dict[str, float]:
    """Id -> the newest result of its evaluations, those of evaluation runs before those of its own
    run. Without those that have none."""
    told = {
        (run_id, step, checkpoint_id): value
        for run_id, step, checkpoint_id, value in RESULTS.rows(run_ids=Texts(run_ids), key=key)
    }
    found = {}
    for item in checkpoints if told else ():
        place = (item.run_id, item.step or 0)
        value = told.get((*place, item.pk), told.get((*place, None)))
        if value is not None:
            found[item.pk] = value
    return found
