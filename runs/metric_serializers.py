"""The JSON of a run's metrics, and what may be asked of them.

Answers are made as plain dictionaries: a serializer would take longer over a thousand buckets than
the database does. The serializers of answers describe them, for the API's documentation.
"""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from runs import metric_batches
from runs.ingestion import json_number
from runs.metrics import FIRST_STEP, LAST_STEP, Bucket, MetricSummary, Point, Series
from runs.points import MAX_KEY_LENGTH
from trainhub.fields import AwareDateTimeField, StrictCharField, StrictIntegerField
from trainhub.pagination import PageQuery
from trainhub.times import iso_time

MAX_KEYS = 100  # in one request
MAX_POINTS = 10_000  # of one series in an answer
MAX_ANSWER = 200_000  # points, or buckets, of all series in an answer
DEFAULT_POINTS = 1000
MAX_FILTER_LENGTH = 250  # as a key's

NUMBER = [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]


@extend_schema_field({"oneOf": NUMBER})
class NumberField(serializers.Field[Any, Any, Any, Any]):
    """A number; JSON has no NaN and no infinities, they are texts."""


@extend_schema_field({"oneOf": [*NUMBER, {"type": "null"}]})
class NumberOrNullField(serializers.Field[Any, Any, Any, Any]):
    """A number; null where every value was NaN."""


# --- what may be sent ------------------------------------------------------------------------


class SentPointSerializer(serializers.Serializer[Any]):
    """For the schema; metric_batches.SentPoint reads it."""

    key = StrictCharField(max_length=MAX_KEY_LENGTH, trim_whitespace=False)
    step = StrictIntegerField(min_value=FIRST_STEP, max_value=LAST_STEP)
    value = NumberField()
    timestamp = AwareDateTimeField(help_text="When it was measured, with its zone.")


class SentPointsSerializer(serializers.Serializer[Any]):
    points = serializers.ListField(
        child=SentPointSerializer(), min_length=1, max_length=metric_batches.MAX_POINTS
    )


class TakenInSerializer(serializers.Serializer[Any]):
    count = StrictIntegerField(help_text="Points of the batch, those included that were known.")


# --- what may be asked -----------------------------------------------------------------------


class SummaryQuerySerializer(PageQuery):
    prefix = StrictCharField(
        max_length=MAX_FILTER_LENGTH,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Keys that begin with this text.",
    )
    q = StrictCharField(
        max_length=MAX_FILTER_LENGTH,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Keys that hold this text, in any case.",
    )


class SeriesQuerySerializer(serializers.Serializer[Any]):
    keys = serializers.ListField(
        child=StrictCharField(trim_whitespace=False),
        max_length=MAX_KEYS,
        min_length=1,
        help_text="Repeated, or with commas between them. Keys that the run does not have are left "
        "out of the answer.",
    )
    max_points = serializers.IntegerField(
        min_value=1,
        max_value=MAX_POINTS,
        default=DEFAULT_POINTS,
        help_text="A series of more points comes as at most this many buckets.",
    )
    from_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The first step."
    )
    to_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The last step."
    )
    x = serializers.ChoiceField(
        choices=["step", "time"],
        default="step",
        help_text="What points are ordered by, and buckets are equal spans of.",
    )

    def validate(self, wanted: dict[str, Any]) -> dict[str, Any]:
        if len(wanted["keys"]) * wanted["max_points"] > MAX_ANSWER:
            raise serializers.ValidationError(
                {
                    "max_points": _("%(limit)d points of all keys together are the limit.")
                    % {"limit": MAX_ANSWER}
                }
            )
        return wanted

    def validate_keys(self, texts: list[str]) -> list[str]:
        # A key may hold commas itself: the whole text is looked for too.
        keys = {key for text in texts for key in (text, *text.split(",")) if key}
        named = {key for text in texts for key in text.split(",") if key}
        if len(named) > MAX_KEYS:
            raise serializers.ValidationError(
                _("At most %(limit)d keys at a time.") % {"limit": MAX_KEYS}, code="max_length"
            )
        return sorted(keys)


# --- what is answered ------------------------------------------------------------------------


class SummarySerializer(serializers.Serializer[Any]):
    key = StrictCharField()
    last = NumberField(help_text="The value of the greatest step.")
    last_step = StrictIntegerField()
    last_timestamp = serializers.DateTimeField()
    min = NumberOrNullField(help_text="NaN left out; null where every value is NaN.")
    max = NumberOrNullField(help_text="NaN left out; null where every value is NaN.")
    count = StrictIntegerField(help_text="How many points there are.")


class SummaryListSerializer(serializers.Serializer[Any]):
    items = SummarySerializer(many=True)


class PointSerializer(serializers.Serializer[Any]):
    step = StrictIntegerField()
    timestamp = serializers.DateTimeField()
    value = NumberField()


class BucketSerializer(serializers.Serializer[Any]):
    count = StrictIntegerField(help_text="How many points it stands for.")
    min = NumberOrNullField(help_text="NaN left out; null where every value is NaN.")
    min_step = StrictIntegerField(allow_null=True)
    max = NumberOrNullField(help_text="NaN left out; null where every value is NaN.")
    max_step = StrictIntegerField(allow_null=True)
    first = NumberField()
    first_step = StrictIntegerField()
    first_timestamp = serializers.DateTimeField()
    last = NumberField()
    last_step = StrictIntegerField()
    last_timestamp = serializers.DateTimeField()


class SeriesSerializer(serializers.Serializer[Any]):
    key = StrictCharField()
    exact = serializers.BooleanField(help_text="Whether `points` holds every point of the range.")
    points = PointSerializer(many=True, help_text="Empty where there are buckets.")
    buckets = BucketSerializer(many=True, help_text="Empty where the points fit.")


class SeriesListSerializer(serializers.Serializer[Any]):
    items = SeriesSerializer(many=True)


def _number(value: float | None) -> float | str | None:
    return None if value is None else json_number(value)


def summary_json(summary: MetricSummary) -> dict[str, Any]:
    return {
        "key": summary.key,
        "last": json_number(summary.last_value),
        "last_step": summary.last_step,
        "last_timestamp": iso_time(summary.last_timestamp_ms),
        "min": _number(summary.minimum),
        "max": _number(summary.maximum),
        "count": summary.count,
    }


def series_json(series: Series, *, by_time: bool) -> dict[str, Any]:
    """``series`` in the order of its steps, or of its times."""
    points, buckets = series.points, series.buckets
    if by_time:
        points = sorted(points, key=lambda point: (point.timestamp_ms, point.step))
        buckets = sorted(buckets, key=lambda bucket: (bucket.first_timestamp_ms, bucket.first_step))
    return {
        "key": series.key,
        "exact": not buckets,
        "points": [_point_json(point) for point in points],
        "buckets": [_bucket_json(bucket) for bucket in buckets],
    }


def _point_json(point: Point) -> dict[str, Any]:
    return {
        "step": point.step,
        "timestamp": iso_time(point.timestamp_ms),
        "value": json_number(point.value),
    }


def _bucket_json(bucket: Bucket) -> dict[str, Any]:
    return {
        "count": bucket.count,
        "min": _number(bucket.minimum),
        "min_step": bucket.minimum_step,
        "max": _number(bucket.maximum),
        "max_step": bucket.maximum_step,
        "first": json_number(bucket.first),
        "first_step": bucket.first_step,
        "first_timestamp": iso_time(bucket.first_timestamp_ms),
        "last": json_number(bucket.last),
        "last_step": bucket.last_step,
        "last_timestamp": iso_time(bucket.last_timestamp_ms),
    }
