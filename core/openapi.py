"""OpenAPI schema additions: the shape of error responses, and tags set by views."""

from typing import Any

from drf_spectacular.openapi import AutoSchema as SpectacularAutoSchema
from rest_framework import serializers

from core.fields import StrictCharField


class ErrorDetailSerializer(serializers.Serializer[Any]):
    code = StrictCharField(help_text="Machine-readable code, e.g. `required`, `not_found`.")
    detail = StrictCharField(help_text="Human-readable message in the language of Accept-Language.")
    attr = StrictCharField(allow_null=True, help_text="The field or parameter at fault, or null.")


class ErrorSerializer(serializers.Serializer[Any]):
    """The shape of every response with a status of 400 or above."""

    type = serializers.ChoiceField(choices=["validation_error", "client_error", "server_error"])
    errors = ErrorDetailSerializer(many=True)  # type: ignore[assignment]  # shadows Serializer.errors


class AutoSchema(SpectacularAutoSchema):
    def _get_response_bodies(self, *args: Any, **kwargs: Any) -> Any:
        responses = super()._get_response_bodies(*args, **kwargs)
        responses["4XX"] = self._get_response_for_code(ErrorSerializer, "4XX")  # type: ignore[no-untyped-call]
        return responses

    def get_tags(self) -> list[str]:
        tags: list[str] | None = getattr(self.view, "schema_tags", None)
        return tags or super().get_tags()
