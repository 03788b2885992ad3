"""The API of code: bundles of a project, and the code of a run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from rest_framework.viewsets import GenericViewSet

from accounts.users import user_of
from artifacts.storage import CHUNK_BYTES, open_range
from artifacts.uploads import Body, announced_sha256, draining
from code_bundles import diffs, reading, storing
from code_bundles.limits import MAX_ARCHIVE_BYTES
from code_bundles.serializers import (
    CodeBundleDetailSerializer,
    CodeBundleSerializer,
    DiffQuerySerializer,
    FileQuerySerializer,
    RunCodeDetailSerializer,
    UploadQuerySerializer,
)
from core.exceptions import DomainError
from core.ids import ID_PATTERN
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept
from projects.access import visible_project
from runs.models import CodeBundle, Run, RunCode
from runs.viewsets import RunScopedViewSet

UPLOAD = f"""
The body is a zip archive of at most {MAX_ARCHIVE_BYTES // 1024**2} MB with the files of one folder.
Symbolic links may stay inside. Refused (`bad_bundle`): paths that are absolute or lead out, what is
neither a file nor a link, names that are the same where case does not count, files of Git itself,
encryption, zip64, too many files, too large ones when unpacked.

A bundle is known by the hash of its files, however they are packed, and stored once. What no run
refers to is deleted some days later.
"""


class NoCodeYet(DomainError):
    """A worker has not fetched it from its repository yet, or there is none."""

    code = "no_code"


def _path_parameter(name: str, pattern: str) -> OpenApiParameter:
    schema = {"type": "string", "pattern": f"^{pattern}$"}
    return OpenApiParameter(name, schema, OpenApiParameter.PATH)


class CodeUploadView(KnownParametersMixin, APIView):
    """Bring code to a project."""

    schema_tags: ClassVar[list[str]] = ["code"]
    content_negotiation_class = AnyAccept
    parser_classes = ()  # the body is an archive, whatever its Content-Type
    parameters: ClassVar[dict[str, list[str]]] = {"post": names_of(UploadQuerySerializer)}

    @extend_schema(
        operation_id="projects_code_create",
        summary="Upload code",
        description=UPLOAD,
        parameters=[_path_parameter("project_id", ID_PATTERN), UploadQuerySerializer],
        request={"application/octet-stream": OpenApiTypes.BINARY},
        responses={
            201: OpenApiResponse(CodeBundleSerializer, description="Stored."),
            200: OpenApiResponse(CodeBundleSerializer, description="It was already stored."),
        },
    )
    def post(self, request: Request, project_id: str) -> Response:
        with draining(request._request):
            visible_project(request.user, project_id)
            query = UploadQuerySerializer(data=request.query_params.dict())
            query.is_valid(raise_exception=True)
            announced = announced_sha256(request._request)
            body = Body(request._request, is_checked=bool(announced))
            if (body.length or 0) > MAX_ARCHIVE_BYTES:
                raise storing.too_large()
            bundle, is_new = storing.receive(
                body,
                by=user_of(request),
                announced=query.validated_data.get("sha256", ""),
                archive_sha256=announced,
            )
        return Response(
            CodeBundleSerializer(bundle).data,
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
        )


class CodeViewSet(KnownParametersMixin, GenericViewSet[CodeBundle]):
    """A bundle of code."""

    schema_tags: ClassVar[list[str]] = ["code"]
    queryset = CodeBundle.objects.none()
    serializer_class = CodeBundleDetailSerializer
    pagination_class: Any = None
    filter_backends = ()
    lookup_field = "sha256"
    lookup_value_regex = ID_PATTERN
    parameters: ClassVar[dict[str, list[str]]] = {"file": names_of(FileQuerySerializer)}

    def get_queryset(self) -> Any:
        visible_project(self.request.user, self.kwargs["project_id"])
        return CodeBundle.objects.visible_to(self.request.user)

    @extend_schema(
        summary="Get code",
        description="Whether there is this bundle, and its files. It is then kept for some days "
        "more, so that a run can refer to it.",
        responses=CodeBundleDetailSerializer,
    )
    def retrieve(self, request: Request, project_id: str, sha256: str) -> Response:
        bundle = self.get_object()
        storing.touch(bundle.pk)
        return Response(CodeBundleDetailSerializer(bundle).data)

    @extend_schema(
        summary="Download code",
        description="The archive, streamed.",
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def download(self, request: Request, project_id: str, sha256: str) -> HttpResponseBase:
        return as_download(self.get_object())

    @extend_schema(
        summary="Get a file of code",
        parameters=[FileQuerySerializer],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
    )
    @action(detail=True, methods=["get"], content_negotiation_class=AnyAccept)
    def file(self, request: Request, project_id: str, sha256: str) -> HttpResponse:
        bundle = self.get_object()
        query = FileQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        try:
            content = reading.content_of(bundle, query.validated_data["path"])
        except FileNotFoundError:
            content = None
        if content is None:
            raise Http404
        return HttpResponse(content, content_type="application/octet-stream")


def as_download(bundle: CodeBundle) -> StreamingHttpResponse:
    """Raises Http404."""
    try:
        file = open_range(bundle.stored_as)
    except FileNotFoundError:
        raise Http404 from None

    def chunks() -> Iterator[bytes]:
        with file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    response = StreamingHttpResponse(chunks(), content_type="application/zip")
    response["Content-Length"] = str(bundle.size_bytes)
    response["ETag"] = f'"{bundle.archive_sha256}"'
    response["Content-Disposition"] = f'attachment; filename="code-{bundle.pk[:12]}.zip"'
    return response


class RunCodeViewSet(RunScopedViewSet):
    """The code of a run."""

    schema_tags: ClassVar[list[str]] = ["code"]
    serializer_class = RunCodeDetailSerializer
    parameters: ClassVar[dict[str, list[str]]] = {"diff": names_of(DiffQuerySerializer)}

    @extend_schema(
        operation_id="projects_runs_code_retrieve",
        summary="Get a run's code",
        description="Its files, and where they came from.",
        responses=RunCodeDetailSerializer,
    )
    def list(self, request: Request, project_id: str, run_id: str) -> Response:
        code = get_object_or_404(RunCode.objects.select_related("bundle"), run=self.get_run())
        content = {**code.as_json(), "bundle": code.bundle, "patch": code.patch}
        return Response(RunCodeDetailSerializer(content).data)

    @extend_schema(
        summary="Compare the code of two runs",
        description="What differs from the code of the run `against` to that of this one, as a "
        "unified diff in UTF-8. Binary and large files are only named, in lines that begin with #.",
        parameters=[DiffQuerySerializer],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    @action(detail=False, methods=["get"], content_negotiation_class=AnyAccept)
    def diff(self, request: Request, project_id: str, run_id: str) -> HttpResponse:
        run = self.get_run()
        query = DiffQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        visible = Run.objects.visible_to(request.user)
        other = get_object_or_404(visible, pk=query.validated_data["against"])
        try:
            text = "".join(diffs.as_text(diffs.differences(bundle_of(other), bundle_of(run))))
        except FileNotFoundError:
            raise Http404 from None
        return HttpResponse(text, content_type="text/plain; charset=utf-8")


def bundle_of(run: Run) -> CodeBundle:
    """Raises NoCodeYet."""
    code = RunCode.objects.select_related("bundle").filter(run=run).first()
    if code is None or code.bundle is None:
        raise NoCodeYet(_("The run %(run)s has no code.") % {"run": run.pk})
    return code.bundle
