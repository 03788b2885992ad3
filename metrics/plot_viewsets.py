"""GET …/metrics/plot.svg and plot.png: a picture of a run's curves."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, ClassVar, Final, TypeVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from core.fields import StrictCharField
from core.known_names import names_of
from core.negotiation import AnyAccept
from core.times import milliseconds
from metrics import curves, plots
from metrics.plots import PlotCurve, PlotOptions
from metrics.reading import FIRST_STEP, LAST_STEP
from runs.models import Run
from runs.viewsets import RunScopedViewSet

MAX_CURVES: Final = 20  # there are ten colors
MAX_TITLE_LENGTH: Final = 200

Draw = Callable[[Iterable[PlotCurve], PlotOptions], bytes]
View = TypeVar("View", bound=Callable[..., Any])


class PlotQuerySerializer(serializers.Serializer[Any]):
    keys = serializers.ListField(
        child=StrictCharField(trim_whitespace=False),
        min_length=1,
        max_length=MAX_CURVES,
        help_text="The metrics, repeated. Those that the run does not have are left out.",
    )
    from_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The first step."
    )
    to_step = serializers.IntegerField(
        min_value=FIRST_STEP, max_value=LAST_STEP, required=False, help_text="The last step."
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


def plot_schema(summary: str, content_type: str) -> Callable[[View], View]:
    decorator: Callable[[View], View] = extend_schema(
        summary=summary,
        description="Each curve from the minimum to the maximum of every pixel column, so that no "
        "spike is lost. The y axis shows the 1st to the 99th percentile if outliers would squeeze "
        "the rest; they are marked at its edge, and NaN on the x axis. For reports, chat and model "
        "cards.",
        parameters=[PlotQuerySerializer],
        responses={
            (200, content_type): OpenApiResponse(OpenApiTypes.BINARY, description="The picture.")
        },
    )
    return decorator


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


class _PlotViewSet(RunScopedViewSet):
    """A picture of a run's curves."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = PlotQuerySerializer
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(PlotQuerySerializer)}
    content_negotiation_class = AnyAccept

    def _respond(self, request: Request, draw: Draw, content_type: str) -> HttpResponse:
        run = self.get_run()
        params: dict[str, Any] = request.query_params.dict()
        if "keys" in params:
            params["keys"] = request.query_params.getlist("keys")
        query = PlotQuerySerializer(data=params)
        query.is_valid(raise_exception=True)
        return HttpResponse(picture(run, query.validated_data, draw), content_type)


class SvgPlotViewSet(_PlotViewSet):
    @plot_schema("Draw a run's metrics as SVG", "image/svg+xml")
    def list(self, request: Request, project_id: str, run_id: str) -> HttpResponse:
        return self._respond(request, plots.plot_svg, "image/svg+xml")


class PngPlotViewSet(_PlotViewSet):
    @plot_schema("Draw a run's metrics as PNG", "image/png")
    def list(self, request: Request, project_id: str, run_id: str) -> HttpResponse:
        return self._respond(request, plots.plot_png, "image/png")
