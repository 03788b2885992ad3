"""Raw SQL, one query per function, each with the reason the ORM cannot express it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection


@dataclass(frozen=True)
class ModelPoint:
    """A metric of a logged model; the dataset fields are empty if the client did not send them."""

    model_id: str
    key: str
    value: float
    timestamp_ms: int
    step: int
    dataset_name: str = ""
    dataset_digest: str = ""


UPSERT_MODEL_METRICS = """
INSERT INTO registry_loggedmodelmetric AS stored
    (model_id, run_id, key, dataset_name, dataset_digest, value, timestamp_ms, step)
SELECT DISTINCT ON (model_id, key, dataset_name, dataset_digest)
    model_id, %(run_id)s, key, dataset_name, dataset_digest, value, timestamp_ms, step
FROM unnest(
    %(model_ids)s::text[], %(keys)s::text[], %(dataset_names)s::text[], %(dataset_digests)s::text[],
    %(values)s::float8[], %(timestamps_ms)s::bigint[], %(steps)s::bigint[]
) AS new (model_id, key, dataset_name, dataset_digest, value, timestamp_ms, step)
WHERE EXISTS (SELECT FROM registry_loggedmodel model WHERE model.id = new.model_id)
ORDER BY
    model_id, key, dataset_name, dataset_digest, step DESC, timestamp_ms DESC, value DESC
ON CONFLICT (model_id, run_id, key, dataset_name, dataset_digest) DO UPDATE
SET value = excluded.value, timestamp_ms = excluded.timestamp_ms, step = excluded.step
WHERE (excluded.step, excluded.timestamp_ms, excluded.value)
    > (stored.step, stored.timestamp_ms, stored.value)
"""


def upsert_model_metrics(run_id: str, points: Sequence[ModelPoint]) -> None:
    """Keep the latest point of each metric: largest step, then timestamp, then value.

    The ORM's upsert cannot skip rows that are already newer. Points of unknown models are ignored.
    Rows are upserted in a fixed order, so that concurrent calls do not deadlock.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            UPSERT_MODEL_METRICS,
            {
                "run_id": run_id,
                "model_ids": [point.model_id for point in points],
                "keys": [point.key for point in points],
                "dataset_names": [point.dataset_name for point in points],
                "dataset_digests": [point.dataset_digest for point in points],
                "values": [point.value for point in points],
                "timestamps_ms": [point.timestamp_ms for point in points],
                "steps": [point.step for point in points],
            },
        )
