"""Filters and sort orders for lists of runs."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from django_filters.fields import IsoDateTimeField

from core.ids import MAX_LENGTH
from core.text import MAX_NAME_LENGTH
from core.times import YEAR_RANGE, is_time, milliseconds
from runs.models import Run, RunQuerySet
from runs.status import RunStatus

# ArtifactTag's values, repeated because artifacts are in an app above this one.
TAGS = [(tag, tag) for tag in ("候选", "发布", "归档")]


def in_utc(time: datetime | None) -> datetime | None:
    """``time`` in UTC: PostgreSQL rejects UTC offsets beyond 15:59. Raises ValidationError."""
    if time is not None and not is_time(milliseconds(time)):
        raise ValidationError(YEAR_RANGE, code="range")
    return time and time.astimezone(UTC)


class UtcDateTimeField(IsoDateTimeField):  # type: ignore[misc]
    """ISO 8601; UTC by default."""

    def to_python(self, value: Any) -> datetime | None:
        return in_utc(super().to_python(value))


class TimeFilter(django_filters.DateTimeFilter):  # type: ignore[misc]
    field_class = UtcDateTimeField


class RunFilter(django_filters.FilterSet):  # type: ignore[misc]
    """Filters and sorts the runs of a project."""

    id = django_filters.CharFilter(
        lookup_expr="startswith", max_length=MAX_LENGTH, label=_("How its id begins.")
    )
    status = django_filters.MultipleChoiceFilter(choices=RunStatus.choices)
    model = django_filters.CharFilter(max_length=MAX_NAME_LENGTH)
    name = django_filters.CharFilter(lookup_expr="icontains", max_length=MAX_NAME_LENGTH)
    recipe = django_filters.CharFilter(field_name="recipe_id", max_length=64)
    tag = django_filters.ChoiceFilter(
        choices=TAGS, method="with_tagged_checkpoint", label=_("Tag on one of its checkpoints.")
    )
    # The reverse relation: sweeps are in an app above this one.
    sweep = django_filters.CharFilter(
        field_name="sweep_trial__sweep", max_length=MAX_LENGTH, label=_("Of which it is a trial.")
    )
    created_after = TimeFilter(field_name="created_at", lookup_expr="gte")
    created_before = TimeFilter(field_name="created_at", lookup_expr="lt")
    sort = django_filters.OrderingFilter(
        fields=[
            (field, field)
            for field in (
                "created_at",
                "started_at",
                "finished_at",
                "name",
                "status",
                "progress",
                "priority",
            )
        ]
    )

    class Meta:
        model = Run
        fields = ()

    def with_tagged_checkpoint(self, runs: RunQuerySet, name: str, value: str) -> RunQuerySet:
        # A subquery, because a join would list a run once per checkpoint.
        tagged = Run.objects.filter(artifacts__tags__value=value, artifacts__deletion=None)
        return runs.filter(pk__in=tagged.values("pk"))
