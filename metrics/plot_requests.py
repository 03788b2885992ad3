"""What a picture of a run's curves is asked for by, from the API and from pages, and drawing it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from django.http import HttpResponse
from rest_framework import serializers

from core import security_headers
from core.fields import StrictCharField
from core.times import milliseconds
from metrics import curves, plots
from metrics.plots import PlotCurve, PlotOptions
from metrics.serializers import StepRangeQuery
from runs.models import Run

MAX_CURVES: Final = 20  # there are ten colors
MAX_TITLE_LENGTH: Final = 200

# An SVG has nothing but its colors in a style sheet.
SVG_POLICY: Final = (
    f"default-src 'none'; style-src {security_headers.style_hash(plots.READERS_CSS)}; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

Draw = Callable[[Iterable[PlotCurve], PlotOptions], bytes]


class PlotQuerySerializer(StepRangeQuery):
    keys = serializers.ListField(
        child=StrictCharField(trim_whitespace=False),
        min_length=1,
        max_length=MAX_CURVES,
        help_text="The metrics, repeated. Those that the run does not have are left out.",
    )
    x = serializers.ChoiceField(
        choices=["step", "time", "relative"],
        default="step",
        help_text="The x axis: steps, times in UTC, or times since the run started.",
    )
    log = serializers.BooleanField(default=False, help_text="A logarithmic y axis.")
    smoothing = serializers.FloatField(
        min_value=0,
        max_value=plots.MOST_SMOOTHING,
        default=0,
        help_text="The weight of an exponential moving average; the values are pale behind it.",
    )
    width = serializers.IntegerField(
        min_value=plots.SMALLEST,
        max_value=plots.LARGEST,
        default=plots.DEFAULT_WIDTH,
        help_text="In pixels.",
    )
    height = serializers.IntegerField(
        min_value=plots.SMALLEST,
        max_value=plots.LARGEST,
        default=plots.DEFAULT_HEIGHT,
        help_text="In pixels.",
    )
    theme = serializers.ChoiceField(
        choices=["light", "dark", "auto"],
        default="light",
        help_text="The colors; `auto`: of an SVG those of the reader's system, of a PNG light.",
    )
    title = StrictCharField(
        max_length=MAX_TITLE_LENGTH, default="", allow_blank=True, help_text="By default none."
    )


def picture(run: Run, query: Any, draw: Draw) -> bytes:
    """``query``: the data of a valid PlotQuerySerializer."""
    fields = dict(query)
    found = curves.curves(
        [run.pk],
        fields.pop("keys"),
        width=fields["width"],
        from_step=fields.pop("from_step", None),
        to_step=fields.pop("to_step", None),
    )
    started_ms = None if run.started_at is None else milliseconds(run.started_at)
    return draw([PlotCurve(curve, curve.key, started_ms) for curve in found], PlotOptions(**fields))


def svg_response(picture: bytes) -> HttpResponse:
    """For pictures of ``metrics/plots.py`` only: the policy allows their style sheet."""
    headers = {security_headers.CSP: SVG_POLICY}
    return HttpResponse(picture, content_type="image/svg+xml", headers=headers)
