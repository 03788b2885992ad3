"""GET …/export: a run's metrics, or all of a project's, as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.http import StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from projects.models import Project
from runs import examples
from runs.exports import CONTENT_TYPES, ExportFormat, export
from runs.models import Run, RunQuerySet
from trainhub.ids import ID_PATTERN
from trainhub.negotiation import AnyAccept

View = TypeVar("View", bound=Callable[..., Any])


class ExportQuerySerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(
        choices=ExportFormat.choices,
        default=ExportFormat.PARQUET,
        help_text="Parquet, or CSV as in RFC 4180.",
    )


def described(summary: str) -> Callable[[View], View]:
    """What the schema says of an export."""
    decorator: Callable[[View], View] = extend_schema(
        summary=summary,
        description="A row for every point: project_id, run_id, run_name, key, step, timestamp, "
        "value. The points of a metric come together, by step. Streamed while it is read; NaN and "
        "the infinities are kept (in CSV as NaN, Infinity, -Infinity).",
        parameters=[ExportQuerySerializer],
        responses={
            (200, CONTENT_TYPES[ExportFormat.PARQUET]): OpenApiTypes.BINARY,
            (200, "text/csv"): OpenApiResponse(
                OpenApiTypes.BINARY, examples=[OpenApiExample("CSV", examples.EXPORTED_CSV)]
            ),
        },
    )
    return decorator


def _file(request: Request, runs: RunQuerySet, name: str) -> StreamingHttpResponse:
    query = ExportQuerySerializer(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    to = ExportFormat(query.validated_data["format"])
    response = StreamingHttpResponse(export(runs, to), content_type=to.content_type)
    disposition = content_disposition_header(as_attachment=True, filename=f"{name}.{to}")
    response["Content-Disposition"] = disposition or ""
    return response


class ExportActions(GenericViewSet[Run]):
    """The part of the runs' viewset that exports one."""

    @described("Export a run's metrics")
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def export(self, request: Request, project_id: str, id: str) -> StreamingHttpResponse:
        run = self.get_object()
        return _file(request, Run.objects.filter(pk=run.pk), run.pk)


class ProjectExportViewSet(GenericViewSet[Run]):
    schema_tags: ClassVar[list[str]] = ["projects"]
    queryset = Run.objects.none()
    serializer_class = ExportQuerySerializer
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = ()
    lookup_value_regex = ID_PATTERN

    @described("Export the metrics of a project's runs")
    def list(self, request: Request, project_id: str) -> StreamingHttpResponse:
        visible = Project.objects.visible_to(request.user)
        project = get_object_or_404(visible, pk=project_id)
        runs = Run.objects.visible_to(request.user).kept().filter(project=project)
        return _file(request, runs, project.pk)
