"""What the names in each search's filter and order stand for in the database."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from django.db.models import (
    Case,
    Exists,
    F,
    FilteredRelation,
    Func,
    JSONField,
    OuterRef,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Concat
from django.utils.translation import gettext as _

from runs.models import DatasetInput
from runs.reports import NAME_TAG
from tracking.conditions import Column, Columns, Kind
from tracking.errors import InvalidParameter
from tracking.filters import Name
from tracking.vocabulary import NOTE_TAG, STATUS_NAMES, USER_TAG


class ExperimentColumns(Columns):
    ATTRIBUTES: Final = {
        "name": (Kind.TEXT, "name"),
        "experiment_id": (Kind.TEXT, "pk"),
        "creation_time": (Kind.TIME, "created_at"),
        "created": (Kind.TIME, "created_at"),
        "last_update_time": (Kind.TIME, "updated_at"),
    }

    def column(self, name: Name) -> Column:
        if name.entity == "tag":
            if name.key == NOTE_TAG:
                return Column(Kind.TEXT, _none_if_empty("description"))
            return Column(Kind.TEXT, json_text("experiment_tags", name.key))
        known = self.ATTRIBUTES.get(name.key.lower())
        if name.entity != "attribute" or known is None:
            raise _unknown(name, self.ATTRIBUTES)
        kind, field = known
        return Column(kind, F(field))


class RunColumns(Columns):
    ATTRIBUTES: Final = {
        "run_id": (Kind.TEXT, "id"),
        "run_uuid": (Kind.TEXT, "id"),
        "run_name": (Kind.TEXT, "name"),
        "run name": (Kind.TEXT, "name"),
        "experiment_id": (Kind.TEXT, "project_id"),
        "start_time": (Kind.TIME, "started_at"),
        "created": (Kind.TIME, "started_at"),
        "end_time": (Kind.TIME, "finished_at"),
    }
    DATASET: Final = ("name", "digest", "context")

    def __init__(self) -> None:
        self._metrics: dict[str, str] = {}  # key -> what its value is called in the query

    def column(self, name: Name) -> Column:
        if name.entity == "metric":
            called = self._metrics.setdefault(name.key, f"metric_{len(self._metrics)}_value")
            return Column(Kind.NUMBER, F(called))
        if name.entity == "param":
            return Column(
                Kind.PARAM,
                json_text("hyperparameters", name.key),
                json=json_value("hyperparameters", name.key),
            )
        if name.entity == "tag":
            if name.key == NAME_TAG:
                return Column(Kind.TEXT, F("name"))
            return Column(Kind.TEXT, json_text("tags", name.key))
        if name.entity == "dataset":
            return self._dataset(name)
        return self._attribute(name)

    def _attribute(self, name: Name) -> Column:
        key = name.key.lower()
        if key in self.ATTRIBUTES:
            kind, field = self.ATTRIBUTES[key]
            return Column(kind, F(field))
        if key == "status":
            names = [When(status=status, then=Value(said)) for status, said in STATUS_NAMES.items()]
            return Column(Kind.TEXT, Case(*names, output_field=TextField()))
        if key in ("user_id", "user"):
            user = json_text("tags", USER_TAG)
            return Column(
                Kind.TEXT, Coalesce(user, "created_by__username", output_field=TextField())
            )
        if key == "artifact_uri":
            parts = (Value("mlflow-artifacts:/"), "project_id", Value("/"), "id")
            return Column(Kind.TEXT, Concat(*parts, Value("/artifacts"), output_field=TextField()))
        raise _unknown(name, (*self.ATTRIBUTES, "status", "user_id", "artifact_uri"))

    def _dataset(self, name: Name) -> Column:
        if name.key not in self.DATASET:
            raise _unknown(name, self.DATASET)
        expression: Any = F(name.key)
        if name.key == "context":
            expression = json_text("tags", "mlflow.data.context")
        inputs = DatasetInput.objects.filter(run=OuterRef("pk")).order_by()
        return Column(Kind.TEXT, expression, wrap=lambda found: Q(Exists(inputs.filter(found))))

    def prepare(self, rows: QuerySet[Any]) -> QuerySet[Any]:
        """One join for each metric, by the index of series: PostgreSQL may begin with whichever
        side is the smaller."""
        for number, (key, called) in enumerate(self._metrics.items()):
            relation = FilteredRelation("series", condition=Q(series__key=key))
            rows = rows.alias(**{f"metric_{number}": relation}).alias(
                **{called: F(f"metric_{number}__last_value")}
            )
        return rows


def _unknown(name: Name, known: Iterable[str]) -> InvalidParameter:
    return InvalidParameter(
        _("There is no %(name)s to search by, at position %(position)d; there are %(known)s.")
        % {
            "name": repr(f"{name.entity}.{name.key}"),
            "position": name.position + 1,
            "known": ", ".join(known),
        }
    )


def json_text(column: str, key: str) -> Func:
    """The text under ``key``; NULL where there is none. Not Django's ``column__key``: that takes a
    key of digits for the index of a list."""
    return Func(F(column), Value(key), function="jsonb_extract_path_text", output_field=TextField())


def json_value(column: str, key: str) -> Func:
    return Func(F(column), Value(key), function="jsonb_extract_path", output_field=JSONField())


def _none_if_empty(column: str) -> Func:
    return Func(F(column), Value(""), function="NULLIF", output_field=TextField())
