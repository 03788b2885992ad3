"""The requests and answers of launchers over HTTP."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from core.fields import StrictCharField, StrictIntegerField
from core.known_names import KnownFieldsSerializer
from core.numbers import MAX_BIGINT
from execution.mirror.listings import MAX_FILES, Described
from execution.models import MAX_PATH_BYTES, MAX_VERSION_LENGTH

MAX_LAUNCHER_LENGTH: Final = 64
MAX_SECONDS: Final = 1e12
MAX_PROBLEM_LENGTH: Final = 1000


class FileSerializer(KnownFieldsSerializer):
    """A file as it is on its node."""

    path = StrictCharField(max_length=MAX_PATH_BYTES, trim_whitespace=False)
    version = StrictCharField(
        max_length=MAX_VERSION_LENGTH, help_text="Names the content; of a file that grows, stays."
    )
    grows = serializers.BooleanField(help_text="Whether bytes are only added to it.")
    size = StrictIntegerField(
        min_value=0, max_value=MAX_BIGINT, required=False, help_text="Unless it grows: in bytes."
    )
    modified_ns = StrictIntegerField(min_value=0, max_value=MAX_BIGINT, required=False)

    def validate(self, data: dict[str, Any]) -> dict[str, Any]:
        if not data["grows"] and not {"size", "modified_ns"} <= data.keys():
            raise serializers.ValidationError("size and modified_ns are needed.")
        return data


class ReportSerializer(KnownFieldsSerializer):
    """What a node has now."""

    launcher = StrictCharField(
        max_length=MAX_LAUNCHER_LENGTH,
        help_text="An id that the node has chosen: no other may report for it.",
    )
    now = serializers.FloatField(
        min_value=0, max_value=MAX_SECONDS, help_text="By the node's clock, in Unix seconds."
    )
    seen = serializers.FloatField(
        min_value=0,
        max_value=MAX_SECONDS,
        help_text="`now` of the last answer; 0 at first, "
        "and if the node has files that it does not list.",
    )
    files = serializers.ListField(
        child=FileSerializer(),
        allow_null=True,
        max_length=MAX_FILES,
        help_text="null: as last listed.",
    )
    knows = serializers.BooleanField(
        help_text="Whether the node knows how much of each file has arrived."
    )
    problem = StrictCharField(
        max_length=MAX_PROBLEM_LENGTH,
        allow_blank=True,
        default="",
        help_text="Which of its files it cannot send, and why: the readers of the run are told.",
    )

    def described(self) -> list[Described] | None:
        files = self.validated_data["files"]
        if files is None:
            return None
        return [
            Described(
                file["path"],
                file["version"],
                None if file["grows"] else file["size"],
                file.get("modified_ns", 0),
            )
            for file in files
        ]


class FailedNodeSerializer(serializers.Serializer[Any]):
    """The first node whose training has failed, or that is lost."""

    node = serializers.IntegerField()
    lost = serializers.BooleanField()


class MeetingSerializer(serializers.Serializer[Any]):
    """Where the ranks of all nodes meet."""

    host = serializers.CharField()
    port = serializers.IntegerField()


class ArrivedSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    version = serializers.CharField()
    size = serializers.IntegerField(help_text="Bytes that have arrived.")


class AnswerSerializer(serializers.Serializer[Any]):
    """What is asked of a node."""

    now = serializers.FloatField(help_text="By the server's clock, in Unix seconds.")
    stop = serializers.BooleanField(help_text="Save, and end.")
    kill = serializers.BooleanField(help_text="End now.")
    meeting = MeetingSerializer(allow_null=True)
    failed = FailedNodeSerializer(allow_null=True)
    files = ArrivedSerializer(
        many=True, allow_null=True, help_text="How much of each file has arrived, if asked for."
    )


class ChunkQuerySerializer(KnownFieldsSerializer):
    launcher = serializers.CharField(max_length=MAX_LAUNCHER_LENGTH)
    path = serializers.CharField(max_length=MAX_PATH_BYTES, trim_whitespace=False)
    version = serializers.CharField(max_length=MAX_VERSION_LENGTH)
    offset = serializers.IntegerField(min_value=0, max_value=MAX_BIGINT)
    modified_ns = serializers.IntegerField(min_value=0, max_value=MAX_BIGINT)


class ReceivedSerializer(serializers.Serializer[Any]):
    size = serializers.IntegerField(help_text="How many bytes of the file have arrived.")


class StartSerializer(serializers.Serializer[Any]):
    """What an attempt starts with."""

    launch = serializers.JSONField(help_text="The description of execution/launcher/program.py.")
    size = serializers.IntegerField(help_text="Of the archive, in bytes.")
    sha256 = serializers.CharField(help_text="Of the archive.")
