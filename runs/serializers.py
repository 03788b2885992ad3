"""The contract's JSON of runs and their metrics; of their logs: runs/log_serializers.py."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from projects.serializers import HyperparametersField
from runs.models import Recipe, Run
from runs.status import RunStatus
from trainhub.fields import (
    StrictCharField,
    StrictIntegerField,
    StrictModelSerializer,
)

MAX_GPUS = 10_000


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "oneOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]
        },
    }
)
class LatestMetricsField(serializers.DictField):
    """Key -> latest value; JSON has no NaN, it comes as text."""


class TagsField(serializers.DictField):
    """Key -> text, as MLflow's clients set them."""

    child = serializers.CharField()


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 1})
class ShareField(serializers.Field[float, Any, float, Any]):
    """A share of 1, to four places."""

    def to_representation(self, value: float) -> float:
        return round(value, 4)


class ResourcesSerializer(serializers.Serializer[Any]):
    gpu_type = StrictCharField(max_length=64, allow_blank=True, required=False)
    gpu_count = StrictIntegerField(min_value=0, max_value=MAX_GPUS, required=False)


class RecipeSerializer(StrictModelSerializer):
    """What an API user may know of a recipe: everything but the command and its environment."""

    class Meta:
        model = Recipe
        fields = (
            "name",
            "description",
            "executor",
            "default_hyperparameters",
            "gpu_type",
            "gpu_count",
            "stop_grace_seconds",
            "max_restarts",
            "is_default",
        )
        read_only_fields = fields


@extend_schema_field(OpenApiTypes.STR)
class RecipeField(serializers.SlugRelatedField[Recipe]):
    def to_internal_value(self, data: Any) -> Recipe:
        if not isinstance(data, str) or "\x00" in data:
            self.fail("invalid")
        recipe: Recipe = super().to_internal_value(data)
        return recipe


class RunWriteSerializer(serializers.Serializer[Any]):
    """What a request may say of a new run; everything may be left out."""

    name = StrictCharField(
        max_length=200, required=False, help_text="run-001, run-002 … if left out."
    )
    model = StrictCharField(
        max_length=200, required=False, help_text="The project's base model if left out."
    )
    dataset = StrictCharField(max_length=1000, allow_blank=True, required=False)
    hyperparameters = HyperparametersField(
        required=False, help_text="Laid over the project's defaults."
    )
    resources = ResourcesSerializer(required=False)
    recipe = RecipeField(
        slug_field="name",
        queryset=Recipe.objects.filter(enabled=True),
        required=False,
        help_text="The name of a recipe; the default one if left out.",
    )
    priority = StrictIntegerField(
        min_value=-100, max_value=100, required=False, help_text="Higher runs first; 0 if left out."
    )


class RunSummarySerializer(StrictModelSerializer):
    project_id = StrictCharField(read_only=True)
    recipe = StrictCharField(
        source="recipe_id",
        allow_null=True,
        read_only=True,
        help_text="Null for a script started elsewhere, which reports by itself.",
    )
    progress = ShareField(read_only=True)
    metrics = LatestMetricsField(read_only=True)
    tags = TagsField(read_only=True)

    class Meta:
        model = Run
        fields: Any = (
            "id",
            "project_id",
            "name",
            "status",
            "progress",
            "step",
            "total_steps",
            "model",
            "dataset",
            "recipe",
            "priority",
            "tags",
            "metrics",
            "created_at",
            "started_at",
            "finished_at",
            "updated_at",
        )
        read_only_fields: Any = fields


class RunDetailSerializer(RunSummarySerializer):
    hyperparameters = HyperparametersField(read_only=True)
    resources = ResourcesSerializer(read_only=True)
    resumed_from = StrictCharField(source="resumed_from_id", allow_null=True, read_only=True)
    gpu_utilization = serializers.FloatField(allow_null=True, read_only=True)
    cancelled_at = serializers.SerializerMethodField()
    silent_since = serializers.DateTimeField(
        allow_null=True,
        read_only=True,
        help_text="When a script started elsewhere was last heard of, if it has fallen silent.",
    )
    worker = StrictCharField(source="worker_id", allow_null=True, read_only=True)

    class Meta(RunSummarySerializer.Meta):
        fields = (
            *RunSummarySerializer.Meta.fields,
            "project_version",
            "hyperparameters",
            "resources",
            "resumed_from",
            "start_step",
            "gpu_utilization",
            "log_count",
            "status_reason",
            "exit_code",
            "stop_requested_at",
            "attempt",
            "restart_count",
            "max_restarts",
            "worker",
            "queued_at",
            "reported_at",
            "silent_since",
            "deleted_at",
            "cancelled_at",
        )
        read_only_fields = fields

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_cancelled_at(self, run: Run) -> str | None:
        if run.status != RunStatus.CANCELLED or run.finished_at is None:
            return None
        return serializers.DateTimeField().to_representation(run.finished_at)


class ArtifactBriefSerializer(serializers.Serializer[Any]):
    """An artifact as its run shows it. Artifacts stand above runs: this knows fields alone."""

    id = StrictCharField()
    name = StrictCharField()
    type = StrictCharField()
    path = StrictCharField()
    created_at = serializers.DateTimeField()


class RunWithArtifactsSerializer(RunDetailSerializer):
    """A run as the answer to its creation, resumption or cancelling.

    ``artifacts``: none yet for a new run; for a cancelled one the checkpoint that it kept.
    """

    artifacts = ArtifactBriefSerializer(
        many=True, source="artifacts.kept_at_cancel", read_only=True
    )

    class Meta(RunDetailSerializer.Meta):
        fields = (*RunDetailSerializer.Meta.fields, "artifacts")
        read_only_fields = fields


class ResumeQuerySerializer(serializers.Serializer[Any]):
    source_artifact_id = StrictCharField(help_text="The checkpoint to go on from.")


class RunEventSerializer(serializers.Serializer[Any]):
    id = StrictIntegerField()
    kind = StrictCharField()
    from_status = StrictCharField()
    to_status = StrictCharField()
    attempt = StrictIntegerField()
    actor = StrictCharField(source="actor.username", default=None, allow_null=True)
    worker = StrictCharField(source="worker.name", default=None, allow_null=True)
    reason = StrictCharField()
    created_at = serializers.DateTimeField()
