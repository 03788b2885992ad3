"""GET …/export: a run's metrics, or all of a project's, as a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.http import StreamingHttpResponse
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.viewsets import GenericViewSet

from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept
from metrics import examples
from metrics.exports import CONTENT_TYPES, ExportFormat, export
from projects.access import visible_project
from runs.models import Run, RunQuerySet
from runs.viewsets import RunScopedViewSet

View = TypeVar("View", bound=Callable[..., Any])


class ExportQuerySerializer(serializers.Serializer[Any]):
    format = serializers.ChoiceField(
        choices=ExportFormat.choices,
        default=ExportFormat.PARQUET,
        help_text="Parquet or CSV (RFC 4180).",
    )


def export_schema(summary: str) -> Callable[[View], View]:
    """OpenAPI documentation of an export endpoint."""
    decorator: Callable[[View], View] = extend_schema(
        summary=summary,
        description="One row per point: project_id, run_id, run_name, key, step, timestamp, value. "
        "The points of a metric are consecutive, ordered by step. The file is streamed. NaN and "
        "infinities are preserved (in CSV as NaN, Infinity, -Infinity). In CSV, names and keys "
        "that a spreadsheet would compute (they begin with =, +, -, @, a tab or a line break) are "
        "preceded by ' (an apostrophe); in Parquet they are unchanged.",
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
    export_format = ExportFormat(query.validated_data["format"])
    response = StreamingHttpResponse(
        export(runs, export_format), content_type=export_format.content_type
    )
    disposition = content_disposition_header(as_attachment=True, filename=f"{name}.{export_format}")
    response["Content-Disposition"] = disposition or ""
    return response


class RunExportViewSet(RunScopedViewSet):
    """A run's metrics as a file."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = ExportQuerySerializer
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(ExportQuerySerializer)}
    content_negotiation_class = AnyAccept

    @export_schema("Export a run's metrics")
    def list(self, request: Request, project_id: str, run_id: str) -> StreamingHttpResponse:
        run = self.get_run()
        return _file(request, Run.objects.filter(pk=run.pk), run.pk)


class ProjectExportViewSet(KnownParametersMixin, GenericViewSet[Run]):
    """The metrics of a project's runs as a file."""

    schema_tags: ClassVar[list[str]] = ["projects"]
    queryset = Run.objects.none()
    serializer_class = ExportQuerySerializer
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(ExportQuerySerializer)}
    content_negotiation_class = AnyAccept
    pagination_class = None
    filter_backends = ()
    lookup_value_regex = ID_PATTERN

    @export_schema("Export the metrics of a project's runs")
    def list(self, request: Request, project_id: str) -> StreamingHttpResponse:
        project = visible_project(request.user, project_id)
        runs = Run.objects.visible_in(project.pk, request.user).kept()
        return _file(request, runs, project.pk)
