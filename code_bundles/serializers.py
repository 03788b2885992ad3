"""Serializers of code bundles."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from code_bundles.limits import MAX_PATH_BYTES
from code_bundles.manifest import KINDS, entries_of
from core.fields import StrictCharField, StrictIntegerField, StrictRegexField
from core.ids import ID_PATTERN
from core.known_names import KnownFieldsSerializer
from runs.models import CodeBundle
from runs.models.code import SHA256_PATTERN
from runs.serializers import RunCodeSerializer


class CodeBundleSerializer(serializers.Serializer[Any]):
    """A bundle. ``sha256``: of its files (docs/code.md); sizes in bytes, of the archive and of its
    files."""

    sha256 = StrictCharField()
    size_bytes = StrictIntegerField()
    unpacked_bytes = StrictIntegerField()
    file_count = StrictIntegerField()
    created_at = serializers.DateTimeField()


class CodeFileSerializer(serializers.Serializer[Any]):
    """A file of a bundle. ``kind``: f, x (executable) or l (a symbolic link)."""

    path = StrictCharField()
    kind = serializers.ChoiceField(choices=[(kind, kind) for kind in KINDS])
    size_bytes = StrictIntegerField(source="size")
    sha256 = StrictCharField()


class CodeBundleDetailSerializer(CodeBundleSerializer):
    files = serializers.SerializerMethodField()

    @extend_schema_field(CodeFileSerializer(many=True))
    def get_files(self, bundle: CodeBundle) -> list[dict[str, Any]]:
        return list(CodeFileSerializer(entries_of(bundle.files), many=True).data)


@extend_schema_serializer(many=False)  # also as the answer of a viewset's list
class RunCodeDetailSerializer(RunCodeSerializer):
    """``bundle``: null until a worker has fetched it from its repository. ``patch``: what the
    working tree changed in ``commit``, as its client sent it."""

    bundle = CodeBundleDetailSerializer(allow_null=True)
    patch = StrictCharField(allow_blank=True)


class UploadQuerySerializer(KnownFieldsSerializer):
    sha256 = StrictRegexField(
        rf"\A{SHA256_PATTERN}\Z",
        required=False,
        help_text="The hash of the files, if it is known: another one is refused.",
    )


class FileQuerySerializer(KnownFieldsSerializer):
    path = StrictCharField(max_length=MAX_PATH_BYTES, trim_whitespace=False)


class DiffQuerySerializer(KnownFieldsSerializer):
    against = StrictRegexField(
        rf"\A{ID_PATTERN}\Z", help_text="The id of a run, whose code is the one before."
    )
