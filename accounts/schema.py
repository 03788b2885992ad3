"""OpenAPI descriptions of the authentication schemes (imported by AccountsConfig)."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension


class BearerTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.BearerTokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "A token from the page *Access tokens*, `POST /tokens` or "
            "`manage.py create_token`.",
        }


class BrowserSessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.BrowserSessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "apiKey", "in": "cookie", "name": settings.SESSION_COOKIE_NAME}


class OpenModeScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """An empty security requirement (no credentials) while the server is in open mode."""

    target_class = "accounts.authentication.OpenModeAuthentication"
    name = ()  # type: ignore[assignment]

    def get_security_definition(self, auto_schema: Any) -> Any:
        return ()

    def get_security_requirement(self, auto_schema: Any) -> Any:
        return {} if settings.OPEN_MODE else None
