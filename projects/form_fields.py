"""Form fields for the configuration of projects and runs: numbers, JSON objects, tags."""

from __future__ import annotations

from typing import Any, ClassVar

import orjson
from django import forms
from django.utils.translation import gettext_lazy as _

from core.numbers import MAX_BIGINT, MIN_BIGINT
from core.text import MAX_KEY_LENGTH
from projects.hyperparameters import MAX_BYTES
from projects.models import MAX_KEY_METRICS, MAX_TAG_LENGTH, MAX_TAGS


def _integer(text: str) -> int:
    """Like int(), but limited to 64 bits, the common range of JSON encoders. Raises ValueError."""
    number = int(text)
    if not MIN_BIGINT <= number <= MAX_BIGINT:
        raise ValueError(text)
    return number


class ParsedField(forms.CharField):
    """A text field parsed into another type after CharField has validated its text."""

    def clean(self, value: Any) -> Any:
        return self.parse(super().clean(value) or "")

    def parse(self, text: str) -> Any:
        """The value of ``text``. Raises ValidationError."""
        raise NotImplementedError


class NumberField(ParsedField):
    """A number: 3 stays an integer, 3e-5 and 0.5 become floats."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "invalid": _("Enter a number, such as 16 or 2e-5.")
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(required=False, max_length=64, **kwargs)
        self.widget.attrs["inputmode"] = "decimal"

    def parse(self, text: str) -> float | None:
        if not text:
            return None
        for convert in (_integer, float):
            try:
                return convert(text)
            except ValueError:
                continue
        raise forms.ValidationError(self.error_messages["invalid"], code="invalid")

    def prepare_value(self, value: Any) -> Any:
        return "" if value is None else str(value).replace("e-0", "e-")


class JSONObjectField(ParsedField):
    """A JSON object: no NaN and no other JSON type."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "code"})
        super().__init__(required=False, max_length=MAX_BYTES, widget=widget, **kwargs)

    def parse(self, text: str) -> dict[str, Any]:
        try:
            parsed = orjson.loads(text or "{}")
        except orjson.JSONDecodeError as error:
            raise forms.ValidationError(
                _("Not valid JSON: %(why)s"), params={"why": str(error)}, code="invalid"
            ) from error
        if not isinstance(parsed, dict):
            raise forms.ValidationError(_("Enter a JSON object: {…}."), code="invalid")
        return parsed

    def prepare_value(self, value: Any) -> Any:
        if isinstance(value, dict):
            return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if value else ""
        return value


class TagListField(ParsedField):
    """Tags separated by commas (, or ，)."""

    def parse(self, text: str) -> list[str]:
        words = text.replace("，", ",").split(",")
        tags = list(dict.fromkeys(word.strip() for word in words if word.strip()))
        if len(tags) > MAX_TAGS:
            raise forms.ValidationError(
                _("At most %(limit)d tags."), params={"limit": MAX_TAGS}, code="too_many"
            )
        if any(len(tag) > MAX_TAG_LENGTH for tag in tags):
            raise forms.ValidationError(
                _("A tag can have at most %(limit)d characters."),
                params={"limit": MAX_TAG_LENGTH},
                code="too_long",
            )
        return tags

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value


class KeyMetricsField(ParsedField):
    """Names of metrics, separated by commas (, or ，)."""

    def parse(self, text: str) -> list[str]:
        words = text.replace("，", ",").split(",")
        keys = list(dict.fromkeys(word.strip() for word in words if word.strip()))
        if len(keys) > MAX_KEY_METRICS:
            raise forms.ValidationError(
                _("At most %(limit)d metrics."), params={"limit": MAX_KEY_METRICS}, code="too_many"
            )
        if any(len(key) > MAX_KEY_LENGTH for key in keys):
            raise forms.ValidationError(
                _("A metric's name can have at most %(limit)d characters."),
                params={"limit": MAX_KEY_LENGTH},
                code="too_long",
            )
        return keys

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value
