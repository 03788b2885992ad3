"""The API of a run's log: read, appended to, downloaded."""

from __future__ import annotations

from dataclasses import asdict

from django.http import Http404, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from runs import examples, log_batches, logs
from runs.log_downloads import as_file
from runs.log_serializers import (
    AppendedSerializer,
    LogFilterSerializer,
    LogPageSerializer,
    LogQuerySerializer,
    SentBatchSerializer,
    items,
)
from runs.models import Run
from trainhub.negotiation import AnyAccept

APPEND = """
The lines get the run's next numbers, in the order of the batch, and are there for good when this
answers.

A batch whose answer was lost is sent again as it was: it counts once, and is answered with the
numbers that its lines have (200, `repeated`). What makes it the same is its `batch`, a name that
the client chooses, or without one its lines, their timestamps included. So give a batch a name, or
its lines timestamps, where two batches may else be alike and both count.

One bad line, and the whole batch is refused; the error names it (`lines.3.level`). A run takes
lines after its end too: what a script printed last often comes late.
"""


class LogActions(GenericViewSet[Run]):
    @extend_schema(
        summary="Read a run's log (获取运行日志)",
        parameters=[LogQuerySerializer],
        responses=OpenApiResponse(
            LogPageSerializer,
            description="A page of the lines, oldest first.",
            examples=[OpenApiExample("获取运行日志", examples.LOG_PAGE)],
        ),
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def logs(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        query = LogQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = dict(query.validated_data)
        page, page_size = wanted.pop("page"), wanted.pop("page_size")
        after_seq, newest_first = wanted.pop("after_seq"), wanted.pop("order") == "desc"
        found = logs.page(
            run,
            page,
            page_size,
            logs.LogFilter(**wanted),
            after_seq=after_seq,
            newest_first=newest_first,
        )
        return Response(
            {
                "page": page,
                "page_size": page_size,
                "total": found.total,
                "items": items(found.items),
                "next_after_seq": found.next_after_seq,
            }
        )

    @extend_schema(
        summary="Append to a run's log",
        description=APPEND,
        request=SentBatchSerializer,
        responses={
            201: OpenApiResponse(AppendedSerializer, description="Stored."),
            200: OpenApiResponse(AppendedSerializer, description="The batch was there already."),
        },
        examples=[
            OpenApiExample("Append", examples.LOG_APPEND, request_only=True),
            OpenApiExample(
                "Appended", examples.LOG_APPENDED, response_only=True, status_codes=["201"]
            ),
        ],
    )
    @logs.mapping.post
    def append_logs(self, request: Request, project_id: str, id: str) -> Response:
        run = self.get_object()
        batch = log_batches.read(request.data)
        try:
            appended = log_batches.append(run.pk, batch)
        except Run.DoesNotExist:  # deleted meanwhile
            raise Http404 from None
        return Response(
            asdict(appended),
            status=status.HTTP_200_OK if appended.repeated else status.HTTP_201_CREATED,
        )

    @extend_schema(
        summary="Download a run's log",
        description="Every line that passes the filters as plain text, oldest first, however many "
        "they are: time, level, source and rank where there are any, message.",
        parameters=[LogFilterSerializer],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    @action(
        detail=True,
        methods=["get"],
        url_path="logs/download",
        pagination_class=None,
        content_negotiation_class=AnyAccept,
    )
    def download_logs(self, request: Request, project_id: str, id: str) -> StreamingHttpResponse:
        run = self.get_object()
        query = LogFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return as_file(run, logs.download(run, logs.LogFilter(**query.validated_data)))
