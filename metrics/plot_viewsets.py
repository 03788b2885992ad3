"""GET …/metrics/plot.svg and plot.png: a picture of a run's curves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request

from core.known_names import names_of
from core.negotiation import AnyAccept
from metrics import plots
from metrics.plot_requests import Draw, PlotQuerySerializer, picture, svg_response
from runs.viewsets import RunScopedViewSet

View = TypeVar("View", bound=Callable[..., Any])


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


class _PlotViewSet(RunScopedViewSet):
    """A picture of a run's curves."""

    schema_tags: ClassVar[list[str]] = ["runs"]
    serializer_class = PlotQuerySerializer
    parameters: ClassVar[dict[str, list[str]]] = {"list": names_of(PlotQuerySerializer)}
    content_negotiation_class = AnyAccept

    def _picture(self, request: Request, draw: Draw) -> bytes:
        run = self.get_run()
        params: dict[str, Any] = request.query_params.dict()
        if "keys" in params:
            params["keys"] = request.query_params.getlist("keys")
        query = PlotQuerySerializer(data=params)
        query.is_valid(raise_exception=True)
        return picture(run, query.validated_data, draw)


class SvgPlotViewSet(_PlotViewSet):
    @plot_schema("Draw a run's metrics as SVG", "image/svg+xml")
    def list(self, request: Request, project_id: str, run_id: str) -> HttpResponse:
        return svg_response(self._picture(request, plots.plot_svg))


class PngPlotViewSet(_PlotViewSet):
    @plot_schema("Draw a run's metrics as PNG", "image/png")
    def list(self, request: Request, project_id: str, run_id: str) -> HttpResponse:
        return HttpResponse(self._picture(request, plots.plot_png), "image/png")
