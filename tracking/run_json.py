"""A run as MLflow's clients read it: RunInfo, RunData, inputs and outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from runs.models import DatasetInput, ModelLink, Run
from runs.reports import DATASET_LENGTHS, NAME_TAG, text_of
from runs.status import RunStatus
from tracking.queries import RunRow, latest_metrics, run_rows
from tracking.vocabulary import (
    STATUS_NAMES,
    USER_TAG,
    artifact_uri,
    lifecycle_stage,
    milliseconds,
)
from trainhub.json_field import loads

NO_METRICS: Final = "[]"


def run_json(run_id: str) -> dict[str, Any]:
    """All that a run holds. Raises Run.DoesNotExist."""
    for run in runs_json([run_id], in_full=True):
        return run
    raise Run.DoesNotExist


def runs_json(ids: Sequence[str], *, in_full: bool) -> list[dict[str, Any]]:
    """The runs of ``ids`` and all that they hold, in that order, in four queries at most; without
    those that have gone meanwhile.

    If not ``in_full``, metrics are told from the runs' own rows: their values, without step and
    time. Clients show those of a single run alone, and a thousand runs have a million of them.
    """
    rows = run_rows(ids, with_metrics=not in_full)
    metrics = latest_metrics(ids) if in_full else {}
    datasets = _by_run(DatasetInput, [row.id for row in rows if row.has_datasets])
    links = _by_run(ModelLink, [row.id for row in rows if row.has_models])
    return [
        {
            "info": _info(row, tags),
            "data": {
                "metrics": orjson.Fragment(
                    metrics.get(row.id, NO_METRICS) if row.metrics is None else _values(row.metrics)
                ),
                "params": _pairs(loads(row.hyperparameters)),
                "tags": _pairs(tags | {NAME_TAG: row.name}),
            },
            "inputs": {
                "dataset_inputs": [_dataset_input(dataset) for dataset in datasets[row.id]],
                "model_inputs": [
                    {"model_id": link.model_id} for link in links[row.id] if not link.is_output
                ],
            },
            "outputs": {
                "model_outputs": [
                    {"model_id": link.model_id, "step": link.step}
                    for link in links[row.id]
                    if link.is_output
                ]
            },
        }
        for row in rows
        for tags in [loads(row.tags)]
    ]


def run_info(run_id: str) -> dict[str, Any]:
    """Raises Run.DoesNotExist."""
    for row in run_rows([run_id], with_metrics=False):
        return _info(row, loads(row.tags))
    raise Run.DoesNotExist


def _info(row: RunRow, tags: dict[str, str]) -> dict[str, Any]:
    info: dict[str, Any] = {
        "run_id": row.id,
        "run_uuid": row.id,
        "run_name": row.name,
        "experiment_id": row.project_id,
        # Whoever the script says it belongs to, else whoever made the run.
        "user_id": tags.get(USER_TAG, row.created_by or ""),
        "status": STATUS_NAMES[RunStatus(row.status)],
        "artifact_uri": artifact_uri(row.project_id, row.id),
        "lifecycle_stage": lifecycle_stage(is_deleted=row.is_deleted),
    }
    if row.started_at is not None:
        info["start_time"] = milliseconds(row.started_at)
    if row.finished_at is not None:
        info["end_time"] = milliseconds(row.finished_at)
    return info


def _values(metrics: str) -> bytes:
    values: dict[str, Any] = loads(metrics)
    return orjson.dumps([{"key": key, "value": value} for key, value in values.items()])


def _by_run(model: Any, ids: list[str]) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for row in model.objects.filter(run__in=ids):  # no query for no ids
        found[row.run_id].append(row)
    return found


def _pairs(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "value": text_of(value)} for key, value in sorted(values.items())]


def _dataset_input(dataset: DatasetInput) -> dict[str, Any]:
    return {
        "dataset": {field: getattr(dataset, field) for field in DATASET_LENGTHS},
        "tags": _pairs(dataset.tags),
    }
