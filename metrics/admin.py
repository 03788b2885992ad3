"""Admin of metric series: their summaries, not their points."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from core.admin import ReadOnlyAdmin
from metrics.models import MetricSeries
from runs.admin.links import run_link


@admin.register(MetricSeries)
class MetricSeriesAdmin(ReadOnlyAdmin):
    list_display = ("id", "of_run", "key", "count", "last_step", "last_value", "minimum", "maximum")
    ordering = ("-id",)
    id_lookups: ClassVar[dict[str, str]] = {"run_": "run__id__startswith"}
    search_help_text = _("Search by run ID or the start of it.")

    @admin.display(description=_("run"))
    def of_run(self, series: MetricSeries) -> SafeString:
        return run_link(series.run_id)
