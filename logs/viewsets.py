"""The API of a run's log: read, append, download."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

from django.http import Http404, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core.known_names import names_of
from core.negotiation import AnyAccept
from logs import batches, examples, reading
from logs.downloads import as_file
from logs.serializers import (
    AppendedSerializer,
    LogFilterSerializer,
    LogPageSerializer,
    LogQuerySerializer,
    SentBatchSerializer,
    items,
)
from runs.models import Run
from runs.viewsets import RunScopedViewSet

APPEND = """
The lines get the run's next numbers, in the order of the batch, and are on disk when the response
is sent.

A batch with a name (`batch`, which the client chooses) is appended once: if a response was lost,
resend it unchanged, and the response has the numbers of its lines (200, `repeated`). Without a
name, lines are stored as often as they are sent.

A message of more than 32,000 characters is cut, with a mark; `cut` says how many were.

If one line is invalid, the whole batch is rejected; the error names the line (`lines.3.level`). A
run also accepts lines after it has ended: the last output of a script often arrives late.
"""


class LogViewSet(RunScopedViewSet):
    """A run's log."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = LogPageSerializer
    parameters: ClassVar[dict[str, list[str]]] = {
        "list": names_of(LogQuerySerializer),
        "download": names_of(LogFilterSerializer),
    }

    @extend_schema(
        operation_id="projects_runs_logs_retrieve",
        summary="Read a run's log (获取运行日志)",
        parameters=[LogQuerySerializer],
        responses=OpenApiResponse(
            LogPageSerializer,
            description="A page of the lines, oldest first.",
            examples=[OpenApiExample("获取运行日志", examples.LOG_PAGE)],
        ),
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        query = LogQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        fields = dict(query.validated_data)
        page, page_size = fields.pop("page"), fields.pop("page_size")
        after_seq, newest_first = fields.pop("after_seq"), fields.pop("order") == "desc"
        log_page = reading.page(
            run,
            page,
            page_size,
            reading.LogFilter(**fields),
            after_seq=after_seq,
            newest_first=newest_first,
        )
        return Response(
            {
                "page": page,
                "page_size": page_size,
                "total": log_page.total,
                "items": items(log_page.items),
                "next_after_seq": log_page.next_after_seq,
            }
        )

    @extend_schema(
        summary="Append to a run's log",
        description=APPEND,
        request=SentBatchSerializer,
        responses={
            201: OpenApiResponse(AppendedSerializer, description="Stored."),
            200: OpenApiResponse(AppendedSerializer, description="The batch was already stored."),
        },
        examples=[
            OpenApiExample("Append", examples.LOG_APPEND, request_only=True),
            OpenApiExample(
                "Appended", examples.LOG_APPENDED, response_only=True, status_codes=["201"]
            ),
        ],
    )
    def create(self, request: Request, project_id: str, run_id: str) -> Response:
        run = self.get_run()
        batch = batches.read(request.data)
        try:
            appended = batches.append(run.pk, batch)
        except Run.DoesNotExist:  # deleted in the meantime
            raise Http404 from None
        return Response(
            asdict(appended),
            status=status.HTTP_200_OK if appended.repeated else status.HTTP_201_CREATED,
        )

    @extend_schema(
        summary="Download a run's log",
        description="All lines that match the filters as plain text, oldest first: time, level, "
        "source and rank if set, message. An entry starts at the beginning of a line; "
        "further lines of its message are indented by four spaces.",
        parameters=[LogFilterSerializer],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    @action(detail=False, methods=["get"], content_negotiation_class=AnyAccept)
    def download(self, request: Request, project_id: str, run_id: str) -> StreamingHttpResponse:
        run = self.get_run()
        query = LogFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return as_file(run, reading.download(run, reading.LogFilter(**query.validated_data)))
