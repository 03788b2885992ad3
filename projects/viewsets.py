"""API endpoints for projects."""

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.roles import Role
from accounts.users import user_of
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects import examples
from projects.models import Project, ProjectQuerySet, ProjectStatus
from projects.serializers import (
    ProjectChangeSerializer,
    ProjectDetailSerializer,
    ProjectSummarySerializer,
    ProjectWriteSerializer,
)


@extend_schema_view(
    list=extend_schema(
        summary="List projects (列出项目)",
        responses=OpenApiResponse(
            ProjectSummarySerializer(many=True),
            description="All projects, newest first; or one page, with Link and X-Total-Count.",
            examples=[OpenApiExample("列出项目", examples.PROJECT_LISTED)],
        ),
    ),
    retrieve=extend_schema(
        summary="Get a project (获取项目详情)",
        responses=OpenApiResponse(
            ProjectDetailSerializer,
            description="The project, its newest 100 runs and its versions.",
            examples=[OpenApiExample("获取项目详情", examples.PROJECT_DETAIL)],
        ),
    ),
)
class ProjectViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Project],
):
    """Projects."""

    schema_tags: ClassVar[list[str]] = ["projects"]
    project_argument = "id"
    roles: ClassVar[dict[str, Role]] = {"partial_update": Role.MAINTAINER}
    queryset = Project.objects.none()
    serializer_class = ProjectDetailSerializer
    pagination_class = LinkHeaderPagination
    filter_backends = ()
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(PageQuery)}
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> ProjectQuerySet:
        return Project.objects.visible_to(self.request.user)

    def get_serializer_class(self) -> Any:
        return ProjectSummarySerializer if self.action == "list" else ProjectDetailSerializer

    @extend_schema(
        summary="Create a project (创建项目)",
        request=ProjectWriteSerializer,
        responses={
            201: OpenApiResponse(
                ProjectDetailSerializer,
                description="Created.",
                examples=[
                    OpenApiExample("创建项目", examples.PROJECT_CREATED, status_codes=["201"])
                ],
            )
        },
        examples=[OpenApiExample("创建项目", examples.PROJECT_CREATE, request_only=True)],
    )
    def create(self, request: Request) -> Response:
        serializer = ProjectWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        project = Project.create(serializer.validated_data, by=user_of(request))
        return Response(ProjectDetailSerializer(project).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Change a project",
        description="A configuration change creates a new version. Archive by setting the status.",
        request=ProjectChangeSerializer,
        responses=ProjectDetailSerializer,
    )
    def partial_update(self, request: Request, id: str) -> Response:
        project = self.get_object()
        serializer = ProjectChangeSerializer(project, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        changes = dict(serializer.validated_data)
        to = changes.pop("status", None)
        project.update(changes, status=ProjectStatus(to) if to else None, by=user_of(request))
        return Response(ProjectDetailSerializer(project).data)
