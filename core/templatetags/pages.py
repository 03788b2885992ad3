"""Template filters and tags for times, numbers, durations, statuses and form fields."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django import template
from django.forms import BoundField
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from core.choices import ContractChoices
from core.numbers import json_number

register = template.Library()

NOTHING = "–"
# Seconds -> how to say that so many of them have passed.
AGO = {
    86_400: gettext_noop("%(n)d d ago"),
    3600: gettext_noop("%(n)d h ago"),
    60: gettext_noop("%(n)d min ago"),
    1: gettext_noop("%(n)d s ago"),
}


@register.filter
def time(value: datetime | None) -> SafeString | str:
    """A ``<time>`` element, which static/js/times.js shows in the browser's zone."""
    return NOTHING if value is None else _element(value, "full", _full(value))


@register.filter
def clock(value: datetime) -> SafeString:
    """The time of day to the millisecond; the date and the zone are in the title."""
    at = value.astimezone(UTC)
    return _element(at, "clock", at.strftime("%H:%M:%S.") + f"{at.microsecond // 1000:03d}")


def _element(value: datetime, show: str, text: str) -> SafeString:
    """``show``: which of its forms static/js/times.js is to write in place of ``text``."""
    at = value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return SafeString(  # nosec B703  the text is escaped
        f'<time datetime="{at}" data-show="{show}" title="{_full(value)}">{escape(text)}</time>'
    )


def _full(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@register.filter
def duration(value: timedelta | None) -> str:
    """``1 d 02:03:04`` or ``02:03:04``."""
    if value is None:
        return NOTHING
    seconds = max(0, int(value.total_seconds()))
    days, rest = divmod(seconds, 86_400)
    text = f"{rest // 3600:02d}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return _("%(days)d d %(time)s") % {"days": days, "time": text} if days else text


@register.filter
def ago(value: datetime | None) -> SafeString | str:
    """Time since ``value`` in whole seconds, minutes, hours or days; the time is in the title."""
    return NOTHING if value is None else _element(value, "ago", _ago(value))


def _ago(value: datetime) -> str:
    seconds = max(0, int((timezone.now() - value).total_seconds()))
    size, text = next((size, text) for size, text in AGO.items() if seconds >= size or size == 1)
    return _(text) % {"n": seconds // size}


@register.simple_tag
def ago_words() -> str:
    """The same as JSON, for static/js/times.js."""
    words = {size: _(text) for size, text in reversed(AGO.items())}
    return orjson.dumps(words, option=orjson.OPT_NON_STR_KEYS).decode()


@register.filter
def number(value: Any) -> str:
    """A measured value with five significant digits; NaN and infinities by name."""
    if value is None or value == "":
        return NOTHING
    if not isinstance(value, str):
        value = json_number(value)
    return value if isinstance(value, str) else short_exponent(f"{value:.5g}")


def short_exponent(text: str) -> str:
    """2e-05 -> 2e-5."""
    return re.sub(r"e([+-])0*(?=[0-9])", lambda match: "e" + match[1].replace("+", ""), text)


@register.filter
def percent(share: float | None) -> str:
    """0.4217 -> 42.2 %."""
    return NOTHING if share is None else f"{share * 100:.1f} %"


@register.filter
def share(value: float) -> str:
    """A fraction of 1 for an HTML attribute, with a decimal point in every language."""
    return f"{value:.4f}"


@register.filter
def as_json(value: Any) -> str:
    """``value`` as one line of JSON; strings without quotes."""
    if isinstance(value, float):
        return short_exponent(repr(value))
    return value if isinstance(value, str) else orjson.dumps(value).decode()


@register.filter
def placeholder(value: Any) -> Any:
    """``value``, or a dash if it is empty."""
    return NOTHING if value is None or value == "" else value


def badge(choice: ContractChoices) -> SafeString:
    """A status label, colored by its slug (see static/css/states.css)."""
    return format_html('<span class="badge badge-{}">{}</span>', choice.slug, choice.label)


@register.filter
def split(words: str) -> list[str]:
    """The words of ``words``, to loop over them."""
    return words.split()


@register.simple_tag(takes_context=True)
def nav_link(context: template.Context, name: str, text: str) -> SafeString:
    """A link to the page with the URL ``name``, marked if it is the present page or above it."""
    url = reverse(name)
    path = context["request"].path
    is_here = path == url
    is_above = path.startswith(f"{url}/") and url.count("/") > 1
    current = "page" if is_here else "true" if is_above else ""
    mark = format_html(' aria-current="{}"', current) if current else ""
    return format_html('<a href="{}"{}>{}</a>', url, mark, text)


@register.simple_tag
def static_if_built(path: str) -> str:
    """The URL of a static file created by a build step; empty if the step has not run."""
    try:
        return static(path)
    except ValueError:  # the manifest does not list it
        return ""


@register.inclusion_tag("_field.html")
def field(bound: BoundField, css: str = "") -> dict[str, Any]:
    """A form field with label, help and errors, linked for screen readers."""
    described_by = [f"{bound.auto_id}-help"] if bound.help_text else []
    if bound.errors:
        described_by.append(f"{bound.auto_id}-error")
    attributes: dict[str, str | bool] = (
        {"aria-describedby": " ".join(described_by)} if described_by else {}
    )
    if bound.errors:
        attributes["aria-invalid"] = "true"
    return {"field": bound, "widget": bound.as_widget(attrs=attributes), "css": css}
