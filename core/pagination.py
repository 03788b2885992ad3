"""Optional pagination: lists are plain arrays, as the contract requires, paged on request."""

from typing import Any

from django.core.paginator import InvalidPage
from django.core.paginator import Paginator as DjangoPaginator
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import IntegerField, Serializer
from rest_framework.utils.urls import remove_query_param, replace_query_param

MAX_PAGE_SIZE = 500


class PageQuery(Serializer[Any]):
    page = IntegerField(min_value=1, max_value=10_000_000, required=False)
    page_size = IntegerField(min_value=1, max_value=MAX_PAGE_SIZE, required=False)


class LinkHeaderPagination(BasePagination):
    """Pages by ``page`` and ``page_size``, with Link (RFC 8288) and X-Total-Count headers.

    Without either parameter, the full array is returned, unless ``is_optional`` is False.
    """

    default_page_size = 50
    is_optional = True

    def paginate_queryset(
        self, queryset: Any, request: Request, view: Any = None
    ) -> list[Any] | None:
        query = PageQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        if self.is_optional and not query.validated_data:
            return None
        self.request = request
        size = query.validated_data.get("page_size", self.default_page_size)
        paginator = DjangoPaginator(queryset, size)
        number = query.validated_data.get("page", 1)
        try:
            self.page = paginator.page(number)
        except InvalidPage:
            # Past the end: an empty page, with headers that point to the last page.
            self.page = paginator.page(paginator.num_pages)
            self.page.object_list = []
            self.page.number = number
        return list(self.page.object_list)

    def get_paginated_response(self, data: Any) -> Response:
        paginator = self.page.paginator
        last, number = paginator.num_pages, self.page.number
        targets = {
            "first": 1,
            "prev": min(number - 1, last) if number > 1 else None,
            "next": number + 1 if number < last else None,
            "last": last,
        }
        url = self.request.build_absolute_uri()
        links = [
            f'<{replace_query_param(remove_query_param(url, "page"), "page", target)}>; rel="{rel}"'
            for rel, target in targets.items()
            if target is not None
        ]
        headers = {"Link": ", ".join(links), "X-Total-Count": str(paginator.count)}
        return Response(data, headers=headers)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return schema

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        numbers = _("Page number, starting at 1.")
        if self.is_optional:
            numbers += " " + _("Without page and page_size, the full list is returned.")
        return [
            {
                "name": "page",
                "in": "query",
                "description": numbers,
                "schema": {"type": "integer", "minimum": 1, "maximum": 10_000_000},
            },
            {
                "name": "page_size",
                "in": "query",
                "description": _("Items per page."),
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": MAX_PAGE_SIZE,
                    "default": self.default_page_size,
                },
            },
        ]


class PagesOnly(LinkHeaderPagination):
    """For lists that grow with time: without a parameter, the first page."""

    is_optional = False
