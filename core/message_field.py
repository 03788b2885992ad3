"""Text columns and fields of the API whose values may be messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.db import models
from rest_framework import serializers

from core.messages import Text, dumps, loads

if TYPE_CHECKING:
    TextField = models.TextField[Text, Text]  # what is set, and what is read
else:
    TextField = models.TextField


class MessageField(TextField):
    """A text column of plain text and messages: see core/messages.py."""

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> Text | None:
        return None if value is None else loads(value)

    def to_python(self, value: Any) -> Any:
        return loads(value) if isinstance(value, str) else value

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else dumps(value)

    def value_to_string(self, obj: models.Model) -> str:
        return dumps(self.value_from_object(obj))

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.TextField", args, kwargs  # the column is the same


class StoredMessageField(serializers.CharField):
    """A message that JSON of the database has, as its reader is to see it."""

    def to_representation(self, value: str) -> str:
        return str(loads(value))
