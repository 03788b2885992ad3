"""JSON of artifacts and tags, as the contract defines it."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, ArtifactTag
from core.fields import StrictCharField, StrictModelSerializer
from core.known_names import KnownFieldsSerializer
from core.message_field import StoredMessageField
from core.numbers import MAX_BIGINT


class ArtifactTagSerializer(StrictModelSerializer):
    class Meta:
        model = ArtifactTag
        fields = ("value", "notes", "applied_at")
        read_only_fields = fields


class CheckpointMetadataSerializer(serializers.Serializer[Any]):
    """What is known about a checkpoint: annotations that a logger wrote next to it, and its origin
    on a worker's host; and about an evaluation. All fields are optional."""

    aliases = serializers.ListField(child=StrictCharField(), required=False)
    score = serializers.FloatField(required=False)
    monitor = StrictCharField(required=False, help_text="The metric that was scored.")
    mode = StrictCharField(
        required=False, help_text="Whether lower (min) or higher (max) scores are better."
    )
    saved_as = StrictCharField(required=False, help_text="Its path in the checkpoint folder.")
    layout = StrictCharField(
        required=False, help_text="The framework's layout, e.g. huggingface; file for a file."
    )
    damage = StoredMessageField(
        required=False, help_text="Why it is incomplete. It can be neither resumed from nor tagged."
    )
    numbers = serializers.IntegerField(
        required=False, help_text="How many numbers of an evaluation are ranked."
    )
    ignored = StoredMessageField(
        required=False, help_text="What of an evaluation is ignored, and why."
    )


class ArtifactSerializer(StrictModelSerializer):
    run_id = StrictCharField(read_only=True)
    path = StrictCharField(read_only=True, help_text="s3://{bucket}/{project}/{run}/{file}")
    metadata = CheckpointMetadataSerializer(read_only=True)
    tags = ArtifactTagSerializer(many=True, read_only=True)

    class Meta:
        model = Artifact
        fields = (
            "id",
            "run_id",
            "name",
            "type",
            "path",
            "step",
            "size_bytes",
            "sha256",
            "metadata",
            "created_at",
            "updated_at",
            "tags",
        )
        read_only_fields = fields


@extend_schema_serializer(many=False)  # a single object, although it is a list view
class ArtifactListSerializer(serializers.Serializer[Any]):
    items = ArtifactSerializer(many=True)


class ArtifactQuerySerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ArtifactType.choices, required=False)


class UploadQuerySerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ArtifactType.choices, required=False)
    step = serializers.IntegerField(
        min_value=0, max_value=MAX_BIGINT, required=False, help_text="The file's training step."
    )


class TagWriteSerializer(KnownFieldsSerializer):
    tag = serializers.ChoiceField(choices=TagValue.choices)
    notes = StrictCharField(max_length=10_000, allow_blank=True, required=False, default="")


class ResumeQuerySerializer(serializers.Serializer[Any]):
    source_artifact_id = StrictCharField(help_text="The checkpoint to resume from.")
