from typing import Any, ClassVar

from django.http import Http404
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from artifacts import examples
from artifacts.downloads import download
from artifacts.models import Artifact, ArtifactQuerySet, TagValue
from artifacts.serializers import (
    ArtifactListSerializer,
    ArtifactQuerySerializer,
    ArtifactSerializer,
    TagWriteSerializer,
)
from runs.models import Run
from trainhub.ids import ID_PATTERN


class AnyAccept(DefaultContentNegotiation):
    """Bytes have one representation, whatever Accept says."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class ArtifactViewSet(GenericViewSet[Artifact]):
    schema_tags: ClassVar[list[str]] = ["artifacts"]
    queryset = Artifact.objects.none()
    serializer_class = ArtifactSerializer
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
        parameters=[ArtifactQuerySerializer],
        responses=OpenApiResponse(
            ArtifactListSerializer,
            description="Checkpoints, event files, evaluation results, the configuration.",
            examples=[OpenApiExample("列出运行工件", examples.ARTIFACT_LIST)],
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        visible = Run.objects.visible_to(request.user).filter(project=project_id)
        get_object_or_404(visible, pk=run_id)
        query = ArtifactQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        artifacts = self.get_queryset().filter(**query.validated_data)
        return Response(ArtifactListSerializer({"items": artifacts}).data)

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
        responses={
            (200, "application/octet-stream"): OpenApiTypes.BINARY,
            (200, "application/json"): OpenApiTypes.ANY,
            (206, "application/octet-stream"): OpenApiTypes.BINARY,
            (206, "application/json"): OpenApiTypes.ANY,
        },
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def download(self, request: Request, project_id: str, run_id: str, id: str) -> HttpResponseBase:
        artifact = self.get_object()
        try:
            return download(request._request, artifact)
        except FileNotFoundError:
            raise Http404 from None
