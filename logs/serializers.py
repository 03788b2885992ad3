"""JSON of the log API. Pages are written and batches are read without serializers: those that are
"only for the schema" document them."""

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from core.fields import AwareDateTimeField, StrictCharField, StrictIntegerField
from core.numbers import MAX_BIGINT
from logs import batches
from logs.downloads import format_time
from logs.lines import Line
from logs.models import MAX_RANK, MAX_SOURCE_LENGTH, LogLevel
from logs.search import MAX_PATTERN_LENGTH


class LogFilterSerializer(serializers.Serializer[Any]):
    start_time = AwareDateTimeField(required=False, help_text="Lines at or after this time.")
    end_time = AwareDateTimeField(required=False, help_text="Lines before this time.")
    level = serializers.ChoiceField(choices=LogLevel.choices, required=False)
    source = StrictCharField(  # type: ignore[assignment]  # shadows Field.source
        max_length=MAX_SOURCE_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines of this source, e.g. stderr.",
    )
    rank = serializers.IntegerField(
        min_value=0,
        max_value=MAX_RANK,
        required=False,
        help_text="Lines of the process with this rank in distributed training.",
    )
    q = StrictCharField(
        max_length=MAX_PATTERN_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines that contain this text, ignoring the case of A-Z.",
    )
    regex = StrictCharField(
        max_length=MAX_PATTERN_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Lines that match this PostgreSQL regular expression; case-sensitive unless it "
        "begins with (?i).",
    )


class LogQuerySerializer(LogFilterSerializer):
    page = serializers.IntegerField(min_value=1, max_value=MAX_BIGINT, default=1)
    page_size = serializers.IntegerField(min_value=1, max_value=500, default=50)
    after_seq = serializers.IntegerField(
        min_value=0,
        max_value=MAX_BIGINT,
        default=0,
        help_text="Only lines with a greater number. To follow a log as it grows, pass "
        "`next_after_seq` of the previous response.",
    )
    order = serializers.ChoiceField(
        choices=["asc", "desc"], default="asc", help_text="desc: newest lines first."
    )


class LogLineSerializer(serializers.Serializer[Any]):
    """Only for the schema."""

    seq = StrictIntegerField(help_text="The line's number in the run, from 1, without gaps.")
    timestamp = serializers.DateTimeField()
    level = serializers.ChoiceField(choices=LogLevel.choices)
    source = StrictCharField(  # type: ignore[assignment]  # shadows Field.source
        help_text="Where it was printed, e.g. stdout, stderr."
    )
    rank = StrictIntegerField(
        allow_null=True, help_text="Rank of the process in distributed training, or null."
    )
    message = StrictCharField()


@extend_schema_serializer(many=False)  # one object, although the action is ``list``
class LogPageSerializer(serializers.Serializer[Any]):
    """Only for the schema."""

    page = StrictIntegerField()
    page_size = StrictIntegerField()
    total = StrictIntegerField(help_text="Lines that match the filters, on all pages.")
    items = LogLineSerializer(many=True)
    next_after_seq = StrictIntegerField(
        allow_null=True,
        help_text="Pass as `after_seq` to get the lines that follow; null for desc.",
    )


class SentLineSerializer(serializers.Serializer[Any]):
    """Only for the schema; parsed as batches.SentLine."""

    message = StrictCharField(
        allow_blank=True,
        trim_whitespace=False,
        help_text="Of a longer one, the first 32,000 characters are kept, the last of which say "
        "how many are missing: … [68,025 characters cut].",
    )
    level = serializers.ChoiceField(choices=LogLevel.choices, default=LogLevel.INFO)
    source = StrictCharField(  # type: ignore[assignment]  # shadows Field.source
        max_length=MAX_SOURCE_LENGTH,
        allow_blank=True,
        default="",
        help_text="Where it was printed, e.g. stdout, stderr.",
    )
    rank = StrictIntegerField(
        min_value=0,
        max_value=MAX_RANK,
        allow_null=True,
        default=None,
        help_text="Rank of the process in distributed training.",
    )
    timestamp = AwareDateTimeField(
        allow_null=True,
        default=None,
        help_text="With a time zone; default: time of arrival.",
    )


class SentBatchSerializer(serializers.Serializer[Any]):
    """Only for the schema; parsed as batches.SentBatch."""

    lines = serializers.ListField(
        child=SentLineSerializer(), min_length=1, max_length=batches.MAX_LINES
    )
    batch = StrictCharField(
        max_length=batches.MAX_BATCH_NAME_LENGTH,
        allow_null=True,
        default=None,
        help_text="The client's name for this batch, unique within the run; the same when the "
        "batch is resent.",
    )


class AppendedSerializer(serializers.Serializer[Any]):
    first_seq = StrictIntegerField(help_text="The number of the batch's first line.")
    last_seq = StrictIntegerField()
    repeated = serializers.BooleanField(
        help_text="The batch was already stored: nothing was added."
    )
    cut = StrictIntegerField(help_text="How many messages were too long and are cut, with a mark.")


def items(lines: Sequence[Line]) -> list[dict[str, Any]]:
    return [
        {
            "seq": seq,
            "timestamp": format_time(timestamp),
            "level": level,
            "source": source,
            "rank": rank,
            "message": message,
        }
        for seq, timestamp, level, source, rank, message in lines
    ]
