"""The API of removed checkpoints: the trash, taking out of it, and what was deleted for good."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from artifacts import trash
from artifacts.checkpoint_deletions import (
    CheckpointDeletion,
    CheckpointDeletionQuerySet,
    DeletionState,
)
from artifacts.serializers import (
    ArtifactSerializer,
    CheckpointDeletionSerializer,
    DeletionQuerySerializer,
)
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, NoFieldsSerializer, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects.access import visible_project


class CheckpointDeletionViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[CheckpointDeletion],
):
    """Removed checkpoints of a project."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["artifacts"]
    queryset = CheckpointDeletion.objects.none()
    serializer_class = CheckpointDeletionSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(PageQuery, DeletionQuerySerializer)
    }

    def get_queryset(self) -> CheckpointDeletionQuerySet:
        visible = CheckpointDeletion.objects.visible_to(self.request.user)
        return visible.filter(project=self.kwargs["project_id"])

    @extend_schema(
        summary="List a project's removed checkpoints",
        description="Those in the trash, restored and deleted ones, newest first; all of them, or "
        "one page, with Link and X-Total-Count headers.",
        parameters=[DeletionQuerySerializer],
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        visible_project(request.user, self.kwargs["project_id"])  # 404, not an empty list
        query = DeletionQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        found = self.get_queryset()
        if "state" in query.validated_data:
            found = found.in_state(DeletionState(query.validated_data["state"]))
        page = self.paginate_queryset(found)
        if page is None:
            return Response(CheckpointDeletionSerializer(found, many=True).data)
        return self.get_paginated_response(CheckpointDeletionSerializer(page, many=True).data)

    @extend_schema(
        summary="Take a checkpoint out of the trash",
        description="It is what and where it was. Members only. 409 `not_in_trash` once its bytes "
        "are deleted, `path_taken` if other files are in its place.",
        parameters=[
            OpenApiParameter(
                name, {"type": "string", "pattern": f"^{ID_PATTERN}$"}, OpenApiParameter.PATH
            )
            for name in ("project_id", "id")
        ],
        request=None,
        responses=ArtifactSerializer,
    )
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, project_id: str, id: str) -> Response:
        deletion = self.get_object()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        return Response(ArtifactSerializer(trash.restore(deletion, by=user_of(request))).data)
