"""Database columns behind the names in the filter and sort order of each search."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final

from django.db.models import (
    Case,
    Exists,
    F,
    FilteredRelation,
    Func,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Concat, NullIf

from registry.logged_models import LoggedModelMetric
from runs.models import DatasetInput
from runs.params_tags import NAME_TAG
from tracking.conditions import (
    Column,
    Columns,
    Kind,
    cannot_sort,
    json_text,
    json_value,
    unknown_field,
)
from tracking.filters import Name
from tracking.vocabulary import NOTE_TAG, STATUS_NAMES, USER_TAG

PROMPT_TAG: Final = "mlflow.prompt.is_prompt"


def _text(field: str) -> Column:
    return Column(Kind.TEXT, F(field))


def _here_or_elsewhere(field: str) -> Column:
    """The ID of a run, or of one that is not here."""
    return Column(Kind.TEXT, Coalesce(field, NullIf("run_elsewhere", Value(""))))


def _time(field: str) -> Column:
    return Column(Kind.TIME, F(field))


class ExperimentColumns(Columns):
    ATTRIBUTES: ClassVar = {
        "name": _text("name"),
        "experiment_id": _text("pk"),
        "creation_time": _time("created_at"),
        "created": _time("created_at"),
        "last_update_time": _time("updated_at"),
    }
    TEXTS: ClassVar = {"tag": "experiment_tags"}

    def column(self, name: Name) -> Column:
        if (name.entity, name.key) == ("tag", NOTE_TAG):
            note = Func(F("description"), Value(""), function="NULLIF", output_field=TextField())
            return Column(Kind.TEXT, note)
        return super().column(name)


# --- runs ------------------------------------------------------------------------------------

STATUS: Final = Case(
    *(When(status=status, then=Value(name)) for status, name in STATUS_NAMES.items()),
    output_field=TextField(),
)
USER: Final = Coalesce(
    json_text("tags", USER_TAG), "created_by__username", output_field=TextField()
)
ARTIFACT_URI: Final = Concat(
    Value("mlflow-artifacts:/"),
    *("project_id", Value("/"), "id", Value("/artifacts")),
    output_field=TextField(),
)


class RunColumns(Columns):
    ATTRIBUTES: ClassVar = {
        "run_id": _text("id"),
        "run_uuid": _text("id"),
        "run_name": _text("name"),
        "run name": _text("name"),
        "experiment_id": _text("project_id"),
        "start_time": _time("started_at"),
        "created": _time("started_at"),
        "end_time": _time("finished_at"),
        "status": Column(Kind.TEXT, STATUS),
        "user_id": Column(Kind.TEXT, USER),
        "user": Column(Kind.TEXT, USER),
        "artifact_uri": Column(Kind.TEXT, ARTIFACT_URI),
    }
    TEXTS: ClassVar = {"tag": "tags"}
    DATASET: ClassVar[Mapping[str, Any]] = {
        "name": F("name"),
        "digest": F("digest"),
        "context": json_text("tags", "mlflow.data.context"),
    }

    def __init__(self) -> None:
        self._metrics: dict[str, str] = {}  # metric key -> alias of its value in the query

    def column(self, name: Name) -> Column:
        if name.entity == "metric":
            alias = self._metrics.setdefault(name.key, f"metric_{len(self._metrics)}_value")
            return Column(Kind.NUMBER, F(alias))
        if name.entity == "param":
            return Column(
                Kind.PARAM,
                json_text("hyperparameters", name.key),
                json=json_value("hyperparameters", name.key),
            )
        if name.entity == "dataset":
            return self._dataset(name)
        if (name.entity, name.key) == ("tag", NAME_TAG):
            return self.ATTRIBUTES["run_name"]
        return super().column(name)

    def _dataset(self, name: Name) -> Column:
        if name.key not in self.DATASET:
            raise unknown_field(name, self.DATASET)
        inputs = DatasetInput.objects.filter(run=OuterRef("pk")).order_by()
        return Column(
            Kind.TEXT,
            self.DATASET[name.key],
            wrap=lambda condition: Q(Exists(inputs.filter(condition))),
        )

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Join the series table once per metric, so that PostgreSQL can use its index and start
        with the smaller side."""
        for number, (key, alias) in enumerate(self._metrics.items()):
            relation = FilteredRelation("series", condition=Q(series__key=key))
            rows = rows.alias(**{f"metric_{number}": relation}).alias(
                **{alias: F(f"metric_{number}__last_value")}
            )
        return rows


# --- the registry ----------------------------------------------------------------------------


class RegistryColumns(Columns):
    """Registry searches sort by attributes only and have no OR, as in MLflow."""

    TEXTS: ClassVar[Mapping[str, str]] = {"tag": "tags"}
    HAS_OR: ClassVar = False

    def sorting(self, name: Name) -> Column:
        if name.entity != "attribute":
            raise cannot_sort(name)
        return super().sorting(name)


class PromptColumns(RegistryColumns):
    """Prompts are registered models with PROMPT_TAG: only a filter on that tag finds them."""

    # Models that are not prompts lack the tag, but clients search for them by "false".
    IS_PROMPT: ClassVar[Any] = Coalesce(
        json_text("tags", PROMPT_TAG), Value("false", output_field=TextField())
    )

    def __init__(self) -> None:
        self._names_prompts = False

    def column(self, name: Name) -> Column:
        if (name.entity, name.key) == ("tag", PROMPT_TAG):
            self._names_prompts = True
            return Column(Kind.TEXT, self.IS_PROMPT)
        return super().column(name)

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        if self._names_prompts:
            return rows
        without: QuerySet[Any] = rows.alias(is_prompt=self.IS_PROMPT).exclude(is_prompt="true")
        return without


class RegisteredModelColumns(PromptColumns):
    ATTRIBUTES: ClassVar = {
        "name": _text("name"),
        "creation_timestamp": _time("created_at"),
        "timestamp": _time("created_at"),
        "last_updated_timestamp": _time("updated_at"),
    }


class ModelVersionColumns(PromptColumns):
    PRIMARY_KEY: ClassVar = Column(Kind.INTEGER, F("pk"))
    ATTRIBUTES: ClassVar = {
        "name": _text("model__name"),
        "version_number": Column(Kind.INTEGER, F("number")),
        "version": Column(Kind.INTEGER, F("number")),
        "run_id": _here_or_elsewhere("run_id"),
        "source": _text("source"),
        "source_path": _text("source"),
        "current_stage": _text("stage"),
        "creation_timestamp": _time("created_at"),
        "last_updated_timestamp": _time("updated_at"),
    }


@dataclass(frozen=True, slots=True)
class MetricOnDataset(Name):
    """A logged model metric to sort by, measured on the datasets that match ``on_dataset``."""

    on_dataset: Q


class LoggedModelColumns(RegistryColumns):
    ATTRIBUTES: ClassVar = {
        "name": _text("name"),
        "model_id": _text("id"),
        "model_type": _text("model_type"),
        "status": _text("status"),
        "source_run_id": _here_or_elsewhere("source_run_id"),
        "creation_timestamp": _time("created_at"),
        "creation_timestamp_ms": _time("created_at"),
        "creation_time": _time("created_at"),
        "last_updated_timestamp": _time("updated_at"),
        "last_updated_timestamp_ms": _time("updated_at"),
    }
    TEXTS: ClassVar = {"tag": "tags", "param": "params"}

    def __init__(self, on_dataset: Q) -> None:
        """``on_dataset`` selects the metrics that filters compare."""
        self._on_dataset = on_dataset

    def column(self, name: Name) -> Column:
        if name.entity == "metric":
            metrics = _metrics(name).filter(self._on_dataset)
            return Column(
                Kind.NUMBER, F("value"), wrap=lambda condition: Q(Exists(metrics.filter(condition)))
            )
        return super().column(name)

    def sorting(self, name: Name) -> Column:
        if isinstance(name, MetricOnDataset):
            metrics = _metrics(name).filter(name.on_dataset)
            latest = metrics.order_by("-timestamp_ms", "-step", "run_id").values("value")[:1]
            return Column(Kind.NUMBER, Subquery(latest))
        return super().sorting(name)


def _metrics(name: Name) -> QuerySet[LoggedModelMetric]:
    return LoggedModelMetric.objects.filter(model=OuterRef("pk"), key=name.key)
