"""Serializer fields that take a value of their JSON type and no other.

DRF's own turn 123 into "123", "4" into 4 and "yes" into true; an API that says string means it.
"""

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from rest_framework import serializers

# Django's own text, for our catalogues: its Chinese says that an empty text is not allowed.
gettext_noop("Null characters are not allowed.")


class StrictCharField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if type(data) is float and data.is_integer():
            data = int(data)  # JSON knows one kind of number: 4.0 is 4 (RFC 8259 §6)
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictModelSerializer(serializers.ModelSerializer[Any]):
    serializer_field_mapping: ClassVar[dict[Any, Any]] = {
        **serializers.ModelSerializer.serializer_field_mapping,
        models.CharField: StrictCharField,
        models.TextField: StrictCharField,
        models.IntegerField: StrictIntegerField,
        models.PositiveIntegerField: StrictIntegerField,
        models.PositiveSmallIntegerField: StrictIntegerField,
        models.SmallIntegerField: StrictIntegerField,
    }


class AwareDateTimeField(serializers.DateTimeField):
    """An ISO 8601 time with its zone: without one, nobody knows which hour is meant."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "naive": _("The time needs a zone: Z or an offset such as +08:00.")
    }

    def to_internal_value(self, value: Any) -> Any:
        if isinstance(value, str):
            # An unescaped "+" of a query string arrives as a space.
            head, space, offset = value.rpartition(" ")
            if space and offset.replace(":", "").isdigit() and "T" in head:
                value = f"{head}+{offset}"
        return super().to_internal_value(value)

    def enforce_timezone(self, value: Any) -> Any:
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)
