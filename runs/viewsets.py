from typing import Any, ClassVar

from django.apps import apps
from django.http import Http404
from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema, extend_schema_view
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from projects.models import Project
from runs import actions, examples
from runs.export_api import ExportActions
from runs.filters import RunFilter
from runs.log_viewsets import LogActions
from runs.metric_api import MetricActions
from runs.models import Recipe, Run, RunEvent, RunQuerySet
from runs.run_json import run_summaries
from runs.serializers import (
    RecipeSerializer,
    ResumeQuerySerializer,
    RunDetailSerializer,
    RunEventSerializer,
    RunSummarySerializer,
    RunWithArtifactsSerializer,
    RunWriteSerializer,
)
from runs.status import RunStatus
from trainhub.ids import ID_PATTERN
from trainhub.pagination import LinkHeaderPagination


@extend_schema_view(
    list=extend_schema(
        summary="List a project's runs",
        description="All of them, newest first; or a page, with Link and X-Total-Count.",
    ),
    retrieve=extend_schema(
        summary="Get a run (获取运行详情)",
        responses=OpenApiResponse(
            RunDetailSerializer,
            description="The run as it is now.",
            examples=[OpenApiExample("获取运行详情", examples.RUN_DETAIL)],
        ),
    ),
)
class RunViewSet(
    MetricActions,
    ExportActions,
    LogActions,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    GenericViewSet[Run],
):
    schema_tags: ClassVar[list[str]] = ["runs"]
    queryset = Run.objects.none()
    serializer_class = RunDetailSerializer
    pagination_class = LinkHeaderPagination
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    @property
    def filterset_class(self) -> type[RunFilter] | None:
        return RunFilter if self.action == "list" else None

    def get_queryset(self) -> RunQuerySet:
        visible = Run.objects.visible_to(self.request.user)
        runs = visible.filter(project=self.kwargs["project_id"])
        return runs.kept() if self.action == "list" else runs

    def get_serializer_class(self) -> Any:
        return RunSummarySerializer if self.action == "list" else RunDetailSerializer

    def get_project(self) -> Project:
        visible = Project.objects.visible_to(self.request.user)
        return get_object_or_404(visible, pk=self.kwargs["project_id"])

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        self.get_project()  # the runs of an unknown project are not an empty list
        ids = self.filter_queryset(self.get_queryset()).values_list("pk", flat=True)
        page = self.paginate_queryset(ids)
        if page is None:
            return Response(run_summaries(ids))
        return self.get_paginated_response(run_summaries(page))

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
            )
        },
        examples=[OpenApiExample("创建训练运行", examples.RUN_CREATE, request_only=True)],
    )
    def create(self, request: Request, project_id: str) -> Response:
        project = self.get_project()
        serializer = RunWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = actions.create_run(project, by=user_of(request), **serializer.validated_data)
        return Response(RunWithArtifactsSerializer(run).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        summary="Cancel a run (取消运行)",
        description="Answers when the run has stopped and its last checkpoint is kept; cancelling "
        "once more is the same. 202 if its worker has not ended it yet: look again.",
        request=None,
        responses={
            200: OpenApiResponse(
                RunWithArtifactsSerializer,
                description="Cancelled; `artifacts` holds the checkpoint it kept, if there is one.",
                examples=[OpenApiExample("取消运行", examples.RUN_CANCELLED, status_codes=["200"])],
            ),
            202: OpenApiResponse(
                RunWithArtifactsSerializer, description="Asked to stop, still stopping."
            ),
        },
    )
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, project_id: str, id: str) -> Response:
        run = actions.cancel_run(self.get_object(), by=user_of(request))
        cancelled = run.status == RunStatus.CANCELLED
        return Response(
            RunWithArtifactsSerializer(run).data,
            status=status.HTTP_200_OK if cancelled else status.HTTP_202_ACCEPTED,
        )

    @extend_schema(
        summary="Resume from a checkpoint (恢复运行)",
        description="A new run of this one's configuration, overlaid by the body (which may be "
        "empty), that goes on at the checkpoint's step.",
        parameters=[ResumeQuerySerializer],
        request=RunWriteSerializer,
        responses={
            201: OpenApiResponse(
                RunWithArtifactsSerializer,
                description="Running.",
                examples=[OpenApiExample("恢复运行", examples.RUN_RESUMED, status_codes=["201"])],
            )
        },
    )
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, project_id: str, id: str) -> Response:
        source = self.get_object()
        query = ResumeQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        serializer = RunWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        checkpoint = self._source_artifact(source, query.validated_data["source_artifact_id"])
        run = actions.resume_run(
            source, checkpoint, by=user_of(request), **serializer.validated_data
        )
        return Response(RunWithArtifactsSerializer(run).data, status=status.HTTP_201_CREATED)

    def _source_artifact(self, source: Run, artifact_id: str) -> Any:
        """The artifact to resume from, whatever its type. Raises InvalidSource, Http404."""
        artifacts = apps.get_model("artifacts", "Artifact").objects.visible_to(self.request.user)
        artifact = artifacts.select_related("run").filter(pk=artifact_id).first()
        if artifact is None:
            raise Http404
        return artifact

    @extend_schema(
        summary="Read a run's history",
        description="Every status change and every request to change it, oldest first.",
        responses=RunEventSerializer(many=True),
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def events(self, request: Request, project_id: str, id: str) -> Response:
        events = RunEvent.objects.filter(run=self.get_object()).select_related("actor", "worker")
        return Response(RunEventSerializer(events, many=True).data)


@extend_schema_view(
    list=extend_schema(
        summary="List recipes",
        description="What a run's `recipe` may name. Operators write them, in the admin.",
    )
)
class RecipeViewSet(mixins.ListModelMixin, GenericViewSet[Recipe]):
    schema_tags: ClassVar[list[str]] = ["recipes"]
    queryset = Recipe.objects.filter(enabled=True)
    serializer_class = RecipeSerializer
    filter_backends = ()
