"""API endpoints for a run's artifacts and files."""

from typing import Any, ClassVar

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
)
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from artifacts import examples, file_tree, trash, uploads
from artifacts.artifact_json import artifact_list
from artifacts.downloads import download, download_archive
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact, ArtifactQuerySet
from artifacts.paths import MAX_PATH_LENGTH
from artifacts.serializers import (
    ArtifactListSerializer,
    ArtifactQuerySerializer,
    ArtifactSerializer,
    CheckpointDeletionSerializer,
    RemovalSerializer,
    UploadQuerySerializer,
)
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept
from core.pagination import LinkHeaderPagination, PageQuery
from runs.models import Run

BYTES: dict[Any, Any] = {
    (200, "application/octet-stream"): OpenApiTypes.BINARY,
    (200, "application/json"): OpenApiTypes.ANY,
    (206, "application/octet-stream"): OpenApiTypes.BINARY,
    (206, "application/json"): OpenApiTypes.ANY,
    302: OpenApiResponse(description="The bytes are at S3, in `Location`, for five minutes."),
}
PREFER = OpenApiParameter(
    "Prefer",
    {"type": "string"},
    OpenApiParameter.HEADER,
    description="`direct`: fetch the bytes from S3, if the storage is S3 and the settings allow it "
    "(RFC 7240).",
)


class ArtifactViewSet(KnownParametersMixin, GenericViewSet[Artifact]):
    """The artifacts of a run."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    queryset = Artifact.objects.none()
    serializer_class = ArtifactSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(PageQuery, ArtifactQuerySerializer)
    }
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> ArtifactQuerySet:
        return (
            Artifact.objects.visible_to(self.request.user)
            .filter(run=self.kwargs["run_id"], run__project=self.kwargs["project_id"])
            .select_related("run")
            .prefetch_related("tags")
        )

    @extend_schema(
        summary="List a run's artifacts (列出运行工件)",
        description="All artifacts, oldest first; or one page, with Link and X-Total-Count.",
        parameters=[ArtifactQuerySerializer],
        responses=OpenApiResponse(
            ArtifactListSerializer,
            description="Checkpoints, event files, evaluation results, the configuration, and "
            "files logged by the run's script.",
            examples=[OpenApiExample("列出运行工件", examples.ARTIFACT_LIST)],
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        visible = Run.objects.visible_in(project_id, request.user)
        run = get_object_or_404(visible, pk=run_id)
        query = ArtifactQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        artifacts = self.get_queryset().filter(**query.validated_data)
        ids = artifacts.values_list("pk", flat=True)
        page = self.paginate_queryset(ids)
        content = {"items": artifact_list(run, ids if page is None else page)}
        return Response(content) if page is None else self.get_paginated_response(content)

    @extend_schema(
        summary="Download an artifact",
        description="Streams the bytes. A single byte range (`Range: bytes=…`) returns 206.",
        parameters=[PREFER],
        responses=BYTES,
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def download(self, request: Request, project_id: str, run_id: str, id: str) -> HttpResponseBase:
        artifact = self.get_object()
        try:
            return download(request._request, artifact)
        except FileNotFoundError:
            raise Http404 from None

    @extend_schema(
        summary="Download a checkpoint's folder",
        description="All files of a checkpoint that was uploaded as a folder, as one tar archive, "
        "streamed. Of any other artifact, the archive contains its one file.",
        responses={(200, "application/x-tar"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def archive(self, request: Request, project_id: str, run_id: str, id: str) -> HttpResponseBase:
        return download_archive(request._request, self.get_object())


class ProjectArtifactViewSet(KnownParametersMixin, GenericViewSet[Artifact]):
    """An artifact of a project whose run is not known."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    queryset = Artifact.objects.none()
    serializer_class = ArtifactSerializer
    filter_backends = ()
    pagination_class: Any = None
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> ArtifactQuerySet:
        visible = Artifact.objects.visible_to(self.request.user)
        return visible.filter(run__project=self.kwargs["project_id"]).select_related("run")

    @extend_schema(
        summary="Get an artifact",
        description="By its id alone; `run_id` says whose it is.",
        responses=ArtifactSerializer,
    )
    def retrieve(self, request: Request, project_id: str, id: str) -> Response:
        return Response(ArtifactSerializer(self.get_object()).data)

    @extend_schema(
        summary="Move a checkpoint to the trash",
        description="With all files of its folder. Members only. Its bytes are deleted after "
        "TRAINHUB_CHECKPOINT_TRASH_DAYS; until then it can be restored. 409 `artifact_in_use` if "
        "something needs it: a tag, unless the last one is 归档, a run that begins or goes on from "
        "it, a registered version, a request for its release.",
        request=RemovalSerializer,
        responses={200: CheckpointDeletionSerializer},
    )
    def destroy(self, request: Request, project_id: str, id: str) -> Response:
        checkpoint = self.get_object()
        serializer = RemovalSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        notes = serializer.validated_data["notes"]
        deletion = trash.remove(checkpoint, by=user_of(request), notes=notes)
        return Response(CheckpointDeletionSerializer(deletion).data)


def _path_parameter(name: str, description: str = "", **schema: Any) -> OpenApiParameter:
    string = {"type": "string", **schema}
    return OpenApiParameter(name, string, OpenApiParameter.PATH, description=description)


class ArtifactFileView(KnownParametersMixin, APIView):
    """One file of a run, by its path."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    content_negotiation_class = AnyAccept
    parser_classes = ()  # the body is raw bytes, whatever its Content-Type
    parameters: ClassVar[dict[str, list[str]]] = {"put": names_of(UploadQuerySerializer)}

    PARAMETERS: ClassVar[list[OpenApiParameter]] = [
        _path_parameter("project_id", pattern=f"^{ID_PATTERN}$"),
        _path_parameter("run_id", pattern=f"^{ID_PATTERN}$"),
        _path_parameter(
            "path",
            "The file's path within its run, including folders, e.g. `plots/loss.png`.",
            maxLength=MAX_PATH_LENGTH,
        ),
    ]

    def get_run(self) -> Run:
        visible = Run.objects.visible_to(self.request.user)
        return get_object_or_404(
            visible, pk=self.kwargs["run_id"], project=self.kwargs["project_id"]
        )

    @extend_schema(
        operation_id="artifacts_files_retrieve",
        summary="Download a file of a run",
        description="Streams the bytes. A single byte range (`Range: bytes=…`) returns 206.",
        parameters=[*PARAMETERS, PREFER],
        responses=BYTES,
    )
    def get(self, request: Request, project_id: str, run_id: str, path: str) -> HttpResponseBase:
        return download_file(request._request, self.get_run(), path)

    @extend_schema(
        operation_id="artifacts_files_update",
        summary="Upload a file to a run",
        description="The body is the file, streamed, of any size and Content-Type. Uploading to an "
        "existing path replaces the file. Uploads are atomic: a body shorter than its "
        "Content-Length, or with a checksum other than announced, leaves nothing. Without `type`, "
        "the file's name decides whether it is a checkpoint. A checkpoint that is tagged or "
        "resumed from keeps its bytes: it is renamed to a path next to the new one. A checkpoint "
        "that is cut off or lacks files has `metadata.damage` until it is complete.",
        parameters=[
            *PARAMETERS,
            UploadQuerySerializer,
            OpenApiParameter(
                "X-Checksum-Sha256",
                {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                OpenApiParameter.HEADER,
                description="The expected sha256 of the body. Repr-Digest (RFC 9530) also works.",
            ),
        ],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: OpenApiResponse(ArtifactSerializer, description="Replaced."),
            201: OpenApiResponse(ArtifactSerializer, description="Created."),
        },
    )
    def put(self, request: Request, project_id: str, run_id: str, path: str) -> Response:
        with uploads.draining(request._request):
            run = self.get_run()
            query = UploadQuerySerializer(data=request.query_params.dict())
            query.is_valid(raise_exception=True)
            options = dict(query.validated_data)
            if "type" in options:
                options["type"] = ArtifactType(options["type"])
            artifact, is_new = uploads.receive(run, path, request._request, **options)
        return Response(
            ArtifactSerializer(artifact).data,
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )


def download_file(request: HttpRequest, run: Run, path: str) -> HttpResponseBase:
    """Download the file at ``path`` in ``run``'s file tree. Raises Http404."""
    for _attempt in range(2):  # the file may be replaced after its row is read
        artifact = file_tree.find(run, path)
        if artifact is None:
            break
        try:
            return download(request, artifact)
        except FileNotFoundError:
            continue
    raise Http404
