"""The contract's JSON of artifacts and tags."""

from typing import Any

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from artifacts.models import Artifact, ArtifactTag, ArtifactType, TagValue
from trainhub.fields import StrictCharField, StrictModelSerializer


class ArtifactTagSerializer(StrictModelSerializer):
    class Meta:
        model = ArtifactTag
        fields = ("value", "notes", "applied_at")
        read_only_fields = fields


class ArtifactSerializer(StrictModelSerializer):
    run_id = StrictCharField(read_only=True)
    path = StrictCharField(read_only=True, help_text="s3://{bucket}/{project}/{run}/{file}")
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
            "created_at",
            "updated_at",
            "tags",
        )
        read_only_fields = fields


@extend_schema_serializer(many=False)  # one object, though the view lists
class ArtifactListSerializer(serializers.Serializer[Any]):
    items = ArtifactSerializer(many=True)


class ArtifactQuerySerializer(serializers.Serializer[Any]):
    type = serializers.ChoiceField(choices=ArtifactType.choices, required=False)


class TagWriteSerializer(serializers.Serializer[Any]):
    tag = serializers.ChoiceField(choices=TagValue.choices)
    notes = StrictCharField(max_length=10_000, allow_blank=True, required=False, default="")
