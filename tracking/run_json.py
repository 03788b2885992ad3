"""A run as MLflow's clients read it: RunInfo, RunData, inputs and outputs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

import orjson

from runs.models import DatasetInput, ModelLink, Run
from runs.reports import DATASET_LENGTHS, NAME_TAG, text_of
from runs.status import RunStatus
from tracking.queries import latest_metrics
from tracking.vocabulary import (
    STATUS_NAMES,
    USER_TAG,
    artifact_uri,
    lifecycle_stage,
    milliseconds,
)

NO_METRICS: Final = "[]"


def runs_json(runs: Sequence[Run], *, in_full: bool) -> list[dict[str, Any]]:
    """``runs``, read with ``created_by``, and all that they hold, in three queries more.

    If not ``in_full``, metrics are told from the rows at hand: their values, without step and time.
    Clients show those of a single run alone, and a thousand runs have a million of them.
    """
    ids = [run.pk for run in runs]
    metrics = latest_metrics(ids) if in_full else {}
    datasets = _by_run(DatasetInput.objects.filter(run__in=ids))
    links = _by_run(ModelLink.objects.filter(run__in=ids))
    return [
        {
            "info": run_info(run),
            "data": {
                "metrics": orjson.Fragment(
                    metrics.get(run.pk, NO_METRICS) if in_full else _values(run)
                ),
                "params": _pairs(run.hyperparameters),
                "tags": _pairs(run.tags | {NAME_TAG: run.name}),
            },
            "inputs": {
                "dataset_inputs": [_dataset_input(dataset) for dataset in datasets[run.pk]],
                "model_inputs": [
                    {"model_id": link.model_id} for link in links[run.pk] if not link.is_output
                ],
            },
            "outputs": {
                "model_outputs": [
                    {"model_id": link.model_id, "step": link.step}
                    for link in links[run.pk]
                    if link.is_output
                ]
            },
        }
        for run in runs
    ]


def _values(run: Run) -> bytes:
    return orjson.dumps([{"key": key, "value": value} for key, value in run.metrics.items()])


def _by_run(rows: Any) -> dict[str, list[Any]]:
    found = defaultdict(list)
    for row in rows:
        found[row.run_id].append(row)
    return found


def run_info(run: Run) -> dict[str, Any]:
    info: dict[str, Any] = {
        "run_id": run.pk,
        "run_uuid": run.pk,
        "run_name": run.name,
        "experiment_id": run.project_id,
        "user_id": user_id(run),
        "status": STATUS_NAMES[RunStatus(run.status)],
        "artifact_uri": artifact_uri(run),
        "lifecycle_stage": lifecycle_stage(is_deleted=run.deleted_at is not None),
    }
    if run.started_at is not None:
        info["start_time"] = milliseconds(run.started_at)
    if run.finished_at is not None:
        info["end_time"] = milliseconds(run.finished_at)
    return info


def user_id(run: Run) -> str:
    """Whoever the script says it belongs to, else whoever made the run."""
    said: str | None = run.tags.get(USER_TAG)
    if said is None and run.created_by is not None:
        return run.created_by.get_username()
    return said or ""


def _pairs(values: dict[str, Any]) -> list[dict[str, str]]:
    return [{"key": key, "value": text_of(value)} for key, value in sorted(values.items())]


def _dataset_input(dataset: DatasetInput) -> dict[str, Any]:
    return {
        "dataset": {field: getattr(dataset, field) for field in DATASET_LENGTHS},
        "tags": _pairs(dataset.tags),
    }
