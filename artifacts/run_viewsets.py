"""API endpoints that cancel a run and resume one from a checkpoint."""

from typing import Any, ClassVar

from django.shortcuts import get_object_or_404
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.users import user_of
from artifacts import examples
from artifacts.checkpoints import resume_run
from artifacts.models import Artifact
from artifacts.serializers import ResumeQuerySerializer
from core.known_names import NoFieldsSerializer, names_of
from runs import actions
from runs.code import resolved
from runs.models import Run
from runs.run_json import run_with_artifacts
from runs.serializers import RunWithArtifactsSerializer, RunWriteSerializer
from runs.status import RunStatus
from runs.submissions import once
from runs.viewsets import IDEMPOTENCY_KEY, RunScopedViewSet


class CancelViewSet(RunScopedViewSet):
    """Cancel a run and keep its last checkpoint."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = RunWithArtifactsSerializer

    @extend_schema(
        operation_id="projects_runs_cancel_create",
        summary="Cancel a run (取消运行)",
        description="Responds once the run has stopped and its last checkpoint is saved. "
        "Idempotent. Returns 202 if the worker has not stopped the run yet: poll the run.",
        request=None,
        responses={
            200: OpenApiResponse(
                RunWithArtifactsSerializer,
                description="Cancelled. `artifacts` contains the kept checkpoint, if any.",
                examples=[OpenApiExample("取消运行", examples.RUN_CANCELLED, status_codes=["200"])],
            ),
            202: OpenApiResponse(
                RunWithArtifactsSerializer, description="Cancel requested; still stopping."
            ),
        },
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        NoFieldsSerializer(data=request.data).is_valid(raise_exception=True)
        run = actions.cancel_run(run, by=user_of(request))
        cancelled = run.status == RunStatus.CANCELLED
        return Response(
            run_with_artifacts(run, _kept_at_cancel(run)),
            status=status.HTTP_200_OK if cancelled else status.HTTP_202_ACCEPTED,
        )


def _kept_at_cancel(run: Run) -> list[dict[str, Any]]:
    return [
        {
            "id": artifact.pk,
            "name": str(artifact.name),
            "type": artifact.type,
            "path": artifact.path,
            "created_at": artifact.created_at,
        }
        for artifact in Artifact.objects.filter(run=run).kept_at_cancel().select_related("run")
    ]


class ResumeViewSet(RunScopedViewSet):
    """Resume a run from a checkpoint."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = RunWithArtifactsSerializer
    parameters: ClassVar[dict[str, list[str]]] = {"create": names_of(ResumeQuerySerializer)}

    @extend_schema(
        operation_id="projects_runs_resume_create",
        summary="Resume from a checkpoint (恢复运行)",
        description="Creates a run with this run's configuration, overridden by the body (which "
        "may be empty), that resumes at the checkpoint's step.",
        parameters=[ResumeQuerySerializer, IDEMPOTENCY_KEY],
        request=RunWriteSerializer,
        responses={
            201: OpenApiResponse(
                RunWithArtifactsSerializer,
                description="Running.",
                examples=[OpenApiExample("恢复运行", examples.RUN_RESUMED, status_codes=["201"])],
            ),
            200: OpenApiResponse(
                RunWithArtifactsSerializer, description="A repeated request: the run it has made."
            ),
        },
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        source = self.get_run()
        query = ResumeQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        serializer = RunWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        visible = Artifact.objects.visible_to(request.user).select_related("run")
        checkpoint = get_object_or_404(visible, pk=query.validated_data["source_artifact_id"])
        by, given = user_of(request), dict(serializer.validated_data)
        if "code" in given:
            given["code"] = resolved(given["code"], given.get("recipe") or source.recipe, by=by)
        run, is_new = once(request, lambda: resume_run(source, checkpoint, by=by, **given))
        return Response(
            run_with_artifacts(run),
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )
