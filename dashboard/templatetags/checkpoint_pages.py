"""Template tags for the pages of checkpoints."""

from django import template
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from artifacts.models import Artifact
from core.templatetags.pages import number
from dashboard.forms.checkpoints import NEWEST_FIRST, SIZE_SORTS, SORTS

register = template.Library()


@register.simple_tag
def download_url(checkpoint: Artifact) -> str:
    """Of a folder, that of all its files as an archive."""
    name = "artifact-archive" if checkpoint.folder else "artifact-download"
    return reverse(name, args=[checkpoint.run.project_id, checkpoint.run_id, checkpoint.pk])


@register.filter
def signed(value: float) -> str:
    """A difference with its sign."""
    return f"+{number(value)}" if value > 0 else number(value)


@register.simple_tag(takes_context=True)
def sortable(context: template.Context, column: str, text: str, css: str = "") -> SafeString:
    """The header of a column, which sorts by it: upwards at the first click, downwards at the
    second. ``column``: see SORTS and SIZE_SORTS; empty if it cannot be sorted by."""
    attributes = format_html(' class="{}"', css) if css else SafeString("")
    if not column or context.get("unsorted"):
        return format_html('<th scope="col"{}>{}</th>', attributes, text)
    query = context["request"].GET.copy()
    present = query.get("sort", "")
    present = present if present in SORTS or present in SIZE_SORTS else NEWEST_FIRST
    order = {column: "ascending", f"-{column}": "descending"}.get(present, "none")
    query["sort"] = f"-{column}" if present == column else column
    query.pop("page", None)
    return format_html(
        '<th scope="col"{} aria-sort="{}"><a href="?{}">{}</a></th>',
        attributes,
        order,
        query.urlencode(),
        text,
    )
