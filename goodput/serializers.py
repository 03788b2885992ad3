"""Serializers of accounts and reports: what is asked for, and for the API's documentation."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.fields import AwareDateTimeField, StrictCharField, StrictIntegerField
from core.ids import MAX_LENGTH
from goodput.parts import Part
from goodput.report_queries import Grouping

MAX_GROUPS = 10_000


class ReportQuerySerializer(serializers.Serializer[Any]):
    by = serializers.ChoiceField(
        choices=Grouping.choices,
        default=Grouping.PROJECT,
        help_text="`owner`: who answers for the project; `user`: who has created the run; `pool`: "
        "the GPU type. The largest come first, months and days in their order.",
    )
    start_time = AwareDateTimeField(
        required=False,
        help_text="Whole days in UTC are counted: from the one that this time is in. By default 30 "
        "days up to the last.",
    )
    end_time = AwareDateTimeField(
        required=False, help_text="To the last day that begins before this time; by default today."
    )
    project_id = StrictCharField(
        max_length=MAX_LENGTH, required=False, help_text="Of this project alone."
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=MAX_GROUPS, default=500, help_text="Of groups."
    )
    format = serializers.ChoiceField(choices=["json", "csv"], default="json")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs.get("start_time"), attrs.get("end_time")
        if start is not None and end is not None and start >= end:
            raise serializers.ValidationError(
                {"end_time": [_("The end must be after the start.")]}, code="invalid"
            )
        return attrs


class PartSerializer(serializers.Serializer[Any]):
    seconds = serializers.FloatField(help_text="Of wall time.")
    gpu_hours = serializers.FloatField(help_text="Times the GPUs of each run.")


PartsSerializer: type[serializers.Serializer[Any]] = type(
    "PartsSerializer",
    (serializers.Serializer,),
    {part.value: PartSerializer() for part in Part},
)


class SumsSerializer(serializers.Serializer[Any]):
    run_count = StrictIntegerField()
    wall_seconds = serializers.FloatField(help_text="The parts sum to this.")
    goodput = serializers.FloatField(
        allow_null=True,
        help_text="Kept training ÷ wall time, each run weighted by its GPUs (by wall time alone if "
        "no run has any); null if there is no time.",
    )
    gpu_hours = serializers.FloatField(help_text="Held: without waiting and down.")
    idle_share = serializers.FloatField(
        allow_null=True, help_text="Of the GPU-hours whose utilization was measured."
    )
    idle_gpu_hours = serializers.FloatField(allow_null=True)
    cost = serializers.DecimalField(
        max_digits=20,
        decimal_places=2,
        allow_null=True,
        coerce_to_string=True,
        help_text="Of the GPU-hours of pools with a price; null if none has.",
    )
    unpriced_gpu_hours = serializers.FloatField()
    parts = PartsSerializer()


class GroupSerializer(SumsSerializer):
    key = StrictCharField(allow_null=True)
    name = StrictCharField(allow_blank=True)
    project_id = StrictCharField(allow_null=True, help_text="Of a run.")


class ReportSerializer(serializers.Serializer[Any]):
    by = serializers.CharField()
    first_day = serializers.DateField()
    last_day = serializers.DateField()
    counted_until = serializers.DateTimeField(
        help_text="Runs that go on are counted up to some time within the last minute or two."
    )
    pending = serializers.BooleanField(
        help_text="Whether workers have yet to count runs that are over."
    )
    group_count = StrictIntegerField(help_text="Also those beyond the limit.")
    groups = GroupSerializer(many=True)
    total = SumsSerializer()


class IntervalSerializer(serializers.Serializer[Any]):
    part = serializers.ChoiceField(choices=Part.choices)
    begin = serializers.DateTimeField()
    end = serializers.DateTimeField()
    seconds = serializers.FloatField()


@extend_schema_serializer(many=False)  # for all that its action is called list
class RunAccountSerializer(serializers.Serializer[Any]):
    run_id = StrictCharField()
    began_at = serializers.DateTimeField(help_text="When it was queued.")
    counted_until = serializers.DateTimeField(help_text="Its end, or now.")
    is_over = serializers.BooleanField()
    gpu_count = StrictIntegerField()
    gpu_type = StrictCharField(allow_blank=True)
    pool = StrictCharField(allow_blank=True)
    wall_seconds = serializers.FloatField(help_text="The parts sum to this.")
    goodput = serializers.FloatField(allow_null=True)
    gpu_hours = serializers.FloatField()
    utilization = serializers.FloatField(
        allow_null=True, help_text="The mean measured one of its GPUs, from 0 to 1."
    )
    idle_gpu_hours = serializers.FloatField(allow_null=True)
    cost = serializers.DecimalField(
        max_digits=20, decimal_places=2, allow_null=True, coerce_to_string=True
    )
    parts = PartsSerializer()
    intervals = IntervalSerializer(many=True, help_text="They follow each other without gaps.")
