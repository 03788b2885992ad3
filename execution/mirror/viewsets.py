"""Endpoints for the launchers of an attempt that share no directory with its worker.

All of them are for the run's own token (in open mode, which has none, for any caller): 403 for
others. They are for its current attempt: 410 for others.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.http import Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.open_mode import is_open
from accounts.permissions import script_run_of
from artifacts.downloads import Unsatisfiable, parse_range
from artifacts.storage import CHUNK_BYTES, open_range
from artifacts.uploads import Body, LengthRequired, draining
from core.exceptions import DomainError, InvalidInput
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept
from execution.mirror import listings, receiving, reporters
from execution.mirror.receiving import MAX_CHUNK_BYTES
from execution.mirror.serializers import (
    AnswerSerializer,
    ChunkQuerySerializer,
    ReceivedSerializer,
    ReportSerializer,
    StartSerializer,
)
from execution.models import MirroredAttempt
from runs.models import Run

NUMBER: Final = r"[0-9]{1,5}"


def _number(name: str, description: str) -> OpenApiParameter:
    schema = {"type": "string", "pattern": f"^{NUMBER}$"}
    return OpenApiParameter(name, schema, OpenApiParameter.PATH, description=description)


def _id(name: str) -> OpenApiParameter:
    schema = {"type": "string", "pattern": f"^{ID_PATTERN}$"}
    return OpenApiParameter(name, schema, OpenApiParameter.PATH)


OF_ATTEMPT = [_id("project_id"), _id("run_id"), _number("number", "Of the attempt, from 1.")]
OF_NODE = [*OF_ATTEMPT, _number("rank", "Of the node, from 0.")]
OVER = OpenApiResponse(description="The attempt is over, or another launcher is this node's.")


class ChunkTooLarge(DomainError):
    code = "chunk_too_large"
    status_code = 413


class AttemptView(KnownParametersMixin, APIView):
    schema_tags: ClassVar[list[str]] = ["launchers"]

    def attempt(self) -> MirroredAttempt:
        """Raises PermissionDenied, Http404, AttemptOver."""
        run_id = self.kwargs["run_id"]
        # What an attempt starts with has a token of the run's owner.
        if not is_open() and script_run_of(self.request.user) != run_id:
            raise PermissionDenied(
                _("Only launchers of the run %(run)s, with its own token, may do this.")
                % {"run": run_id}
            )
        visible = Run.objects.visible_to(self.request.user)
        run = get_object_or_404(visible, pk=run_id, project=self.kwargs["project_id"])
        return reporters.attempt_of(run, int(self.kwargs["number"]))


class StartView(AttemptView):
    @extend_schema(
        operation_id="launchers_start",
        summary="What an attempt starts with",
        description="For launchers that share no directory with the worker: the command, its "
        "variables, and how large the archive of its files is.",
        parameters=OF_ATTEMPT,
        responses={200: StartSerializer, 410: OVER},
    )
    def get(self, request: Request, project_id: str, run_id: str, number: str) -> Response:
        attempt = self.attempt()
        return Response(
            {
                "launch": attempt.whole_launch,
                "size": attempt.start_bytes,
                "sha256": attempt.start_sha256,
            }
        )


class StartFilesView(AttemptView):
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="launchers_start_files",
        summary="The files that an attempt starts with",
        description="A tar archive: the configuration, the checkpoint to go on from, the code. A "
        "single byte range returns 206.",
        parameters=OF_ATTEMPT,
        responses={
            (200, "application/x-tar"): OpenApiTypes.BINARY,
            (206, "application/x-tar"): OpenApiTypes.BINARY,
            410: OVER,
        },
    )
    def get(
        self, request: Request, project_id: str, run_id: str, number: str
    ) -> StreamingHttpResponse:
        attempt = self.attempt()
        try:
            bounds = parse_range(request.headers.get("Range", ""), attempt.start_bytes)
        except Unsatisfiable:
            raise InvalidInput(_("The range starts past the end of the file.")) from None
        first, end = bounds or (0, attempt.start_bytes)
        try:
            file = open_range(attempt.start_key, first, end)
        except FileNotFoundError:
            raise Http404 from None
        response = StreamingHttpResponse(
            _slice(file, end - first),
            status=206 if bounds else 200,
            content_type="application/x-tar",
        )
        response["Content-Length"] = str(end - first)
        if bounds:
            response["Content-Range"] = f"bytes {first}-{end - 1}/{attempt.start_bytes}"
        return response


def _slice(file: Any, size: int) -> Any:
    with file:
        while size > 0 and (chunk := file.read(min(CHUNK_BYTES, size))):
            size -= len(chunk)
            yield chunk


class NodeView(AttemptView):
    @extend_schema(
        operation_id="launchers_sync",
        summary="Report what a node has, and ask what is to be done",
        description="Lists the files of the node's attempt directory that the server is to have. A "
        "file that is not listed any more is forgotten, and one of another version begins anew.",
        parameters=OF_NODE,
        request=ReportSerializer,
        responses={200: AnswerSerializer, 410: OVER},
    )
    def post(
        self, request: Request, project_id: str, run_id: str, number: str, rank: str
    ) -> Response:
        attempt = self.attempt()
        serializer = ReportSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        report = serializer.validated_data
        answer = listings.sync(
            attempt,
            int(rank),
            launcher=report["launcher"],
            now=report["now"],
            seen=report["seen"],
            files=serializer.described(),
            knows=report["knows"],
            problem=report["problem"],
        )
        return Response(answer)


class NodeFileView(AttemptView):
    content_negotiation_class = AnyAccept
    parser_classes = ()  # the body is raw bytes
    parameters: ClassVar[dict[str, list[str]]] = {"put": names_of(ChunkQuerySerializer)}

    @extend_schema(
        operation_id="launchers_send",
        summary="Send bytes of a node's file",
        description="The body, up to 8 MiB, are the bytes of the listed file from `offset` on. "
        "Bytes that have arrived before are ignored, so that a request can be repeated; a gap, or "
        "a version that is not listed, is refused (`out_of_step`).",
        parameters=[*OF_NODE, ChunkQuerySerializer],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            200: ReceivedSerializer,
            409: OpenApiResponse(description="Bytes before these are missing."),
            410: OVER,
            503: OpenApiResponse(
                description="The worker has to store first what has arrived "
                "(`too_much_waits`): keep the rest, and try again."
            ),
        },
    )
    def put(
        self, request: Request, project_id: str, run_id: str, number: str, rank: str
    ) -> Response:
        with draining(request._request):
            attempt = self.attempt()
            query = ChunkQuerySerializer(data=request.query_params.dict())
            query.is_valid(raise_exception=True)
            body = Body(request._request, is_checked=False)
            if body.length is None:
                raise LengthRequired(_("A Content-Length header is required."))
            if body.length > MAX_CHUNK_BYTES:
                raise ChunkTooLarge(
                    _("A chunk has at most %(limit)d bytes.") % {"limit": MAX_CHUNK_BYTES}
                )
            content = _all_of(body)
            size = receiving.receive(attempt, int(rank), content, **query.validated_data)
        return Response({"size": size})


def _all_of(body: Body) -> bytes:
    chunks = []
    missing = body.length or 0
    while missing:
        chunks.append(body.read(missing))
        missing -= len(chunks[-1])
    return b"".join(chunks)
