"""The API of evaluations of checkpoints: one at once, and by rules."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import mixins, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from accounts.roles import Role
from accounts.users import user_of
from artifacts.evaluation_runs import evaluate
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin
from projects.access import visible_project
from registry.evaluation_rules import EvaluationRule, EvaluationRuleQuerySet, create_rule
from registry.release_viewsets import OF_ARTIFACT, OfArtifactView
from registry.serializers import EvaluateSerializer, RuleSerializer, RuleWriteSerializer
from runs.run_json import run_with_artifacts
from runs.serializers import RunWithArtifactsSerializer
from runs.submissions import once
from runs.viewsets import IDEMPOTENCY_KEY


class EvaluateView(OfArtifactView):
    """Evaluations of a checkpoint."""

    for_scripts = False

    @extend_schema(
        operation_id="projects_runs_artifacts_evaluate_create",
        summary="Evaluate a checkpoint (评测检查点)",
        description="Queues a run of the recipe that finds the checkpoint as a resumed run does. "
        "What it reports is the checkpoint's: the numbers of its files, and once it has completed, "
        "its metrics.",
        parameters=[*OF_ARTIFACT, IDEMPOTENCY_KEY],
        request=EvaluateSerializer,
        responses={
            201: OpenApiResponse(RunWithArtifactsSerializer, description="Queued."),
            200: OpenApiResponse(
                RunWithArtifactsSerializer, description="A repeated request: the run it has made."
            ),
        },
    )
    def post(self, request: Request, project_id: str, run_id: str, id: str) -> Response:
        checkpoint = self.get_artifact()
        serializer = EvaluateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given, by = serializer.validated_data, user_of(request)
        run, is_new = once(request, lambda: evaluate(checkpoint, by=by, **given))
        return Response(
            run_with_artifacts(run),
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )


class EvaluationRuleViewSet(
    KnownParametersMixin,
    mixins.ListModelMixin,
    mixins.DestroyModelMixin,
    GenericViewSet[EvaluationRule],
):
    """Rules by which a project's checkpoints are evaluated."""

    for_scripts = False
    schema_tags: ClassVar[list[str]] = ["releases"]
    roles: ClassVar[dict[str, Role]] = {"create": Role.MAINTAINER, "destroy": Role.MAINTAINER}
    queryset = EvaluationRule.objects.none()
    serializer_class = RuleSerializer
    pagination_class: Any = None
    filter_backends = ()
    lookup_url_kwarg = "id"
    lookup_value_regex = ID_PATTERN

    def get_queryset(self) -> EvaluationRuleQuerySet:
        visible = EvaluationRule.objects.visible_to(self.request.user)
        return visible.filter(project=self.kwargs["project_id"]).select_related("created_by")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        visible_project(request.user, self.kwargs["project_id"])  # 404, not an empty list
        return super().list(request, *args, **kwargs)

    @extend_schema(
        summary="Evaluate every nth checkpoint from now on",
        description="Of each training of the project, or of those of a recipe or name. A worker "
        "does it, each checkpoint once.",
        request=RuleWriteSerializer,
        responses={201: RuleSerializer},
    )
    def create(self, request: Request, project_id: str) -> Response:
        project = visible_project(request.user, project_id)
        serializer = RuleWriteSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        rule = create_rule(project, by=user_of(request), **serializer.validated_data)
        return Response(RuleSerializer(rule).data, status=status.HTTP_201_CREATED)
