"""What our API's schema says beyond what drf-spectacular reads from the code."""

from typing import Any

from drf_standardized_errors.openapi import AutoSchema as StandardizedAutoSchema


class AutoSchema(StandardizedAutoSchema):  # type: ignore[misc]
    def get_operation_id(self) -> str:
        operation_id: str = super().get_operation_id()
        return operation_id

    def get_tags(self) -> list[str]:
        view: Any = self.view
        tags: list[str] = getattr(view, "schema_tags", None) or super().get_tags()
        return tags
