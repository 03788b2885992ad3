"""JSON of webhooks and of what is delivered to them."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
    StrictModelSerializer,
)
from core.known_names import KnownFieldsSerializer
from core.text import MAX_KEY_LENGTH
from notices.actions import OFFERED
from notices.models import MAX_NAME, Comparison, Delivery, DeliveryStatus, Event, Shape, Webhook

MAX_ADDRESS = 2_000
MAX_SECRET = 200


class WebhookSerializer(StrictModelSerializer):
    project_id = StrictCharField(allow_null=True, help_text="null: it is for all projects.")
    shape = serializers.ChoiceField(choices=Shape.values)
    receiver = StrictCharField(
        source="shown_address",
        help_text="The host of the address, whose rest may be a secret; of e-mail, the addresses. "
        "Empty: it cannot be read, since TRAINHUB_SECRET_KEY has changed.",
    )
    events = serializers.ListField(child=serializers.ChoiceField(choices=OFFERED))
    comparison = serializers.ChoiceField(choices=Comparison.values)
    is_signed = serializers.BooleanField(help_text="Whether it has a secret.")
    overlap_ends_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before the last rotation signs, too."
    )
    created_by = StrictCharField(allow_null=True, source="created_by.username", default=None)

    class Meta:
        model = Webhook
        fields: tuple[str, ...] = (
            "id",
            "project_id",
            "name",
            "shape",
            "receiver",
            "events",
            "metric",
            "comparison",
            "threshold",
            "enabled",
            "is_signed",
            "overlap_ends_at",
            "created_by",
            "created_at",
        )
        read_only_fields: tuple[str, ...] = fields


class WebhookWithSecretSerializer(WebhookSerializer):
    secret = StrictCharField(
        allow_null=True,
        help_text="Made up by this request, and in no other response; null if none was.",
    )

    class Meta(WebhookSerializer.Meta):
        fields = (*WebhookSerializer.Meta.fields, "secret")
        read_only_fields = fields


class WebhookWriteSerializer(KnownFieldsSerializer):
    name = StrictCharField(max_length=MAX_NAME)
    shape = serializers.ChoiceField(choices=Shape.values, required=False)
    address = StrictCharField(
        max_length=MAX_ADDRESS,
        help_text="A URL; for e-mail, addresses with commas between them.",
    )
    secret = StrictCharField(
        max_length=MAX_SECRET,
        required=False,
        allow_blank=True,
        help_text="That of the robot, for DingTalk and Feishu; empty: it has none. For TrainHub's "
        "JSON it is made up.",
    )
    events = serializers.ListField(
        child=serializers.ChoiceField(choices=OFFERED),
        allow_empty=False,
        max_length=len(OFFERED),
    )
    metric = StrictCharField(
        max_length=MAX_KEY_LENGTH,
        required=False,
        allow_blank=True,
        trim_whitespace=False,
        help_text="The event metric.beyond needs it, and the threshold.",
    )
    comparison = serializers.ChoiceField(choices=Comparison.values, required=False)
    threshold = StrictFloatField(required=False, allow_null=True)
    enabled = StrictBooleanField(required=False)


class WebhookChangeSerializer(WebhookWriteSerializer):
    """What a response has may be sent back: what only responses have is ignored."""

    ignored = WebhookSerializer.Meta.fields


class RotatedSerializer(serializers.Serializer[Any]):
    secret = StrictCharField(help_text="It is in no other response.")
    overlap_ends_at = serializers.DateTimeField(
        allow_null=True, help_text="Until when the secret before it signs, too."
    )


class DeliverySerializer(StrictModelSerializer):
    id = StrictCharField(help_text="The header webhook-id of all attempts.")
    event = serializers.ChoiceField(choices=Event.values)
    payload = serializers.JSONField(help_text="What is sent, as TrainHub's JSON.")
    status = serializers.ChoiceField(choices=DeliveryStatus.values)
    next_attempt_at = serializers.SerializerMethodField()
    response_code = StrictIntegerField(allow_null=True, help_text="Of the last attempt.")
    response = StrictCharField(allow_blank=True, help_text="Its beginning, or why there was none.")

    class Meta:
        model = Delivery
        fields = (
            "id",
            "event",
            "payload",
            "status",
            "attempts",
            "next_attempt_at",
            "attempted_at",
            "response_code",
            "response",
            "created_at",
        )
        read_only_fields = fields

    def get_next_attempt_at(self, delivery: Delivery) -> str | None:
        """Of one that waits."""
        if delivery.status != DeliveryStatus.WAITING:
            return None
        text: str = serializers.DateTimeField().to_representation(delivery.next_attempt_at)
        return text
