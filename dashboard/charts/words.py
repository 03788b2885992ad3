"""The texts of charts, which are drawn by scripts: ``static/js/charts/``."""

from __future__ import annotations

from django.utils.translation import gettext as _


def words() -> dict[str, str]:
    """In the language of the request."""
    return {
        "chart": _("Chart of"),
        "keys": _(
            "Plus and minus zoom, arrows pan, Shift and arrows move the crosshair, "
            "Enter opens the point, Escape shows everything, F is full screen."
        ),
        "full": _("Full screen"),
        "picture": _("Save as PNG"),
        "csv": _("Download as CSV what is shown"),
        "step": _("step"),
        "maximumAt": _("max at {step}"),
        "minimumAt": _("min at {step}"),
        "time": _("time"),
        "checkpoint": _("Nearest checkpoint"),
        "openLog": _("Open the log there"),
        "close": _("Close"),
        "metrics": _("Metrics"),
        "noData": _("No data"),
        "onePoint": _("One point"),
        "onlyNaN": _("Only NaN"),
        "constant": _("Constant"),
        "fit": _("Fit without outliers"),
        "outliers": _("beyond the axis, which shows the 1st to the 99th percentile: show them"),
        "noCharts": _("Charts require uPlot, which is not installed (run npm ci)."),
    }
