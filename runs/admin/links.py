"""Links between admin pages."""

from django.contrib.admin.utils import quote
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString


def run_link(run_id: str) -> SafeString:
    return format_html(
        '<a href="{}">{}</a>', reverse("admin:runs_run_change", args=[quote(run_id)]), run_id
    )
