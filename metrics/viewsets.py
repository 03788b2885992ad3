"""…/runs/{id}/metrics and …/metrics/series: write and read a run's metrics."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, ClassVar

import orjson
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, QueryDict
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.direct_answers import DirectAnswersMixin
from accounts.roles import Role
from core.json import BytesParser, read_bounded
from core.known_names import names_of
from core.pagination import LinkHeaderPagination, PageQuery
from metrics import examples, payloads, reading, recording
from metrics.serializers import (
    RecordedSerializer,
    SentPointsSerializer,
    SeriesListSerializer,
    SeriesQuerySerializer,
    SummaryListSerializer,
    SummaryQuerySerializer,
    series_json,
    summary_json,
)
from projects.access import may_directly
from runs.reports import in_trash
from runs.run_json import has_run
from runs.viewsets import RunScopedViewSet

SEND = """
Any number of metrics and steps, at most 10,000 points per request. The points are on disk when the
response is sent. A point is identified by its key, step, timestamp and value, so sending is
idempotent: if a response was lost, resend the request.

`points` has them one by one, `metrics` in columns, which is faster: a list of steps, values and
times (Unix time in milliseconds) for each key.

If one point is invalid, the whole batch is rejected; the error names the point (`points.3.value`,
`metrics.train_loss.values.3`).
"""


class MetricViewSet(DirectAnswersMixin, RunScopedViewSet):
    """A run's metrics."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = SummaryListSerializer
    parser_classes = (BytesParser,)
    direct_actions: ClassVar[dict[str, str]] = {
        "create": "create_directly",
        "series": "series_directly",
    }
    direct_queries: ClassVar[list[str]] = ["series"]
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(PageQuery, SummaryQuerySerializer),
        "series": names_of(SeriesQuerySerializer),
    }

    @extend_schema(
        operation_id="projects_runs_metrics_retrieve",
        summary="List a run's metrics",
        description="Each key with its last, minimum and maximum value and number of points: all "
        "of them, by key, or a page, with Link and X-Total-Count. Reads no points.",
        parameters=[SummaryQuerySerializer],
        responses=OpenApiResponse(
            SummaryListSerializer,
            description="The metrics.",
            examples=[OpenApiExample("metrics", examples.METRICS)],
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        query = SummaryQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        prefix, text = query.validated_data["prefix"], query.validated_data["q"].casefold()
        summaries = [
            summary
            for summary in reading.summaries(run)
            if summary.key.startswith(prefix) and text in summary.key.casefold()
        ]
        paginator = LinkHeaderPagination()
        page: list[Any] | None = paginator.paginate_queryset(summaries, request)
        items = summaries if page is None else page
        content = {"items": [summary_json(summary) for summary in items]}
        return Response(content) if page is None else paginator.get_paginated_response(content)

    @extend_schema(
        summary="Send metrics",
        description=SEND,
        request=SentPointsSerializer,
        responses={
            200: OpenApiResponse(
                RecordedSerializer,
                description="Stored.",
                examples=[OpenApiExample("Sent", examples.METRICS_RECORDED, status_codes=["200"])],
            )
        },
        examples=[
            OpenApiExample("Send", examples.METRICS_SENT, request_only=True),
            OpenApiExample("In columns", examples.METRICS_SENT_IN_COLUMNS, request_only=True),
        ],
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        data: Any = request.data
        body = data if isinstance(data, bytes) else b""  # DRF does not parse an empty body
        return Response(orjson.Fragment(_record(body, run.project_id, run.pk)))

    @staticmethod
    def create_directly(
        request: HttpRequest, caller: User, project_id: str, run_id: str
    ) -> bytes | None:
        if not may_directly(caller, project_id, Role.MEMBER):
            return None
        return _record(read_bounded(request), project_id, run_id)

    @extend_schema(
        summary="Read a run's metric series",
        description="Every point of the range if at most `max_points`; otherwise buckets, each "
        "with its minimum and maximum value and their steps, so that no spike is lost.",
        parameters=[SeriesQuerySerializer],
        responses=OpenApiResponse(
            SeriesListSerializer,
            description="The series, by key.",
            examples=[
                OpenApiExample("exact", examples.EXACT_SERIES),
                OpenApiExample("buckets", examples.BUCKETED_SERIES),
            ],
        ),
    )
    @action(detail=False, methods=["get"])
    def series(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        query = SeriesQuerySerializer(data=_series_params(request.query_params))
        query.is_valid(raise_exception=True)
        return Response(orjson.Fragment(_series(run.pk, query.validated_data)))

    @staticmethod
    def series_directly(
        request: HttpRequest, caller: User, project_id: str, run_id: str
    ) -> bytes | None:
        query = _series_query(request.META["QUERY_STRING"])
        if query is None or not may_directly(caller, project_id, Role.VIEWER):
            return None
        if not has_run(project_id, run_id):
            return None
        return _series(run_id, query)


def _record(body: bytes, project_id: str, run_id: str) -> bytes:
    """The response's JSON. Raises InvalidInput, InTrash, Http404, TooManyMetrics."""
    points = payloads.read(body)
    try:
        recording.record_points(run_id, points, project_id=project_id)
    except recording.RunGone:
        if has_run(project_id, run_id):
            raise in_trash(run_id) from None
        raise Http404 from None
    return orjson.dumps({"count": len(points)})


def _series_params(params: QueryDict) -> dict[str, Any]:
    return params.dict() | ({"keys": params.getlist("keys")} if "keys" in params else {})


@lru_cache(256)  # charts are read again and again while a run is at work
def _series_query(text: str) -> Mapping[str, Any] | None:
    """The parameters of a valid query; None for any other."""
    params = QueryDict(text)
    query = SeriesQuerySerializer(data=_series_params(params))
    is_valid = params.keys() <= query.fields.keys() and query.is_valid()
    return query.validated_data if is_valid else None


def _series(run_id: str, query: Mapping[str, Any]) -> bytes:
    """The JSON of the curves that a valid query asks for."""
    fields = dict(query)
    by_time = fields.pop("x") == "time"
    curves = reading.series(run_id, fields.pop("keys"), by_time=by_time, **fields)
    return orjson.dumps({"items": [series_json(curve, by_time=by_time) for curve in curves]})
