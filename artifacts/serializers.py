"""JSON of artifacts and tags, as the contract defines it."""

from typing import Any, ClassVar, Final

from drf_spectacular.utils import extend_schema_serializer
from rest_framework import serializers

from artifacts.checkpoint_deletions import DeletionState
from artifacts.direct_transfers import MAX_ETAG_LENGTH, MAX_OBJECT_BYTES, MAX_PARTS
from artifacts.direct_uploads import DirectUpload
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, ArtifactTag
from artifacts.storage_use_queries import StorageGrouping
from core.fields import AwareDateTimeField, StrictCharField, StrictModelSerializer
from core.ids import MAX_LENGTH
from core.known_names import KnownFieldsSerializer
from core.message_field import StoredMessageField
from core.numbers import MAX_BIGINT

DEFAULT_URLS: Final = 100
URLS_AT_ONCE: Final = 1000


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


class DirectUploadWriteSerializer(KnownFieldsSerializer):
    path = StrictCharField(help_text="The file's path within its run, including folders.")
    type = serializers.ChoiceField(choices=ArtifactType.choices, required=False)
    step = serializers.IntegerField(
        min_value=0, max_value=MAX_BIGINT, required=False, help_text="The file's training step."
    )
    size_bytes = serializers.IntegerField(min_value=1, max_value=MAX_OBJECT_BYTES)
    sha256 = serializers.RegexField(
        r"\A[0-9a-fA-F]{64}\Z", help_text="Of the whole file, in hexadecimal digits."
    )


class PartUrlSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField()
    url = serializers.URLField(help_text="Where PUT sends the part; no other headers are needed.")
    size_bytes = serializers.IntegerField(
        allow_null=True, help_text="How many bytes the part must have."
    )


class PartUrlsSerializer(serializers.Serializer[Any]):
    parts = PartUrlSerializer(many=True)
    urls_expire_at = serializers.DateTimeField()


class DirectUploadSerializer(StrictModelSerializer):
    path = StrictCharField(source="file", read_only=True)
    artifact = ArtifactSerializer(read_only=True, allow_null=True)

    class Meta:
        model = DirectUpload
        fields: ClassVar[tuple[str, ...]] = (
            "id",
            "path",
            "status",
            "problem",
            "size_bytes",
            "sha256",
            "part_size",
            "part_count",
            "created_at",
            "expires_at",
            "artifact",
        )
        read_only_fields = fields


class StartedUploadSerializer(DirectUploadSerializer):
    parts = PartUrlSerializer(many=True, help_text="The first ones; ask for the URLs of others.")
    urls_expire_at = serializers.DateTimeField()

    class Meta(DirectUploadSerializer.Meta):
        fields = (*DirectUploadSerializer.Meta.fields, "parts", "urls_expire_at")
        read_only_fields = fields


class PartsQuerySerializer(KnownFieldsSerializer):
    first = serializers.IntegerField(min_value=1, max_value=MAX_PARTS, required=False, default=1)
    count = serializers.IntegerField(
        min_value=1, max_value=URLS_AT_ONCE, required=False, default=DEFAULT_URLS
    )


class SentPartSerializer(KnownFieldsSerializer):
    number = serializers.IntegerField(min_value=1, max_value=MAX_PARTS)
    etag = StrictCharField(
        max_length=MAX_ETAG_LENGTH, help_text="The header ETag of S3's answer to the part."
    )


class SentPartsSerializer(KnownFieldsSerializer):
    parts = serializers.ListField(child=SentPartSerializer(), max_length=MAX_PARTS)


class TagWriteSerializer(KnownFieldsSerializer):
    tag = serializers.ChoiceField(choices=TagValue.choices)
    notes = StrictCharField(max_length=10_000, allow_blank=True, required=False, default="")


class ResumeQuerySerializer(serializers.Serializer[Any]):
    source_artifact_id = StrictCharField(help_text="The checkpoint to resume from.")


class RemovalSerializer(KnownFieldsSerializer):
    notes = StrictCharField(
        max_length=10_000, allow_blank=True, required=False, default="", help_text="Why."
    )


class CheckpointDeletionSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    project_id = StrictCharField()
    run_id = StrictCharField()
    run_name = StrictCharField()
    checkpoint_id = StrictCharField(source="checkpoint_key")
    name = StrictCharField(help_text="Of the checkpoint.")
    file = StrictCharField(help_text="Of a folder, the file that stands for it.")
    step = serializers.IntegerField(allow_null=True)
    state = serializers.ChoiceField(
        choices=DeletionState.values, help_text="`purging`: its bytes are being deleted."
    )
    file_count = serializers.IntegerField()
    size_bytes = serializers.IntegerField(help_text="Of all its files.")
    sha256 = StrictCharField(help_text="Of `file`.")
    digest = StrictCharField(
        help_text="The sha256 of its files' lines `<sha256> <bytes>`, sorted, joined by newlines."
    )
    reason = StrictCharField(allow_blank=True)
    by_policy = serializers.BooleanField()
    deleted_by = StrictCharField(source="deleted_by_name", allow_blank=True)
    trashed_at = serializers.DateTimeField()
    purge_due_at = serializers.DateTimeField(
        allow_null=True, help_text="When its bytes are deleted, if it is in the trash."
    )
    restored_at = serializers.DateTimeField(allow_null=True)
    restored_by = StrictCharField(source="restored_by_name", allow_blank=True)
    purge_requested_at = serializers.DateTimeField(
        allow_null=True, help_text="When a person had it deleted without waiting."
    )
    purged_by = StrictCharField(
        source="purged_by_name", allow_blank=True, help_text="Who did; empty if nobody."
    )
    purged_at = serializers.DateTimeField(
        allow_null=True, help_text="When its files were given up: they cannot be had back."
    )
    deleted_at = serializers.DateTimeField(
        allow_null=True, help_text="When the storage had deleted all of them."
    )


class EmptyTrashSerializer(KnownFieldsSerializer):
    trashed_until = AwareDateTimeField(
        required=False,
        help_text="Only what was moved to the trash no later than this: what has been looked at.",
    )


class EmptiedTrashSerializer(serializers.Serializer[Any]):
    count = serializers.IntegerField(help_text="Of checkpoints that are now being deleted.")


class DeletionQuerySerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=DeletionState.values, required=False)


class StorageQuerySerializer(serializers.Serializer[Any]):
    group_by = serializers.ChoiceField(
        choices=StorageGrouping.choices,
        default=StorageGrouping.PROJECT,
        help_text="`owner`: who answers for the project.",
    )
    project_id = StrictCharField(
        max_length=MAX_LENGTH, required=False, help_text="Of this project alone."
    )
    limit = serializers.IntegerField(
        min_value=1, max_value=10_000, default=500, help_text="Of groups."
    )


class StorageGroupSerializer(serializers.Serializer[Any]):
    key = StrictCharField(allow_blank=True, help_text="The id of the run or project, or the owner.")
    name = StrictCharField(allow_blank=True)
    project_id = StrictCharField(allow_blank=True, help_text="Empty of an owner.")
    size_bytes = serializers.IntegerField()
    trash_bytes = serializers.IntegerField(help_text="How much of it is in the trash.")
    file_count = serializers.IntegerField()


class StorageReportSerializer(serializers.Serializer[Any]):
    by = serializers.ChoiceField(choices=StorageGrouping.choices)
    groups = StorageGroupSerializer(many=True)
    group_count = serializers.IntegerField(help_text="Also of those beyond the limit.")
    size_bytes = serializers.IntegerField(help_text="Of all groups.")
    trash_bytes = serializers.IntegerField()
    file_count = serializers.IntegerField()
