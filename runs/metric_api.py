"""…/runs/{id}/metrics and …/metrics/series: what a run measures, in and out."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from runs import examples, ingestion, metric_batches, metrics
from runs.metric_serializers import (
    SentPointsSerializer,
    SeriesListSerializer,
    SeriesQuerySerializer,
    SummaryListSerializer,
    SummaryQuerySerializer,
    TakenInSerializer,
    series_json,
    summary_json,
)
from runs.models import Run
from trainhub.json import BytesParser
from trainhub.pagination import LinkHeaderPagination

SEND = """
Any number of metrics at any number of steps, 10,000 points at most in one request. They are on disk
when this answers. A point is its key, step, timestamp and value: one that is sent again counts
once, so a request whose answer was lost may simply be sent again.

One bad point, and the whole batch is refused; the error names it (`points.3.value`).
"""


def _body(request: Request) -> bytes:
    """DRF parses no body that is not there."""
    data: Any = request.data
    return data if isinstance(data, bytes) else b""


class MetricActions(GenericViewSet[Run]):
    """The part of the runs' viewset that is about metrics."""

    @extend_schema(
        summary="List a run's metrics",
        description="Each key with its last value, least, greatest and count: all of them by key; "
        "or a page, with Link and X-Total-Count. Reads no points, however many there are.",
        parameters=[SummaryQuerySerializer],
        responses=OpenApiResponse(
            SummaryListSerializer,
            description="The metrics.",
            examples=[OpenApiExample("metrics", examples.METRICS)],
        ),
    )
    @action(detail=True, methods=["get"], pagination_class=None, parser_classes=[BytesParser])
    def metrics(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        query = SummaryQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        prefix, part = query.validated_data["prefix"], query.validated_data["q"].casefold()
        found = [
            summary
            for summary in metrics.summaries(run)
            if summary.key.startswith(prefix) and part in summary.key.casefold()
        ]
        paginator = LinkHeaderPagination()
        page: list[Any] | None = paginator.paginate_queryset(found, request)
        content = {"items": [summary_json(one) for one in (found if page is None else page)]}
        return Response(content) if page is None else paginator.get_paginated_response(content)

    @extend_schema(
        summary="Send metrics",
        description=SEND,
        request=SentPointsSerializer,
        responses=OpenApiResponse(
            TakenInSerializer,
            description="They are stored.",
            examples=[OpenApiExample("Sent", examples.METRICS_TAKEN_IN, status_codes=["200"])],
        ),
        examples=[OpenApiExample("Send", examples.METRICS_SENT, request_only=True)],
    )
    @metrics.mapping.post
    def send_metrics(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        points = metric_batches.read(_body(request))
        try:
            ingestion.record_points(run.pk, points)
        except ingestion.RunGone:
            raise Http404 from None
        return Response({"count": len(points)})

    @extend_schema(
        summary="Read a run's curves",
        description="Every point of the range where they fit into `max_points`; otherwise buckets, "
        "each with its least and greatest value and their steps, so that no spike is lost.",
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
    @action(detail=True, methods=["get"], pagination_class=None, url_path="metrics/series")
    def metric_series(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        given: dict[str, Any] = request.query_params.dict()
        if "keys" in given:
            given["keys"] = request.query_params.getlist("keys")
        query = SeriesQuerySerializer(data=given)
        query.is_valid(raise_exception=True)
        wanted = dict(query.validated_data)
        by_time = wanted.pop("x") == "time"
        found = metrics.series(run, wanted.pop("keys"), by_time=by_time, **wanted)
        return Response({"items": [series_json(one, by_time=by_time) for one in found]})
