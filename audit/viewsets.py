"""GET /audit."""

from __future__ import annotations

from typing import ClassVar

import orjson
from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils.http import content_disposition_header
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from audit.exports import CONTENT_TYPES, EntryFormat, entry_json, to_csv, to_json_lines
from audit.models import Entry, EntryQuerySet
from audit.search import Page, all_pages, page
from audit.serializers import EntryQuerySerializer, EntrySerializer
from core.known_names import KnownParametersMixin, names_of
from core.negotiation import AnyAccept


class AuditView(KnownParametersMixin, APIView):
    """Who has changed what."""

    schema_tags: ClassVar[list[str]] = ["audit"]
    parameters: ClassVar[dict[str, list[str]]] = {"get": names_of(EntryQuerySerializer)}
    content_negotiation_class = AnyAccept

    @extend_schema(
        operation_id="audit_list",
        summary="List changes, newest first",
        description="Entries of projects that you maintain and of teams that you own; superusers "
        "see all. In JSON one page, and the next one in the header Link (RFC 8288). With "
        "`format=jsonl` or `format=csv` all that match, as a file; in CSV, texts that a "
        "spreadsheet would compute are preceded by an apostrophe.",
        parameters=[EntryQuerySerializer],
        responses={
            (200, "application/json"): EntrySerializer(many=True),
            (200, CONTENT_TYPES[EntryFormat.JSON_LINES]): OpenApiResponse(OpenApiTypes.BINARY),
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.BINARY),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = EntryQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        entries = query.filter.apply(Entry.objects.visible_to(request.user))
        asked = query.validated_data
        as_format = EntryFormat(asked["format"])
        if as_format is not EntryFormat.JSON:
            return entries_file(entries, as_format)
        return _page(request, page(entries, after=asked.get("after"), size=asked["limit"]))


def _page(request: Request, found: Page) -> HttpResponse:
    content = orjson.dumps([entry_json(entry) for entry in found.entries])
    response = HttpResponse(content, content_type="application/json")
    if found.next is not None:
        url = replace_query_param(request.build_absolute_uri(), "after", str(found.next))
        response["Link"] = f'<{url}>; rel="next"'
    return response


def entries_file(entries: EntryQuerySet, as_format: EntryFormat) -> StreamingHttpResponse:
    write = to_csv if as_format is EntryFormat.CSV else to_json_lines
    response = StreamingHttpResponse(write(all_pages(entries)), content_type=as_format.content_type)
    disposition = content_disposition_header(as_attachment=True, filename=f"audit.{as_format}")
    response["Content-Disposition"] = disposition or ""
    return response
