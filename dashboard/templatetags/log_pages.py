"""The lines of a log. A page has hundreds: Django's templates take ten times as long for them."""

from __future__ import annotations

from collections.abc import Iterable

from django import template
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from core.templatetags.pages import clock, time
from logs.lines import Line

register = template.Library()


@register.simple_tag
def log_lines(
    lines: Iterable[Line], log_url: str, marked: int | None, *, whole: bool = False
) -> SafeString:
    """A list item for each line, whose number leads to it among its neighbors. ``whole``: with the
    date, and an id for each; otherwise, only the line ``marked`` has an id."""
    return mark_safe(  # noqa: S308 # nosec  what is not ours is escaped
        "\n".join(_item(line, escape(log_url), line.seq == marked, whole) for line in lines)
    )


def _item(line: Line, log_url: str, is_marked: bool, whole: bool) -> str:
    level = escape(line.level)
    identity = f' id="line-{line.seq}"' if whole or is_marked else ""
    mark, current = (" marked", ' aria-current="location"') if is_marked else ("", "")
    at = time(line.timestamp) if whole else clock(line.timestamp)
    rank = "" if line.rank is None else f'<span class="rank">[{line.rank}]</span> '
    return (
        f'<li class="line {level.lower()}{mark}"{identity}{current}>'
        f'<a class="seq" href="{log_url}?at_line={line.seq}#line-{line.seq}">{line.seq}</a> '
        f'{at} <b>{level}</b> {rank}<span class="text">{escape(line.message)}</span></li>'
    )
