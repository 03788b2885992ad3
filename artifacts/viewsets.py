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
from artifacts import examples, trees, uploads
from artifacts.artifact_json import artifact_list
from artifacts.downloads import download
from artifacts.models import Artifact, ArtifactQuerySet, ArtifactType, TagValue
from artifacts.paths import MAX_PATH_LENGTH
from artifacts.serializers import (
    ArtifactListSerializer,
    ArtifactQuerySerializer,
    ArtifactSerializer,
    TagWriteSerializer,
    UploadQuerySerializer,
)
from runs.models import Run
from trainhub.ids import ID_PATTERN
from trainhub.negotiation import AnyAccept
from trainhub.pagination import LinkHeaderPagination

BYTES: dict[Any, Any] = {
    (200, "application/octet-stream"): OpenApiTypes.BINARY,
    (200, "application/json"): OpenApiTypes.ANY,
    (206, "application/octet-stream"): OpenApiTypes.BINARY,
    (206, "application/json"): OpenApiTypes.ANY,
}


class ArtifactViewSet(GenericViewSet[Artifact]):
    schema_tags: ClassVar[list[str]] = ["artifacts"]
    queryset = Artifact.objects.none()
    serializer_class = ArtifactSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
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
        description="All of them, oldest first; or a page, with Link and X-Total-Count.",
        parameters=[ArtifactQuerySerializer],
        responses=OpenApiResponse(
            ArtifactListSerializer,
            description="Checkpoints, event files, evaluation results, the configuration, and "
            "the files that its script logged.",
            examples=[OpenApiExample("列出运行工件", examples.ARTIFACT_LIST)],
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        visible = Run.objects.visible_to(request.user).filter(project=project_id)
        run = get_object_or_404(visible, pk=run_id)
        query = ArtifactQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = self.get_queryset().filter(**query.validated_data)
        ids = found.values_list("pk", flat=True)
        page = self.paginate_queryset(ids)
        content = {"items": artifact_list(run, ids if page is None else page)}
        return Response(content) if page is None else self.get_paginated_response(content)

    @extend_schema(
        summary="Tag a checkpoint (为工件打标签)",
        description="The same tag again updates its notes.",
        request=TagWriteSerializer,
        responses=OpenApiResponse(
            ArtifactSerializer,
            description="The checkpoint and its tags.",
            examples=[OpenApiExample("为工件打标签", examples.TAGGED)],
        ),
        examples=[OpenApiExample("为工件打标签", examples.TAG, request_only=True)],
    )
    @action(detail=True, methods=["post"])
    def tag(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        artifact = self.get_object()
        serializer = TagWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        value = TagValue(serializer.validated_data["tag"])
        artifact.tag(value, notes=serializer.validated_data["notes"], by=user_of(request))
        return Response(ArtifactSerializer(self.get_object()).data)

    @extend_schema(
        summary="Download an artifact's bytes",
        description="Streamed. One byte range (`Range: bytes=…`) is answered with 206.",
        responses=BYTES,
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def download(self, request: Request, project_id: str, run_id: str, id: str) -> HttpResponseBase:
        artifact = self.get_object()
        try:
            return download(request._request, artifact)
        except FileNotFoundError:
            raise Http404 from None


def _path_parameter(name: str, description: str = "", **schema: Any) -> OpenApiParameter:
    of_type = {"type": "string", **schema}
    return OpenApiParameter(name, of_type, OpenApiParameter.PATH, description=description)


class ArtifactFileView(APIView):
    """One file of a run, by its path."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    content_negotiation_class = AnyAccept
    parser_classes = ()  # the body is bytes, whatever its Content-Type says

    PARAMETERS: ClassVar[list[OpenApiParameter]] = [
        _path_parameter("project_id", pattern=f"^{ID_PATTERN}$"),
        _path_parameter("run_id", pattern=f"^{ID_PATTERN}$"),
        _path_parameter(
            "path",
            "The file's path below its run, folders included, e.g. `plots/loss.png`.",
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
        description="Streamed. One byte range (`Range: bytes=…`) is answered with 206.",
        parameters=PARAMETERS,
        responses=BYTES,
    )
    def get(self, request: Request, project_id: str, run_id: str, path: str) -> HttpResponseBase:
        return download_file(request._request, self.get_run(), path)

    @extend_schema(
        operation_id="artifacts_files_update",
        summary="Upload a file of a run",
        description="The body is the file, streamed, of any size and Content-Type. The same path "
        "again replaces the file. It is there whole or not at all: a body shorter than its "
        "Content-Length, or other than its announced checksum, leaves nothing. Without `type` the "
        "file's name decides whether it is a checkpoint. A checkpoint that is tagged or resumed "
        "from keeps its bytes, under a path beside the new one's.",
        parameters=[
            *PARAMETERS,
            UploadQuerySerializer,
            OpenApiParameter(
                "X-Checksum-Sha256",
                {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
                OpenApiParameter.HEADER,
                description="The sha256 that the body must have. Or Repr-Digest (RFC 9530).",
            ),
        ],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: OpenApiResponse(ArtifactSerializer, description="Replaced."),
            201: OpenApiResponse(ArtifactSerializer, description="New."),
        },
    )
    def put(self, request: Request, project_id: str, run_id: str, path: str) -> Response:
        with uploads.draining(request._request):
            run = self.get_run()
            query = UploadQuerySerializer(data=request.query_params.dict())
            query.is_valid(raise_exception=True)
            wanted = dict(query.validated_data)
            if "type" in wanted:
                wanted["type"] = ArtifactType(wanted["type"])
            artifact, is_new = uploads.receive(run, path, request._request, **wanted)
        return Response(
            ArtifactSerializer(artifact).data,
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )


def download_file(request: HttpRequest, run: Run, path: str) -> HttpResponseBase:
    """The file that ``run``'s tree shows under ``path``. Raises Http404."""
    for _attempt in range(2):  # the file may be replaced between the row and the bytes
        artifact = trees.find(run, path)
        if artifact is None:
            break
        try:
            return download(request, artifact)
        except FileNotFoundError:
            continue
    raise Http404
