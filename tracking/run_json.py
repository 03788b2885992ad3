"""Runs as MLflow JSON: RunInfo, RunData, inputs, and outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson
from django.contrib.auth.models import User

from accounts.permissions import sees_everything
from core.json_field import loads
from core.times import milliseconds
from registry.logged_models import LoggedModel
from runs.inputs import DATASET_LENGTHS
from runs.models import DatasetInput, ModelLink, Run
from runs.params_tags import NAME_TAG, text_of
from runs.status import RunStatus
from tracking.queries import RunRow, latest_metrics, run_rows
from tracking.vocabulary import (
    STATUS_NAMES,
    USER_TAG,
    artifact_uri,
    lifecycle_stage,
)

NO_METRICS: Final = "[]"


def run_json(run_id: str, caller: User) -> dict[str, Any]:
    """The complete run. Raises Run.DoesNotExist."""
    for run in runs_json([run_id], caller, in_full=True):
        return run
    raise Run.DoesNotExist


def runs_json(ids: Sequence[str], caller: User, *, in_full: bool) -> list[dict[str, Any]]:
    """The runs in the order of ``ids``, in at most five queries, skipping runs deleted in the
    meantime, and without the models that ``caller`` does not see.

    Unless ``in_full``, metrics come from the run rows: values without step and timestamp. Clients
    show those for a single run only, and a thousand runs can have a million of them.
    """
    rows = run_rows(ids, with_metrics=not in_full)
    metrics = latest_metrics(ids) if in_full else {}
    datasets = _by_run(DatasetInput, [row.id for row in rows if row.has_datasets])
    links = _links([row.id for row in rows if row.has_models], caller)
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
        # The user that the client reports, else the user who created the run.
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
    rows = defaultdict(list)
    for row in model.objects.filter(run__in=ids):  # Django runs no query for an empty list
        rows[row.run_id].append(row)
    return rows


def _links(run_ids: list[str], caller: User) -> dict[str, list[ModelLink]]:
    links: dict[str, list[ModelLink]] = _by_run(ModelLink, run_ids)
    ids = {link.model_id for of_run in links.values() for link in of_run}
    if not ids or sees_everything(caller):
        return links
    here = LoggedModel.objects.filter(pk__in=ids)
    unseen = set(here.values_list("pk", flat=True))
    unseen -= set(here.visible_to(caller).values_list("pk", flat=True))
    kept: dict[str, list[ModelLink]] = defaultdict(list)
    for run_id, of_run in links.items():
        kept[run_id] = [link for link in of_run if link.model_id not in unseen]
    return kept


def _pairs(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "value": text_of(value)} for key, value in sorted(values.items())]


def _dataset_input(dataset: DatasetInput) -> dict[str, Any]:
    return {
        "dataset": {field: getattr(dataset, field) for field in DATASET_LENGTHS},
        "tags": _pairs(dataset.tags),
    }
