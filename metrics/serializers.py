"""JSON of the metrics API.

Responses are built as plain dictionaries, because serializing a thousand buckets would take longer
than the query. Response serializers only document them.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from core.fields import AwareDateTimeField, StrictCharField, StrictIntegerField
from core.numbers import NUMBER_SCHEMA, json_number, json_numbers
from core.pagination import PageQuery
from core.text import MAX_KEY_LENGTH
from core.times import YEAR_9999_MS, iso_time, iso_times
from metrics import payloads
from metrics.points import Point
from metrics.reading import FIRST_STEP, LAST_STEP, Bucket, MetricSummary, Series

MAX_KEYS = 100  # in one request
MAX_POINTS = 10_000  # of one series in a response
MAX_RESPONSE_POINTS = 200_000  # points or buckets of all series in a response
DEFAULT_POINTS = 1000


@extend_schema_field({"oneOf": NUMBER_SCHEMA})
class NumberField(serializers.Field[Any, Any, Any, Any]):
    """A number; NaN and infinities, which JSON lacks, are strings."""


@extend_schema_field({"oneOf": [*NUMBER_SCHEMA, {"type": "null"}]})
class NumberOrNullField(serializers.Field[Any, Any, Any, Any]):
    """A number; null if every value is NaN."""


# --- sent points -----------------------------------------------------------------------------


class SentPointSerializer(serializers.Serializer[Any]):
    """Only for the schema; parsed as payloads.SentPoint."""

    key = StrictCharField(max_length=MAX_KEY_LENGTH, trim_whitespace=False)
    step = StrictIntegerField(min_value=FIRST_STEP, max_value=LAST_STEP)
    value = NumberField()
    timestamp = AwareDateTimeField(help_text="When it was measured, with a time zone.")


class SentColumnsSerializer(serializers.Serializer[Any]):
    """Only for the schema; parsed as payloads.SentColumns."""

    steps = serializers.ListField(
        child=StrictIntegerField(min_value=FIRST_STEP, max_value=LAST_STEP),
        min_length=1,
        max_length=payloads.MAX_POINTS,
    )
    values = serializers.ListField(child=NumberField(), help_text="As many as `steps`.")
    timestamps_ms = serializers.ListField(
        child=StrictIntegerField(min_value=0, max_value=YEAR_9999_MS),
        help_text="When each was measured, as Unix time in milliseconds. As many as `steps`.",
    )


class SentPointsSerializer(serializers.Serializer[Any]):
    """Either of them; at most 10,000 points."""

    points = serializers.ListField(
        child=SentPointSerializer(),
        required=False,
        min_length=1,
        max_length=payloads.MAX_POINTS,
        help_text="One by one.",
    )
    metrics = serializers.DictField(
        child=SentColumnsSerializer(), required=False, help_text="In columns, by key."
    )


class RecordedSerializer(serializers.Serializer[Any]):
    count = StrictIntegerField(help_text="Points in the batch, including those already stored.")


# --- queries ---------------------------------------------------------------------------------


class SummaryQuerySerializer(PageQuery):
    prefix = StrictCharField(
        max_length=MAX_KEY_LENGTH,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Keys that start with this text.",
    )
    q = StrictCharField(
        max_length=MAX_KEY_LENGTH,
        required=False,
        default="",
        trim_whitespace=False,
        help_text="Keys that contain this text, ignoring case.",
    )


class StepRangeQuery(serializers.Serializer[Any]):
    from_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The first step."
    )
    to_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The last step."
    )


class SeriesQuerySerializer(StepRangeQuery):
    keys = serializers.ListField(
        child=StrictCharField(trim_whitespace=False),
        max_length=MAX_KEYS,
        min_length=1,
        help_text="Repeated or separated by commas. Keys that the run does not have are omitted "
        "from the response.",
    )
    max_points = serializers.IntegerField(
        min_value=1,
        max_value=MAX_POINTS,
        default=DEFAULT_POINTS,
        help_text="A series with more points is returned as at most this many buckets.",
    )
    x = serializers.ChoiceField(
        choices=["step", "time"],
        default="step",
        help_text="The axis that points are ordered by and that buckets divide equally.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if len(attrs["keys"]) * attrs["max_points"] > MAX_RESPONSE_POINTS:
            raise serializers.ValidationError(
                {
                    "max_points": _("At most %(limit)d points for all keys together.")
                    % {"limit": MAX_RESPONSE_POINTS}
                }
            )
        return attrs

    def validate_keys(self, texts: list[str]) -> list[str]:
        # A key may contain commas itself: the whole text is looked up too.
        keys = {key for text in texts for key in (text, *text.split(",")) if key}
        requested = {key for text in texts for key in text.split(",") if key}
        if len(requested) > MAX_KEYS:
            raise serializers.ValidationError(
                _("At most %(limit)d keys at a time.") % {"limit": MAX_KEYS}, code="max_length"
            )
        return sorted(keys)


# --- responses -------------------------------------------------------------------------------


class SummarySerializer(serializers.Serializer[Any]):
    key = StrictCharField()
    last = NumberField(help_text="The value at the last step.")
    last_step = StrictIntegerField()
    last_timestamp = serializers.DateTimeField()
    min = NumberOrNullField(help_text="NaN is ignored; null if every value is NaN.")
    max = NumberOrNullField(help_text="NaN is ignored; null if every value is NaN.")
    count = StrictIntegerField(help_text="Number of points.")


@extend_schema_serializer(many=False)  # one object, although the action is ``list``
class SummaryListSerializer(serializers.Serializer[Any]):
    items = SummarySerializer(many=True)


class PointSerializer(serializers.Serializer[Any]):
    step = StrictIntegerField()
    timestamp = serializers.DateTimeField()
    value = NumberField()


class BucketSerializer(serializers.Serializer[Any]):
    count = StrictIntegerField(help_text="Number of points in the bucket.")
    min = NumberOrNullField(help_text="NaN is ignored; null if every value is NaN.")
    min_step = StrictIntegerField(allow_null=True)
    max = NumberOrNullField(help_text="NaN is ignored; null if every value is NaN.")
    max_step = StrictIntegerField(allow_null=True)
    first = NumberField()
    first_step = StrictIntegerField()
    first_timestamp = serializers.DateTimeField()
    last = NumberField()
    last_step = StrictIntegerField()
    last_timestamp = serializers.DateTimeField()


class SeriesSerializer(serializers.Serializer[Any]):
    key = StrictCharField()
    exact = serializers.BooleanField(
        help_text="Whether `points` contains every point of the range."
    )
    points = PointSerializer(many=True, help_text="Empty if there are buckets.")
    buckets = BucketSerializer(many=True, help_text="Empty if the points fit.")


class SeriesListSerializer(serializers.Serializer[Any]):
    items = SeriesSerializer(many=True)


def summary_json(summary: MetricSummary) -> dict[str, Any]:
    return {
        "key": summary.key,
        "last": json_number(summary.last_value),
        "last_step": summary.last_step,
        "last_timestamp": iso_time(summary.last_timestamp_ms),
        "min": json_number(summary.minimum),
        "max": json_number(summary.maximum),
        "count": summary.count,
    }


def series_json(series: Series, *, by_time: bool) -> dict[str, Any]:
    """``series`` ordered by step, or by time."""
    points, buckets = series.points, series.buckets
    if by_time:
        points = sorted(points, key=lambda point: (point.timestamp_ms, point.step))
        buckets = sorted(buckets, key=lambda bucket: (bucket.first_timestamp_ms, bucket.first_step))
    return {
        "key": series.key,
        "exact": not buckets,
        "points": _points_json(points),
        "buckets": _buckets_json(buckets),
    }


def _points_json(points: list[Point]) -> list[dict[str, Any]]:
    times = iso_times([point.timestamp_ms for point in points])
    values = json_numbers([point.value for point in points])
    return [
        {"step": point.step, "timestamp": time, "value": value}
        for point, time, value in zip(points, times, values, strict=True)
    ]


class _BucketJson(msgspec.Struct, gc=False):
    """A BucketSerializer's fields; a thousand dictionaries would take longer than the query."""

    count: int
    min: float | str | None
    min_step: int | None
    max: float | str | None
    max_step: int | None
    first: float | str
    first_step: int
    first_timestamp: str
    last: float | str
    last_step: int
    last_timestamp: str


def _buckets_json(buckets: list[Bucket]) -> orjson.Fragment:
    rows = map(
        _BucketJson,
        [bucket.count for bucket in buckets],
        json_numbers([bucket.minimum for bucket in buckets]),
        [bucket.minimum_step for bucket in buckets],
        json_numbers([bucket.maximum for bucket in buckets]),
        [bucket.maximum_step for bucket in buckets],
        json_numbers([bucket.first for bucket in buckets]),
        [bucket.first_step for bucket in buckets],
        iso_times([bucket.first_timestamp_ms for bucket in buckets]),
        json_numbers([bucket.last for bucket in buckets]),
        [bucket.last_step for bucket in buckets],
        iso_times([bucket.last_timestamp_ms for bucket in buckets]),
    )
    return orjson.Fragment(msgspec.json.encode(list(rows)))
