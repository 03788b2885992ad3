"""JSON of projects, as the contract defines it."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.exceptions import InvalidInput
from core.fields import StrictCharField, StrictIntegerField, StrictModelSerializer
from core.known_names import KnownFieldsSerializer
from projects.hyperparameters import check_hyperparameters
from projects.models import MAX_TAG_LENGTH, MAX_TAGS, Project, ProjectStatus


@extend_schema_field({"type": "object", "additionalProperties": {}})
class HyperparametersField(serializers.JSONField):
    """A JSON object within the limits of projects/hyperparameters.py."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        try:
            return check_hyperparameters(data)
        except InvalidInput as error:
            raise serializers.ValidationError(str(error.message), code=error.code) from error


class TagsField(serializers.ListField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            child=StrictCharField(max_length=MAX_TAG_LENGTH), max_length=MAX_TAGS, **kwargs
        )


class RunBriefSerializer(serializers.Serializer[Any]):
    """A run in its project's detail. Lists fields by name, as projects must not import runs."""

    id = StrictCharField()
    name = StrictCharField()
    status = StrictCharField()
    progress = serializers.FloatField()
    started_at = serializers.DateTimeField(allow_null=True)


class ChangeSerializer(serializers.Serializer[Any]):
    field = StrictCharField()
    old = serializers.JSONField(help_text="Any value, or null.")
    new = serializers.JSONField(help_text="Any value, or null.")


class VersionSerializer(serializers.Serializer[Any]):
    number = StrictIntegerField()
    created_at = serializers.DateTimeField()
    changed_by = StrictCharField(allow_null=True)
    changes = ChangeSerializer(many=True)


class ProjectSummarySerializer(StrictModelSerializer):
    class Meta:
        model = Project
        fields = (
            "id",
            "name",
            "status",
            "owner",
            "task_type",
            "base_model",
            "tags",
            "run_count",
            "created_at",
            "updated_at",
        )
        read_only_fields = fields


class ProjectWriteSerializer(KnownFieldsSerializer, StrictModelSerializer):
    """The writable fields of a project's configuration."""

    tags = TagsField(required=False)
    default_hyperparameters = HyperparametersField(required=False)

    class Meta:
        model = Project
        fields = Project.CONFIGURATION


class ProjectChangeSerializer(ProjectWriteSerializer):
    """A project's detail may be sent back with some fields changed: what only responses have is
    ignored."""

    status = serializers.ChoiceField(choices=ProjectStatus.choices, required=False)

    class Meta(ProjectWriteSerializer.Meta):
        fields = (*Project.CONFIGURATION, "status")


class ProjectDetailSerializer(StrictModelSerializer):
    tags = serializers.ListField(child=StrictCharField(), read_only=True)
    default_hyperparameters = HyperparametersField(read_only=True)
    runs = RunBriefSerializer(many=True, source="newest_runs", help_text="The newest 100.")
    versions = VersionSerializer(many=True)

    class Meta:
        model = Project
        fields = (
            "id",
            "name",
            "description",
            "objective",
            "task_type",
            "base_model",
            "owner",
            "status",
            "tags",
            "default_hyperparameters",
            "version",
            "run_count",
            "created_at",
            "updated_at",
            "runs",
            "versions",
        )
        read_only_fields = fields


ProjectChangeSerializer.ignored = ProjectDetailSerializer.Meta.fields
