"""The API of what the scheduler knows: why a run waits."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.helpers import forced_singular_serializer
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from core.fields import StrictCharField, StrictIntegerField
from execution.scheduling.explanation import WaitsFor, explain
from runs.viewsets import RunScopedViewSet


class ExplanationSerializer(serializers.Serializer[Any]):
    run = StrictCharField()
    status = StrictCharField()
    position = StrictIntegerField(
        allow_null=True, help_text="In the queue of its pool; 1 is the first."
    )
    waits_for = serializers.ChoiceField(choices=[kind.value for kind in WaitsFor])
    reason = StrictCharField(help_text="A sentence for people.")
    estimated_start = serializers.DateTimeField(
        allow_null=True,
        help_text="If every run takes as long as runs like it have, and no other comes.",
    )


class ExplanationViewSet(RunScopedViewSet):
    """Why a run waits."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = ExplanationSerializer

    @extend_schema(
        operation_id="projects_runs_explanation_retrieve",
        summary="Why a run waits",
        responses=OpenApiResponse(
            forced_singular_serializer(ExplanationSerializer),  # type: ignore[no-untyped-call]
            description="Its place in the queue and what it waits for.",
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        explanation = explain(self.get_run())
        return Response(ExplanationSerializer(explanation.as_json()).data)
