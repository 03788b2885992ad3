"""API endpoints that pause a run and continue it."""

from __future__ import annotations

from typing import ClassVar

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.users import user_of
from core.known_names import NoFieldsSerializer
from runs import interruptions
from runs.run_json import run_with_artifacts
from runs.serializers import RunWithArtifactsSerializer
from runs.viewsets import RunScopedViewSet


class PauseViewSet(RunScopedViewSet):
    """Pause a run."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = RunWithArtifactsSerializer

    @extend_schema(
        operation_id="projects_runs_pause_create",
        summary="Pause a run (暂停运行)",
        description="The run stops with a checkpoint and gives up its GPUs until it is continued. "
        "Responds once it has stopped. Idempotent. Returns 202 if the worker has not stopped the "
        "run yet: poll the run.",
        request=None,
        responses={
            200: OpenApiResponse(RunWithArtifactsSerializer, description="Paused."),
            202: OpenApiResponse(
                RunWithArtifactsSerializer, description="Pause requested; still stopping."
            ),
        },
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        run = interruptions.pause_run(run, by=user_of(request))
        return Response(
            run_with_artifacts(run),
            status=status.HTTP_200_OK if run.is_paused else status.HTTP_202_ACCEPTED,
        )


class ContinueViewSet(RunScopedViewSet):
    """Continue a paused run."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = RunWithArtifactsSerializer

    @extend_schema(
        operation_id="projects_runs_continue_create",
        summary="Continue a paused run (继续运行)",
        description="Queues the run again; it goes on from its latest checkpoint.",
        request=None,
        responses={200: OpenApiResponse(RunWithArtifactsSerializer, description="Queued.")},
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        run = interruptions.continue_run(run, by=user_of(request))
        return Response(run_with_artifacts(run))
