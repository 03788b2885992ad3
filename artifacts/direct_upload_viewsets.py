"""API endpoints for uploads whose bytes clients send to S3 themselves."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from artifacts import direct_upload_actions
from artifacts.direct_transfers import Part
from artifacts.direct_upload_actions import URL_LIFE
from artifacts.direct_uploads import DirectUpload, UploadStatus
from artifacts.kinds import ArtifactType
from artifacts.serializers import (
    DEFAULT_URLS,
    DirectUploadSerializer,
    DirectUploadWriteSerializer,
    PartsQuerySerializer,
    PartUrlsSerializer,
    SentPartsSerializer,
    StartedUploadSerializer,
)
from core.known_names import NoFieldsSerializer
from runs.viewsets import RunScopedViewSet


class DirectUploadViewSet(RunScopedViewSet):
    """An upload of a file to a run, sent to S3 in parts by presigned URLs."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    serializer_class = DirectUploadSerializer
    lookup_url_kwarg = "id"

    def get_upload(self) -> DirectUpload:
        """Raises Http404."""
        uploads = DirectUpload.objects.select_related("artifact__run")
        return get_object_or_404(uploads, pk=self.kwargs["id"], run=self.get_run())

    @extend_schema(
        operation_id="projects_runs_artifacts_uploads_create",
        summary="Begin an upload to S3",
        description="For files whose bytes go from the client to S3 and not through this server, "
        "if the storage is S3 and the settings allow it; otherwise 409 `direct_uploads_off`: send "
        "the file by `PUT …/artifacts/files/{path}`. Send each part of the file by PUT to its URL, "
        "several at once if you like, note the ETag of each answer, and complete the upload within "
        "a day.",
        request=DirectUploadWriteSerializer,
        responses={201: OpenApiResponse(StartedUploadSerializer, description="Send the parts.")},
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        serializer = DirectUploadWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = dict(serializer.validated_data)
        if "type" in given:
            given["type"] = ArtifactType(given["type"])
        given["sha256"] = given["sha256"].lower()
        upload = direct_upload_actions.start(run, given.pop("path"), **given)
        content = {**DirectUploadSerializer(upload).data, **_urls(upload, 1, DEFAULT_URLS)}
        return Response(content, status=status.HTTP_201_CREATED)

    @extend_schema(
        operation_id="projects_runs_artifacts_uploads_retrieve",
        summary="Get an upload to S3",
        description="`open` while its parts are sent, `checking` while its bytes are read, then "
        "`completed`, with the artifact; `failed`, with the reason; or `aborted`.",
        responses=DirectUploadSerializer,
    )
    def retrieve(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        return Response(DirectUploadSerializer(self.get_upload()).data)

    @extend_schema(
        operation_id="projects_runs_artifacts_uploads_parts_create",
        summary="Get further URLs of parts",
        description="Of parts after the first ones, or again of those whose URLs have expired.",
        request=PartsQuerySerializer,
        responses={200: PartUrlsSerializer},
    )
    @action(detail=True, methods=["post"])
    def parts(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        upload = self.get_upload()
        serializer = PartsQuerySerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(_urls(upload, **serializer.validated_data))

    @extend_schema(
        operation_id="projects_runs_artifacts_uploads_complete_create",
        summary="Complete an upload to S3",
        description="All parts have been sent. The server reads the file and compares size and "
        "sha256 before it becomes an artifact: at once up to 256 MiB, otherwise soon after. "
        "Idempotent.",
        request=SentPartsSerializer,
        responses={
            200: OpenApiResponse(DirectUploadSerializer, description="`artifact` is stored."),
            202: OpenApiResponse(
                DirectUploadSerializer, description="Its bytes are being read: poll the upload."
            ),
        },
    )
    @action(detail=True, methods=["post"])
    def complete(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        upload = self.get_upload()
        serializer = SentPartsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        parts = [Part(part["number"], part["etag"]) for part in serializer.validated_data["parts"]]
        direct_upload_actions.complete(upload, parts)
        is_done = upload.status == UploadStatus.COMPLETED
        return Response(
            DirectUploadSerializer(upload).data,
            status=status.HTTP_200_OK if is_done else status.HTTP_202_ACCEPTED,
        )

    @extend_schema(
        operation_id="projects_runs_artifacts_uploads_destroy",
        summary="Abort an upload to S3",
        description="Deletes what was sent. Idempotent; 409 if it has been completed.",
        responses={204: None},
    )
    def destroy(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        upload = self.get_upload()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        direct_upload_actions.abort(upload)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _urls(upload: DirectUpload, first: int, count: int) -> dict[str, Any]:
    expire_at = min(timezone.now() + URL_LIFE, upload.expires_at)
    parts = direct_upload_actions.part_urls(upload, range(first, first + count))
    return {"parts": [part._asdict() for part in parts], "urls_expire_at": expire_at}
