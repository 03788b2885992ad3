"""GET …/runs/{id}/metrics and …/metrics/series: what a run has measured."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from runs import examples, metrics
from runs.metric_serializers import (
    SeriesListSerializer,
    SeriesQuerySerializer,
    SummaryListSerializer,
    SummaryQuerySerializer,
    series_json,
    summary_json,
)
from runs.models import Run
from trainhub.pagination import LinkHeaderPagination


class MetricActions(GenericViewSet[Run]):
    """The part of the runs' viewset that reads metrics."""

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
    @action(detail=True, methods=["get"], pagination_class=None)
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
