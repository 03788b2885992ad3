"""API endpoint of model cards."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from artifacts.models import Artifact
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin
from core.negotiation import AnyAccept
from registry import examples
from registry.model_card_files import MARKDOWN, model_card_response


class ModelCardView(KnownParametersMixin, APIView):
    """The model card of a checkpoint."""

    schema_tags: ClassVar[list[str]] = ["artifacts"]
    content_negotiation_class = AnyAccept
    parameters: ClassVar[dict[str, list[str]]] = {}

    @extend_schema(
        operation_id="artifacts_model_card_retrieve",
        summary="Model card of a checkpoint",
        description="A README.md with YAML front matter as Hugging Face's Hub reads it, made from "
        "the checkpoint's lineage: data, hyperparameters and what changed on resuming, training "
        "time and GPU-hours, evaluation results, and who approved it. Only what is known is in it. "
        "In the language of `Accept-Language`. 404 for an artifact that is not a checkpoint.",
        parameters=[
            OpenApiParameter(
                name, {"type": "string", "pattern": f"^{ID_PATTERN}$"}, OpenApiParameter.PATH
            )
            for name in ("project_id", "run_id", "id")
        ],
        responses={
            (200, MARKDOWN): OpenApiResponse(
                OpenApiTypes.STR, examples=[OpenApiExample("Model card", examples.MODEL_CARD)]
            )
        },
    )
    def get(self, request: Request, project_id: str, run_id: str, id: str) -> HttpResponse:
        checkpoints = Artifact.objects.visible_to(request.user).checkpoints()
        checkpoint = get_object_or_404(
            checkpoints.select_related("run__project", "run__created_by"),
            pk=id,
            run=run_id,
            run__project=project_id,
        )
        return model_card_response(checkpoint)
