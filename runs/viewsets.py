"""The API of runs and recipes."""

from typing import Any, ClassVar

import orjson
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import (
    OpenApiExample,
    OpenApiParameter,
    OpenApiResponse,
    extend_schema,
    extend_schema_view,
)
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.direct_answers import DirectAnswersMixin
from accounts.roles import Role
from accounts.users import user_of
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.pagination import LinkHeaderPagination, PageQuery
from projects.access import may_directly, visible_project
from projects.models import Project
from runs import actions, examples
from runs.code import resolved
from runs.descriptions import describe
from runs.filters import RunFilter
from runs.models import Recipe, Run, RunEvent, RunQuerySet
from runs.run_json import run_detail, run_summaries, run_with_artifacts
from runs.serializers import (
    RecipeSerializer,
    RunDescriptionSerializer,
    RunDetailSerializer,
    RunEventSerializer,
    RunSummarySerializer,
    RunWithArtifactsSerializer,
    RunWriteSerializer,
)
from runs.submissions import HEADER, once

IDEMPOTENCY_KEY = OpenApiParameter(
    HEADER,
    {"type": "string", "pattern": r"^[!-~]{8,200}$"},
    OpenApiParameter.HEADER,
    description="Chosen by the client, e.g. a UUID: the same request with the same key within two "
    "days returns the run that the first one has made.",
)


@extend_schema_view(
    list=extend_schema(
        summary="List a project's runs",
        description="All runs, newest first; or one page, with Link and X-Total-Count headers.",
    ),
)
class RunViewSet(
    DirectAnswersMixin,
    KnownParametersMixin,
    mixins.ListModelMixin,
    GenericViewSet[Run],
):
    """The runs of a project."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    queryset = Run.objects.none()
    serializer_class = RunDetailSerializer
    pagination_class = LinkHeaderPagination
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN
    direct_actions: ClassVar[dict[str, str]] = {"retrieve": "retrieve_directly"}
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(PageQuery, RunFilter)}

    @property
    def filterset_class(self) -> type[RunFilter] | None:
        return RunFilter if self.action == "list" else None

    def get_queryset(self) -> RunQuerySet:
        runs = Run.objects.visible_in(self.kwargs["project_id"], self.request.user)
        return runs.kept() if self.action == "list" else runs

    def get_serializer_class(self) -> Any:
        return RunSummarySerializer if self.action == "list" else RunDetailSerializer

    def get_project(self) -> Project:
        return visible_project(self.request.user, self.kwargs["project_id"])

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_project()  # 404 for an unknown project, not an empty list
        ids = self.filter_queryset(self.get_queryset()).values_list("pk", flat=True)
        page = self.paginate_queryset(ids)
        if page is None:
            return Response(run_summaries(ids))
        return self.get_paginated_response(run_summaries(page))

    @extend_schema(
        summary="Get a run (获取运行详情)",
        responses=OpenApiResponse(
            RunDetailSerializer,
            description="The run's current state.",
            examples=[OpenApiExample("获取运行详情", examples.RUN_DETAIL)],
        ),
    )
    def retrieve(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        content = run_detail(run.project_id, run.pk)
        if content is None:  # deleted in the meantime
            raise Http404
        return Response(orjson.Fragment(content))

    @staticmethod
    def retrieve_directly(
        request: HttpRequest, caller: User, project_id: str, id: str
    ) -> bytes | None:
        return run_detail(project_id, id) if may_directly(caller, project_id, Role.VIEWER) else None

    @extend_schema(
        summary="Create a run (创建训练运行)",
        request=RunWriteSerializer,
        responses={
            201: OpenApiResponse(
                RunWithArtifactsSerializer,
                description="Queued.",
                examples=[
                    OpenApiExample("创建训练运行", examples.RUN_CREATED, status_codes=["201"])
                ],
            ),
            200: OpenApiResponse(
                RunWithArtifactsSerializer, description="A repeated request: the run it has made."
            ),
        },
        parameters=[IDEMPOTENCY_KEY],
        examples=[OpenApiExample("创建训练运行", examples.RUN_CREATE, request_only=True)],
    )
    def create(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = RunWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        by, given = user_of(request), dict(serializer.validated_data)
        if "code" in given:
            given["code"] = resolved(
                given["code"], given.get("recipe") or actions.default_recipe(), by=by
            )
        run, is_new = once(request, lambda: actions.create_run(project, by=by, **given))
        return Response(
            run_with_artifacts(run),
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )

    @extend_schema(
        summary="Rename, note, tag a run",
        description="Changes what people write about a run; each change is in its history. Tags "
        "are merged: those that are not named stay.",
        request=RunDescriptionSerializer,
        responses=OpenApiResponse(RunDetailSerializer, description="The run as it is now."),
        examples=[OpenApiExample("Describe", examples.RUN_DESCRIBE, request_only=True)],
    )
    def partial_update(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        serializer = RunDescriptionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        describe(run, by=user_of(request), **serializer.validated_data)
        content = run_detail(run.project_id, run.pk)
        if content is None:  # deleted in the meantime
            raise Http404
        return Response(orjson.Fragment(content))

    @extend_schema(
        summary="Get a run's history",
        description="Every status change and every request for one, oldest first.",
        responses=RunEventSerializer(many=True),
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def events(self, request: Request, project_id: str, id: str) -> Response:
        events = RunEvent.objects.filter(run=self.get_object()).select_related("actor", "worker")
        return Response(RunEventSerializer(events, many=True).data)


class RunScopedViewSet(KnownParametersMixin, GenericViewSet[Run]):
    """Base class of viewsets whose URLs are below a run's."""

    queryset = Run.objects.none()
    pagination_class: Any = None
    filter_backends = ()
    lookup_value_regex = ID_PATTERN

    def get_run(self) -> Run:
        """Raises Http404."""
        visible = Run.objects.visible_in(self.kwargs["project_id"], self.request.user)
        return get_object_or_404(visible, pk=self.kwargs["run_id"])


@extend_schema_view(
    list=extend_schema(
        summary="List recipes",
        description="The recipes that a run can use. Operators edit them in the admin.",
    )
)
class RecipeViewSet(KnownParametersMixin, mixins.ListModelMixin, GenericViewSet[Recipe]):
    """The recipes that a run can use."""

    schema_tags: ClassVar[list[str]] = ["recipes"]
    queryset = Recipe.objects.filter(enabled=True)
    serializer_class = RecipeSerializer
    filter_backends = ()
