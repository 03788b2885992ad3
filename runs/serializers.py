"""Serializers for runs, their events and recipes."""

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictModelSerializer,
    StrictRegexField,
)
from core.git import (
    COMMIT,
    MAX_REVISION_LENGTH,
    MAX_URL_LENGTH,
    is_revision,
    without_credentials,
)
from core.known_names import KnownFieldsSerializer
from core.numbers import NUMBER_SCHEMA
from core.text import MAX_NAME_LENGTH
from projects.serializers import HyperparametersField
from runs.code import MAX_PATCH_LENGTH, MAX_UNTRACKED, CodeRequest
from runs.descriptions import MAX_NOTE_LENGTH
from runs.models import MAX_DATASET_LENGTH, MAX_GPUS, FailureKind, Recipe, Run, RunCode
from runs.models.code import SHA256_PATTERN
from runs.params_tags import MAX_TAG_LENGTH
from runs.resources import MAX_NODES, MAX_TIME_LIMIT_SECONDS, MIN_TIME_LIMIT_SECONDS


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {"oneOf": NUMBER_SCHEMA},
    }
)
class LatestMetricsField(serializers.DictField):
    """Key -> latest value; NaN and infinities as text, because JSON has no such numbers."""


class TagsField(serializers.DictField):
    """Key -> text, as MLflow clients set them."""

    child = serializers.CharField()


@extend_schema_field({"type": "number", "minimum": 0, "maximum": 1})
class ShareField(serializers.Field[float, Any, float, Any]):
    """A fraction of 1, rounded to four decimal places."""

    def to_representation(self, value: float) -> float:
        return round(value, 4)


@extend_schema_field({"type": "string", "enum": [*FailureKind.values, ""]})
class FailureKindField(serializers.ReadOnlyField):
    """A FailureKind, or blank."""


class ResourcesSerializer(KnownFieldsSerializer):
    gpu_type = StrictCharField(max_length=64, allow_blank=True, required=False)
    gpu_count = StrictIntegerField(
        min_value=0, max_value=MAX_GPUS, required=False, help_text="Of all nodes together."
    )
    nodes = StrictIntegerField(min_value=1, max_value=MAX_NODES, required=False)


class RecipeSerializer(StrictModelSerializer):
    """What API users may see of a recipe: everything but the command and its environment."""

    class Meta:
        model = Recipe
        fields = (
            "name",
            "description",
            "executor",
            "default_hyperparameters",
            "gpu_type",
            "gpu_count",
            "kind",
            "preemptible",
            "nodes",
            "cpus_per_node",
            "memory_gb_per_node",
            "time_limit_seconds",
            "stop_grace_seconds",
            "stall_silence_seconds",
            "stall_step_seconds",
            "stall_action",
            "max_restarts",
            "read_tensorboard",
            "code",
            "code_from",
            "git_urls",
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


class CodeWriteSerializer(KnownFieldsSerializer):
    """The code of a new run: ``sha256`` of a bundle that was uploaded, or ``git_url``. The other
    fields but ``revision`` say which working tree the bundle was packed from."""

    sha256 = StrictRegexField(
        rf"\A{SHA256_PATTERN}\Z", required=False, help_text="The hash that the upload returned."
    )
    git_url = StrictCharField(
        max_length=MAX_URL_LENGTH,
        required=False,
        help_text="One of the repositories that the recipe takes code from.",
    )
    revision = StrictCharField(
        max_length=MAX_REVISION_LENGTH,
        required=False,
        help_text="A branch, a tag, or the full id of a commit; default: the default branch.",
    )
    commit = StrictRegexField(
        rf"\A(?:{COMMIT.pattern})\Z", required=False, help_text="The commit it is based on."
    )
    branch = StrictCharField(max_length=MAX_REVISION_LENGTH, required=False)
    remote = StrictCharField(max_length=MAX_URL_LENGTH, required=False)
    dirty = StrictBooleanField(required=False, help_text="Whether it differs from the commit.")
    untracked = serializers.ListField(
        child=StrictCharField(max_length=1000),
        max_length=MAX_UNTRACKED,
        required=False,
        help_text="Files that the commit does not know.",
    )
    patch = StrictCharField(
        max_length=MAX_PATCH_LENGTH,
        required=False,
        trim_whitespace=False,
        allow_blank=True,
        help_text="What differs, as `git diff HEAD` prints it.",
    )

    def validate(self, attrs: dict[str, Any]) -> CodeRequest:
        fields = dict(attrs)
        sha256, git_url = fields.pop("sha256", ""), fields.pop("git_url", "")
        if bool(sha256) == bool(git_url):
            raise serializers.ValidationError(_("Either sha256 or git_url is needed."))
        revision, patch = fields.pop("revision", "HEAD"), fields.pop("patch", "")
        if not is_revision(revision):
            raise serializers.ValidationError({"revision": [_("This is no name of a revision.")]})
        if "remote" in fields:
            fields["remote"] = without_credentials(fields["remote"])
        if git_url and (fields or patch):
            raise serializers.ValidationError(_("git_url takes only a revision."))
        return CodeRequest(sha256, git_url, revision, origin=fields, patch=patch)


class RunCodeSerializer(serializers.Serializer[Any]):
    """The code of a run. ``git_url`` and ``revision``: of a Git repository, whose ``commit`` and
    ``sha256`` may be null until a worker has fetched it. ``commit``, ``branch``, ``remote``,
    ``dirty`` and ``untracked``: of a folder, as its client reported them."""

    sha256 = StrictCharField(allow_null=True)
    git_url = StrictCharField(allow_null=True)
    revision = StrictCharField(allow_null=True)
    commit = StrictCharField(allow_null=True)
    branch = StrictCharField(allow_null=True)
    remote = StrictCharField(allow_null=True)
    dirty = serializers.BooleanField(allow_null=True)
    untracked = serializers.ListField(child=StrictCharField())


class RunWriteSerializer(KnownFieldsSerializer):
    """A request for a new run; every field is optional."""

    name = StrictCharField(
        max_length=MAX_NAME_LENGTH, required=False, help_text="Defaults to run-001, run-002 …"
    )
    model = StrictCharField(
        max_length=MAX_NAME_LENGTH,
        required=False,
        help_text="Defaults to the project's base model.",
    )
    dataset = StrictCharField(max_length=MAX_DATASET_LENGTH, allow_blank=True, required=False)
    hyperparameters = HyperparametersField(
        required=False, help_text="Override the project's defaults."
    )
    resources = ResourcesSerializer(required=False)
    recipe = RecipeField(
        slug_field="name",
        queryset=Recipe.objects.filter(enabled=True),
        required=False,
        help_text="The name of a recipe; defaults to the default recipe.",
    )
    priority = StrictIntegerField(
        min_value=-100, max_value=100, required=False, help_text="Higher runs first; default 0."
    )
    preemptible = StrictBooleanField(
        required=False,
        help_text="Whether it gives up its GPUs, with a checkpoint, to waiting runs of a higher "
        "priority; defaults to the recipe's.",
    )
    code = CodeWriteSerializer(
        required=False, help_text="If the recipe takes code. A resumed run keeps its code."
    )
    time_limit_seconds = StrictIntegerField(
        min_value=MIN_TIME_LIMIT_SECONDS,
        max_value=MAX_TIME_LIMIT_SECONDS,
        allow_null=True,
        required=False,
        help_text="How long its cluster runs it at a time; defaults to the recipe's.",
    )


class TagChangesField(serializers.DictField):
    """Key -> text, or null to delete the tag."""

    child = StrictCharField(
        max_length=MAX_TAG_LENGTH, allow_null=True, allow_blank=True, trim_whitespace=False
    )


class RunDescriptionSerializer(KnownFieldsSerializer):
    """What people write about a run. What is not sent stays as it is."""

    name = StrictCharField(max_length=MAX_NAME_LENGTH, required=False)
    notes = StrictCharField(
        max_length=MAX_NOTE_LENGTH,
        allow_blank=True,
        required=False,
        help_text="Markdown. Empty deletes the note. Read it as the tag `mlflow.note.content`.",
    )
    tags = TagChangesField(required=False, help_text="Merged into the run's tags; null deletes.")


class RunSummarySerializer(StrictModelSerializer):
    project_id = StrictCharField(read_only=True)
    recipe = StrictCharField(
        source="recipe_id",
        allow_null=True,
        read_only=True,
        help_text="Null for an unmanaged run.",
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
    code = serializers.SerializerMethodField()
    resumed_from = StrictCharField(source="resumed_from_id", allow_null=True, read_only=True)
    gpu_utilization = serializers.FloatField(allow_null=True, read_only=True)
    cancelled_at = serializers.DateTimeField(allow_null=True, read_only=True)
    silent_since = serializers.DateTimeField(
        allow_null=True,
        read_only=True,
        help_text="When the training last reported anything, if that is too long ago.",
    )
    worker = StrictCharField(source="worker_id", allow_null=True, read_only=True)
    failure_kind = FailureKindField(help_text="Why the run failed; blank unless it has failed.")
    devices = serializers.ListField(
        child=StrictCharField(),
        read_only=True,
        help_text="The GPUs of its worker's host that are assigned to it.",
    )

    class Meta(RunSummarySerializer.Meta):
        fields = (
            *RunSummarySerializer.Meta.fields,
            "project_version",
            "hyperparameters",
            "resources",
            "pool",
            "preemptible",
            "time_limit_seconds",
            "estimated_start",
            "devices",
            "code",
            "resumed_from",
            "start_step",
            "gpu_utilization",
            "log_count",
            "status_reason",
            "failure_kind",
            "exit_code",
            "stop_requested_at",
            "attempt",
            "restart_count",
            "max_restarts",
            "worker",
            "queued_at",
            "attempt_started_at",
            "reported_at",
            "stepped_at",
            "silent_since",
            "deleted_at",
            "cancelled_at",
        )
        read_only_fields = fields

    @extend_schema_field(RunCodeSerializer(allow_null=True))
    def get_code(self, run: Run) -> dict[str, Any] | None:
        code = RunCode.of(run)
        return None if code is None else code.as_json()


class ArtifactBriefSerializer(serializers.Serializer[Any]):
    """An artifact in its run's JSON. Names only fields: artifacts are in an app above this one."""

    id = StrictCharField()
    name = StrictCharField()
    type = StrictCharField()
    path = StrictCharField()
    created_at = serializers.DateTimeField()


class RunWithArtifactsSerializer(RunDetailSerializer):
    """The response to creating, resuming or cancelling a run.

    ``artifacts``: none for a new run, the kept checkpoint for a cancelled one.
    """

    artifacts = ArtifactBriefSerializer(many=True, read_only=True)

    class Meta(RunDetailSerializer.Meta):
        fields = (*RunDetailSerializer.Meta.fields, "artifacts")
        read_only_fields = fields


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
