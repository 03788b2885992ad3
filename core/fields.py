"""Serializer fields that accept only their own JSON type.

DRF's fields turn 123 into "123", "4" into 4 and "yes" into true; these reject such values.
"""

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop
from rest_framework import serializers

from core.times import YEAR_RANGE, is_time, milliseconds

# Django's message, in our catalogs too: Django's Chinese translation is about empty strings.
gettext_noop("Null characters are not allowed.")


class StrictCharField(serializers.CharField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictIntegerField(serializers.IntegerField):
    def to_internal_value(self, data: Any) -> int:
        if type(data) is float and data.is_integer():
            data = int(data)  # JSON has one number type: 4.0 is 4 (RFC 8259 §6)
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictFloatField(serializers.FloatField):
    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictRegexField(serializers.RegexField):
    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    def to_internal_value(self, data: Any) -> bool:
        if type(data) is not bool:
            self.fail("invalid", input=data)
        return data


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
    """An ISO 8601 time with a time zone, because a time without one is ambiguous."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "naive": _("The time must include a time zone: Z or an offset such as +08:00."),
        "range": YEAR_RANGE,
    }

    def to_internal_value(self, value: Any) -> Any:
        if isinstance(value, str):
            # An unescaped "+" in a query string arrives as a space.
            head, space, offset = value.rpartition(" ")
            if space and offset.replace(":", "").isdigit() and "T" in head:
                value = f"{head}+{offset}"
        time = super().to_internal_value(value)
        if not is_time(milliseconds(time)):
            self.fail("range")
        return time

    def enforce_timezone(self, value: Any) -> Any:
        if value.tzinfo is None:
            self.fail("naive")
        return super().enforce_timezone(value)
