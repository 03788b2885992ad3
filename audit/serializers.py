"""What is asked of the audit, and its entries for the API's documentation."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from audit.exports import EntryFormat
from audit.search import LARGEST_PAGE, PAGE, Cursor, EntryFilter
from core.fields import AwareDateTimeField, StrictCharField
from core.ids import MAX_LENGTH

MAX_SUBJECT_LENGTH = 200


class EntryQuerySerializer(serializers.Serializer[Any]):
    project_id = StrictCharField(max_length=MAX_LENGTH, required=False)
    team_id = StrictCharField(max_length=MAX_LENGTH, required=False)
    actor = StrictCharField(max_length=150, required=False, help_text="A user's name.")
    action = StrictCharField(max_length=64, required=False, help_text="For example `run.created`.")
    kind = StrictCharField(
        max_length=32, required=False, help_text="Of the subject, for example `run`."
    )
    subject_id = StrictCharField(max_length=MAX_SUBJECT_LENGTH, required=False)
    token_id = StrictCharField(max_length=MAX_LENGTH, required=False)
    start_time = AwareDateTimeField(required=False, help_text="Entries at or after this time.")
    end_time = AwareDateTimeField(required=False, help_text="Entries before this time.")
    format = serializers.ChoiceField(choices=EntryFormat.choices, default=EntryFormat.JSON)
    limit = serializers.IntegerField(
        min_value=1, max_value=LARGEST_PAGE, default=PAGE, help_text="Of a page in JSON."
    )
    after = StrictCharField(
        max_length=50,
        required=False,
        help_text="Where the page before has ended: from its header Link.",
    )

    def validate_after(self, text: str) -> Cursor:
        cursor = Cursor.parse(text)
        if cursor is None:
            raise serializers.ValidationError(_("This is not where a page ends."), code="invalid")
        return cursor

    @property
    def filter(self) -> EntryFilter:
        asked = self.validated_data
        names = ("project_id", "team_id", "actor", "action", "kind", "subject_id", "token_id")
        return EntryFilter(
            **{name: asked[name] for name in names if name in asked},
            since=asked.get("start_time"),
            before=asked.get("end_time"),
        )


class EntrySerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    at = serializers.DateTimeField()
    action = StrictCharField(help_text="The kind and what has happened: `run.created`.")
    kind = StrictCharField()
    subject_id = StrictCharField()
    name = StrictCharField(help_text="That of the subject, as it was.")
    project_id = StrictCharField(allow_null=True)
    team_id = StrictCharField(allow_null=True)
    actor = StrictCharField(help_text="The user; empty: TrainHub itself.")
    token_id = StrictCharField(help_text="The token that was used; empty: none.")
    address = StrictCharField(allow_null=True, help_text="From which the request came.")
    via = StrictCharField(help_text="`web`, `mcp`, or the management command.")
    request_id = StrictCharField(help_text="As in the logs.")
    before = serializers.JSONField(help_text="What has changed, as it was, or null.")
    after = serializers.JSONField(help_text="What has changed, as it is, or null.")
