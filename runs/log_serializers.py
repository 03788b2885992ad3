"""The contract's JSON of logs. Pages are written, and batches read, without serializers: for those
that only describe them see the words "for the schema"."""

from collections.abc import Sequence
from typing import Any

from rest_framework import serializers

from runs import log_batches
from runs.log_downloads import written
from runs.log_search import Row
from runs.models import LogLevel
from trainhub.fields import AwareDateTimeField, StrictCharField, StrictIntegerField

MAX_SEQ = 2**63 - 1
MAX_PATTERN_LENGTH = 500


class LogFilterSerializer(serializers.Serializer[Any]):
    start_time = AwareDateTimeField(required=False, help_text="Lines at or after this time.")
    end_time = AwareDateTimeField(required=False, help_text="Lines before this time.")
    level = serializers.ChoiceField(choices=LogLevel.choices, required=False)
    source = StrictCharField(  # type: ignore[assignment]  # the line's own name for it
        max_length=log_batches.MAX_SOURCE_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines of this source, e.g. stderr.",
    )
    rank = serializers.IntegerField(
        min_value=0,
        max_value=log_batches.MAX_RANK,
        required=False,
        help_text="Lines of this process of a distributed training.",
    )
    q = StrictCharField(
        max_length=MAX_PATTERN_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines that hold this text; A-Z and a-z are the same.",
    )
    regex = StrictCharField(
        max_length=MAX_PATTERN_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines that this regular expression of PostgreSQL matches; upper and lower case "
        "differ unless it begins with (?i).",
    )


class LogQuerySerializer(LogFilterSerializer):
    page = serializers.IntegerField(min_value=1, max_value=MAX_SEQ, default=1)
    page_size = serializers.IntegerField(min_value=1, max_value=500, default=50)
    after_seq = serializers.IntegerField(
        min_value=0,
        max_value=MAX_SEQ,
        default=0,
        help_text="Lines with a greater number alone: `next_after_seq` of the answer before, to "
        "follow a log as it grows.",
    )
    order = serializers.ChoiceField(
        choices=["asc", "desc"], default="asc", help_text="desc: the newest lines first."
    )


class LogLineSerializer(serializers.Serializer[Any]):
    """For the schema."""

    seq = StrictIntegerField(help_text="The line's number in the run, from 1, without gaps.")
    timestamp = serializers.DateTimeField()
    level = serializers.ChoiceField(choices=LogLevel.choices)
    source = StrictCharField(  # type: ignore[assignment]  # the line's own name for it
        help_text="Who printed it, e.g. stdout, stderr."
    )
    rank = StrictIntegerField(
        allow_null=True, help_text="Of which process of a distributed training; or null."
    )
    message = StrictCharField()


class LogPageSerializer(serializers.Serializer[Any]):
    """For the schema."""

    page = StrictIntegerField()
    page_size = StrictIntegerField()
    total = StrictIntegerField(help_text="Lines that pass the filters, on all pages.")
    items = LogLineSerializer(many=True)
    next_after_seq = StrictIntegerField(
        allow_null=True,
        help_text="As `after_seq` of the next request, the lines that follow; null for desc.",
    )


class SentLineSerializer(serializers.Serializer[Any]):
    """For the schema; log_batches.SentLine reads it."""

    message = StrictCharField(
        allow_blank=True, trim_whitespace=False, help_text="Kept to 32,000 characters."
    )
    level = serializers.ChoiceField(choices=LogLevel.choices, default=LogLevel.INFO)
    source = StrictCharField(  # type: ignore[assignment]  # the line's own name for it
        max_length=log_batches.MAX_SOURCE_LENGTH,
        allow_blank=True,
        default="",
        help_text="Who printed it, e.g. stdout, stderr.",
    )
    rank = StrictIntegerField(
        min_value=0,
        max_value=log_batches.MAX_RANK,
        allow_null=True,
        default=None,
        help_text="Of which process of a distributed training.",
    )
    timestamp = AwareDateTimeField(
        allow_null=True, default=None, help_text="With its zone; the time of arrival if left out."
    )


class SentBatchSerializer(serializers.Serializer[Any]):
    """For the schema; log_batches.SentBatch reads it."""

    lines = serializers.ListField(
        child=SentLineSerializer(), min_length=1, max_length=log_batches.MAX_LINES
    )
    batch = StrictCharField(
        max_length=log_batches.MAX_BATCH_NAME_LENGTH,
        allow_null=True,
        default=None,
        help_text="A name of the client's own for this batch, each batch of the run another; "
        "the same when it is sent again.",
    )


class AppendedSerializer(serializers.Serializer[Any]):
    first_seq = StrictIntegerField(help_text="The number of the batch's first line.")
    last_seq = StrictIntegerField()
    repeated = serializers.BooleanField(help_text="It had come before, and was not stored again.")


def items(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "seq": seq,
            "timestamp": written(timestamp),
            "level": level,
            "source": source,
            "rank": rank,
            "message": message,
        }
        for seq, timestamp, level, source, rank, message in rows
    ]
