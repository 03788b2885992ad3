"""The API of removed checkpoints: the trash, taking out of it, and what is deleted for good."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.roles import Role
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
    EmptiedTrashSerializer,
    EmptyTrashSerializer,
)
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, NoFieldsSerializer, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects.access import visible_project


def _path_parameter(name: str) -> OpenApiParameter:
    schema = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
    return OpenApiParameter(name, schema, OpenApiParameter.PATH)


class CheckpointDeletionViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[CheckpointDeletion],
):
    """Removed checkpoints of a project."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["artifacts"]
    roles: ClassVar[dict[str, Role]] = {
        "destroy": Role.MAINTAINER,
        "empty_trash": Role.MAINTAINER,
    }
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
        parameters=[_path_parameter("project_id"), _path_parameter("id")],
        request=None,
        responses=ArtifactSerializer,
    )
    @action(detail=True, methods=["post"])
    def restore(self, request: Request, project_id: str, id: str) -> Response:
        deletion = self.get_object()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        return Response(ArtifactSerializer(trash.restore(deletion, by=user_of(request))).data)

    @extend_schema(
        summary="Delete a checkpoint in the trash for good",
        description="Without waiting for TRAINHUB_CHECKPOINT_TRASH_DAYS. Maintainers only. It "
        "cannot be restored any more. Workers delete its bytes in the storage: its state is "
        "`purging` until they have, then `deleted`. Done again, it changes nothing. 409 "
        "`not_in_trash` if it was restored.",
        parameters=[_path_parameter("project_id"), _path_parameter("id")],
        responses={
            202: CheckpointDeletionSerializer,
            200: OpenApiResponse(CheckpointDeletionSerializer, "It had been deleted already."),
        },
    )
    def destroy(self, request: Request, project_id: str, id: str) -> Response:
        deletion = trash.purge_now(self.get_object(), by=user_of(request))
        is_done = deletion.state is DeletionState.DELETED
        return Response(
            CheckpointDeletionSerializer(deletion).data,
            status=status.HTTP_200_OK if is_done else status.HTTP_202_ACCEPTED,
        )

    @extend_schema(
        summary="Empty the trash of a project",
        description="As each checkpoint in it deleted for good. Maintainers only.",
        parameters=[_path_parameter("project_id")],
        request=EmptyTrashSerializer,
        responses={202: EmptiedTrashSerializer},
    )
    @action(detail=False, methods=["post"], url_path="empty-trash")
    def empty_trash(self, request: Request, project_id: str) -> Response:
        project = visible_project(request.user, project_id)
        serializer = EmptyTrashSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        until = serializer.validated_data.get("trashed_until")
        count = trash.empty(project, by=user_of(request), until=until)
        return Response({"count": count}, status=status.HTTP_202_ACCEPTED)
