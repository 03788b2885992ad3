"""GET /goodput, …/runs/{id}/goodput and /metrics: where the GPU-hours went."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpResponse
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import sees_installation
from accounts.users import user_of
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept
from goodput import prometheus
from goodput.accounting import account_of
from goodput.report_json import account_json, report_csv, report_json
from goodput.report_queries import Grouping
from goodput.reports import Days, report
from goodput.serializers import ReportQuerySerializer, ReportSerializer, RunAccountSerializer
from projects.access import visible_project
from projects.sight import Sight
from runs.viewsets import RunScopedViewSet

CSV = "text/csv; charset=utf-8; header=present"


class RunGoodputViewSet(RunScopedViewSet):
    """Where the time of a run went."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = RunAccountSerializer

    @extend_schema(
        operation_id="projects_runs_goodput_retrieve",
        summary="Tell where a run's time went",
        description="Every second from queued to over (or to now) belongs to exactly one part.",
        responses=OpenApiResponse(RunAccountSerializer, description="Its parts and intervals."),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        return Response(RunAccountSerializer(account_json(account_of(self.get_run()))).data)


class GoodputView(KnownParametersMixin, APIView):
    """Where the GPU-hours of all runs went."""

    schema_tags: ClassVar[list[str]] = ["goodput"]
    parameters: ClassVar[dict[str, list[str]]] = {"get": names_of(ReportQuerySerializer)}
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="goodput",
        summary="Tell where the GPU-hours went",
        description="Goodput and the causes of the rest by project, owner, user, pool, month, day "
        "or run, of the projects that the caller sees. With `format=csv` as a file (RFC 4180), in "
        "which names that a spreadsheet would compute are preceded by an apostrophe.",
        parameters=[ReportQuerySerializer],
        responses={
            (200, "application/json"): ReportSerializer,
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.BINARY),
        },
    )
    def get(self, request: Request) -> HttpResponse:
        query = ReportQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        project_id = asked.get("project_id")
        if project_id is not None:
            visible_project(request.user, project_id)
        by = Grouping(asked["by"])
        found = report(
            by,
            Days.containing(asked.get("start_time"), asked.get("end_time")),
            sight=Sight.of(request.user),
            project_id=project_id,
            limit=asked["limit"],
        )
        if asked["format"] == "json":
            return Response(ReportSerializer(report_json(found)).data)
        response = HttpResponse(report_csv(found), content_type=CSV)
        name = f"goodput-by-{by.value}-{found.first_day}-{found.last_day}.csv"
        disposition = content_disposition_header(as_attachment=True, filename=name)
        response["Content-Disposition"] = disposition or "attachment"
        return response


class PrometheusView(KnownParametersMixin, APIView):
    """The numbers of this installation for Prometheus."""

    schema_tags: ClassVar[list[str]] = ["goodput"]
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="prometheus",
        summary="Numbers for Prometheus",
        description="In the text exposition format 0.0.4. The goodput is that of the last 30 days. "
        "They name every project, so only superusers and staff get them, and their tokens unless "
        "these are limited to a project.",
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request) -> HttpResponse:
        if not sees_installation(user_of(request)):
            raise PermissionDenied(
                _(
                    "These numbers name every project: they are for staff and superusers, and for "
                    "tokens of theirs that are not limited to a project."
                )
            )
        return HttpResponse(prometheus.exposition(), content_type=prometheus.CONTENT_TYPE)
