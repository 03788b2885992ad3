"""Which rows belong to a project, and how a row becomes JSON and a row again.

Users are written by name, everything else by its value; what belongs to one installation alone
(workers, tokens, teams, the state of executors, indexes that workers compute again) stays there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Field, ForeignKey, Q

from artifacts.models import Artifact, ArtifactTag, EvaluationResult
from core.numbers import json_number
from goodput.models import AttemptRecord
from projects.models import Project
from registry.checkpoint_policy import CheckpointPolicy
from registry.evaluation_rules import EvaluationRule
from registry.logged_models import LoggedModel, LoggedModelMetric
from registry.models import ModelAlias, ModelVersion, RegisteredModel
from registry.release_policy import ReleasePolicy
from registry.release_requests import ReleaseRequest
from runs.models import DatasetInput, ModelLink, Run, RunCode, RunEvent
from sweeps.models import Sweep, SweepTrial

Row = dict[str, Any]
ROWS_AT_ONCE: Final = 2000


@dataclass(frozen=True)
class Table:
    """``rows``: those of a project, by its id, in the order in which they are written."""

    name: str
    model: type[models.Model]
    rows: Callable[[str], models.QuerySet[Any]]
    left_out: frozenset[str] = frozenset()

    @property
    def fields(self) -> list[Field[Any, Any]]:
        """Without keys that only count rows."""
        return [
            field
            for field in self.model._meta.local_concrete_fields
            if field.name not in self.left_out
            and not (isinstance(field, models.AutoField) and self.name not in REFERRED_BY_NUMBER)
            and not isinstance(field, models.CompositePrimaryKey)
        ]

    def exported(self, project_id: str) -> Iterator[Row]:
        fields = self.fields
        related = [field.name for field in fields if _is_named(field)]
        rows = self.rows(project_id)
        rows = rows.select_related(*related) if related else rows
        for row in rows.iterator(ROWS_AT_ONCE):
            yield {column_of(field): _exported(field, row) for field in fields}


# Versions, to which aliases point.
REFERRED_BY_NUMBER: Final = frozenset({"model_versions"})


def _is_user(field: Field[Any, Any]) -> bool:
    return isinstance(field, ForeignKey) and (
        field.remote_field.model._meta.label == settings.AUTH_USER_MODEL
    )


def _is_worker(field: Field[Any, Any]) -> bool:
    return isinstance(field, ForeignKey) and field.remote_field.model._meta.label == "runs.Worker"


def _is_named(field: Field[Any, Any]) -> bool:
    """Whether it is written as a name, for readers: ids of users and workers mean nothing."""
    return _is_user(field) or _is_worker(field)


def column_of(field: Field[Any, Any]) -> str:
    return field.name if _is_named(field) else field.attname


def _exported(field: Field[Any, Any], row: models.Model) -> Any:
    if _is_named(field):
        other = getattr(row, field.name)
        return None if other is None else (other.username if _is_user(field) else other.name)
    value = getattr(row, field.attname)
    if isinstance(field, models.FloatField):
        return json_number(value)
    if isinstance(field, models.TextField) and value is not None:
        return field.value_to_string(row)  # of a message: the text that is stored
    return value


def imported(
    table: Table, row: Mapping[str, Any], users: Callable[[str], int | None]
) -> dict[str, Any]:
    """The values of a row by attribute; of columns that an earlier version did not have, their
    defaults. ``users``: the id of a user here. Raises ValidationError."""
    values: dict[str, Any] = {}
    for field in table.fields:
        column = column_of(field)
        if _is_worker(field):
            continue
        if column not in row:
            values[field.attname] = field.get_default()
        elif _is_user(field):
            values[field.attname] = None if row[column] is None else users(row[column])
        elif isinstance(field, ForeignKey):
            values[field.attname] = row[column]
        else:
            values[field.attname] = _checked(field, field.to_python(row[column]))
    return values


def _checked(field: Field[Any, Any], value: Any) -> Any:
    """One of the field's choices, if it has any: pages know no other."""
    choices = _choices_of(field)
    if choices and value not in choices and value not in field.empty_values:
        raise ValidationError(f"{field.name}: {value!r}")
    return value


@cache
def _choices_of(field: Field[Any, Any]) -> frozenset[Any]:
    return frozenset(value for value, _label in field.flatchoices)


def _of_runs(model: type[models.Model], order: str, run: str = "run") -> Callable[[str], Any]:
    """The rows of the project's runs, in a fixed order."""

    def rows(project_id: str) -> models.QuerySet[Any]:
        found = model._default_manager.filter(**{f"{run}__project": project_id})
        return found.order_by(f"{run}__created_at", run, *order.split())

    return rows


def _models(project_id: str) -> models.QuerySet[Any]:
    return RegisteredModel.objects.filter(
        pk__in=ModelVersion.objects.filter(project=project_id).values("model")
    ).order_by("name")


HISTORY: Final[type[models.Model]] = Project.history.model

RUN_LEFT_OUT: Final = frozenset(
    {"executor_state", "script_tokens", "devices", "is_indexed", "is_accounted", "estimated_start"}
)

# In the order in which they come in: what is referred to comes first.
TABLES: Final = (
    Table("project", Project, lambda pk: Project.objects.filter(pk=pk), frozenset({"team"})),
    Table(
        "project_versions",
        HISTORY,
        lambda pk: HISTORY._default_manager.filter(id=pk).order_by("version", "history_id"),
    ),
    Table(
        "runs",
        Run,
        lambda pk: Run.objects.filter(project=pk).order_by("created_at", "id"),
        RUN_LEFT_OUT,
    ),
    Table("run_events", RunEvent, _of_runs(RunEvent, "id")),
    Table("run_code", RunCode, lambda pk: RunCode.objects.filter(run__project=pk).order_by("run")),
    Table("datasets", DatasetInput, _of_runs(DatasetInput, "id")),
    Table("model_links", ModelLink, _of_runs(ModelLink, "id")),
    Table("attempts", AttemptRecord, _of_runs(AttemptRecord, "number")),
    Table(
        "artifacts", Artifact, _of_runs(Artifact, "created_at id"), frozenset({"deletion"})
    ),  # without what is in the trash
    Table(
        "artifact_tags",
        ArtifactTag,
        lambda pk: ArtifactTag.objects.filter(
            artifact__run__project=pk, artifact__deletion=None
        ).order_by("id"),
    ),
    Table(
        "evaluation_results",
        EvaluationResult,
        lambda pk: EvaluationResult.objects.filter(project=pk).order_by("id"),
    ),
    Table(
        "logged_models",
        LoggedModel,
        lambda pk: LoggedModel.objects.filter(project=pk).order_by("created_at", "id"),
    ),
    Table(
        "logged_model_metrics",
        LoggedModelMetric,
        lambda pk: LoggedModelMetric.objects.filter(model__project=pk, run__project=pk).order_by(
            "id"
        ),
    ),
    Table("registered_models", RegisteredModel, _models, frozenset({"team", "created_by"})),
    Table(
        "model_versions",
        ModelVersion,
        lambda pk: ModelVersion.objects.filter(project=pk).order_by("model", "number"),
    ),
    Table(
        "model_aliases",
        ModelAlias,
        lambda pk: ModelAlias.objects.filter(Q(version__project=pk)).order_by("model", "alias"),
    ),
    Table(
        "sweeps", Sweep, lambda pk: Sweep.objects.filter(project=pk).order_by("created_at", "id")
    ),
    Table(
        "sweep_trials",
        SweepTrial,
        lambda pk: SweepTrial.objects.filter(sweep__project=pk).order_by("sweep", "number"),
    ),
    Table("release_policy", ReleasePolicy, lambda pk: ReleasePolicy.objects.filter(pk=pk)),
    Table(
        "release_requests",
        ReleaseRequest,
        lambda pk: ReleaseRequest.objects.filter(project=pk).order_by("asked_at", "id"),
    ),
    Table(
        "checkpoint_policy",
        CheckpointPolicy,
        lambda pk: CheckpointPolicy.objects.filter(pk=pk),
        frozenset({"applied_at", "problem"}),
    ),
    Table(
        "evaluation_rules",
        EvaluationRule,
        lambda pk: EvaluationRule.objects.filter(project=pk).order_by("created_at", "id"),
        frozenset({"seen_until", "problem"}),
    ),
)
