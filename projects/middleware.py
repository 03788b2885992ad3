"""Pages below a project's address: 404 for strangers, 403 for too low a role."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import PermissionDenied as Refused

from projects.permissions import PROJECT, check_role, default_role


class RoleMiddleware:
    """Also tells templates the reader's role there: ``request.role``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Any, args: Any, arguments: dict[str, Any]
    ) -> None:
        project_id = arguments.get(PROJECT)
        if project_id is None:
            return
        needed = getattr(view, "required_role", default_role(request.method))
        try:
            role = check_role(request.user, project_id, needed)
        except Refused as error:
            raise PermissionDenied(str(error.detail)) from None
        request.role = role  # type: ignore[attr-defined]
