"""Pictures of curves: what is drawn, and the endpoints plot.svg and plot.png."""

import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from rest_framework.test import APIClient

from accounts.open_mode import local_administrator
from metrics import curves, plot_axes, plots
from metrics.plot_axes import Range
from metrics.plots import PlotCurve, PlotOptions
from metrics.points import Point
from metrics.recording import record_metrics
from tests.factories import RunFactory
from tests.long_series import store
from tests.pixels import colored, decoded

pytestmark = pytest.mark.django_db

BLUE = plots.THEMES["light"].series[0]


def picture(run, *keys, draw=plots.plot_svg, **options):
    found = curves.curves([run.pk], keys or ["loss"], width=options.get("width", 720))
    return draw([PlotCurve(curve, curve.key) for curve in found], PlotOptions(**options))


def run_with(values, key="loss"):
    run = RunFactory()
    points = [Point(key, step, float(value), 60_000 * step) for step, value in enumerate(values)]
    record_metrics(run, points)
    return run


def texts(svg):
    tree = ElementTree.fromstring(svg)
    return [element.text for element in tree.iter("{http://www.w3.org/2000/svg}text")]


def test_svg_is_well_formed_whatever_its_title():
    run = run_with([1.0, 2.0])

    svg = picture(run, title='<b>"损失" & \x00\x1b</b>')

    assert '<b>"损失" & ' in texts(svg)[0]


def test_lone_spike_among_a_million_points_is_drawn_to_the_edge():
    values = np.random.default_rng(1).normal(1.0, 0.05, 1_000_000)
    values[654_321] = 30.0
    run = RunFactory()
    store(run, "loss", values)

    pixels = decoded(picture(run, draw=plots.plot_png))

    # The column of the spike, from the middle of the picture up to the upper edge of the plot.
    column = round(plots.LEFT + (720 - plots.LEFT - plots.RIGHT) * 0.654321)
    spike = colored(pixels[30:150, column - 3 : column + 4], BLUE)
    beside = colored(pixels[30:60, column + 20 : column + 27], BLUE)
    assert spike.any(axis=1).sum() >= 100
    assert not beside.any()


def test_nan_is_marked_on_the_x_axis():
    with_nan = picture(run_with([1.0, math.nan, 2.0]), draw=plots.plot_png)
    without = picture(run_with([1.0, 1.5, 2.0]), draw=plots.plot_png)

    bottom = slice(360 - plots.BOTTOM - 8, 360 - plots.BOTTOM)
    middle = slice(360, 400)
    assert colored(decoded(with_nan)[bottom, middle], BLUE).sum() >= 10
    assert not colored(decoded(without)[bottom, middle], BLUE).any()


@pytest.mark.parametrize(
    ("values", "text"), [([], "–"), ([math.nan, math.nan], "NaN")], ids=["nothing", "only NaN"]
)
def test_picture_without_a_value_says_so(values, text):
    assert text in texts(picture(run_with(values)))


@pytest.mark.parametrize("values", [[5.0], [5.0, 5.0, 5.0], [0.0, 0.0], [1e308, -1e308], [1e-320]])
@pytest.mark.parametrize("log", [False, True])
def test_unusual_values_are_drawn(values, log):
    pixels = decoded(picture(run_with(values), draw=plots.plot_png, log=log))

    assert pixels.shape == (360, 720, 3)


def test_one_point_is_a_dot():
    pixels = decoded(picture(run_with([5.0]), draw=plots.plot_png))

    assert colored(pixels[30:330, 60:700], BLUE).sum() >= 30


@pytest.mark.parametrize(
    ("x", "expected"),
    [("step", "50"), ("relative", "0:30:00"), ("time", "00:30")],
)
def test_x_axis_counts_what_is_asked_for(x, expected):
    svg = picture(run_with(range(101)), x=x).decode()

    assert expected in svg


def test_smoothed_line_has_the_values_behind_it():
    svg = picture(run_with([0.0, 10.0] * 20), smoothing=0.9).decode()

    assert svg.count(f'stroke="{BLUE}"') == 2
    assert f'opacity="{plots.FAINTEST}"' in svg


def test_superseded_curve_is_pale_and_not_in_the_legend():
    run = run_with([1.0, 2.0])
    [curve] = curves.curves([run.pk], ["loss"], width=300)

    svg = plots.plot_svg([PlotCurve(curve, "before", superseded=True)], PlotOptions())

    assert b"before" not in svg
    assert f'opacity="{plots.FAINTEST}"'.encode() in svg


def test_chinese_is_drawn_in_png():
    run = run_with([1.0])

    with_title = decoded(picture(run, draw=plots.plot_png, title="损失曲线"))
    blank = decoded(picture(run, draw=plots.plot_png, title=" "))

    assert (with_title[:20] != blank[:20]).any()


# --- smoothing and axes ----------------------------------------------------------------------


def test_smoothing_is_debiased():
    assert plots.smooth(np.full(5, 3.0), 0.9).tolist() == pytest.approx([3.0] * 5)


def test_smoothing_leaves_gaps_and_does_not_spread_nan():
    smoothed = plots.smooth(np.array([1.0, math.nan, math.inf, 1.0]), 0.5)

    assert np.isnan(smoothed).tolist() == [False, True, True, False]


def test_outliers_do_not_squeeze_the_axis():
    values = np.concatenate([np.linspace(1, 2, 200), [1000.0]])

    fitted = plot_axes.fitted(values, values, log=False)

    assert 2 <= fitted.high < 3


def test_values_a_little_beyond_the_percentiles_are_shown():
    values = np.concatenate([np.linspace(1, 2, 200), [2.5]])

    fitted = plot_axes.fitted(values, values, log=False)

    assert fitted.high > 2.5


def test_log_axis_ignores_what_it_cannot_show():
    values = np.array([-1.0, 0.0, 1.0, 100.0])

    fitted = plot_axes.fitted(values, values, log=True)

    assert 0 < fitted.low <= 1
    assert fitted.high >= 100


@pytest.mark.parametrize(
    ("span", "most", "expected"),
    [
        (Range(0, 1), 5, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (Range(0, 1_000_000), 4, [0, 500_000, 1_000_000]),
        (Range(-3, 3), 3, [-2, 0, 2]),
    ],
)
def test_ticks_are_round_numbers(span, most, expected):
    assert plot_axes.ticks(span, most) == pytest.approx(expected)


# --- endpoints -------------------------------------------------------------------------------


@pytest.fixture
def api(settings):
    client = APIClient()
    client.force_authenticate(local_administrator())
    return client


def url_of(run, name):
    return f"/projects/{run.project_id}/runs/{run.pk}/metrics/plot.{name}"


@pytest.mark.parametrize(
    ("name", "content_type", "begin"),
    [("svg", "image/svg+xml", b"<svg"), ("png", "image/png", b"\x89PNG")],
)
def test_endpoint_answers_with_a_picture(api, name, content_type, begin):
    run = run_with([1.0, 2.0])

    response = api.get(url_of(run, name), {"keys": "loss", "width": 300, "height": 200})

    assert response.status_code == 200
    assert response.headers["Content-Type"] == content_type
    assert response.content.startswith(begin)


@pytest.mark.parametrize("accept", ["image/png", "text/html", "*/*"])
def test_endpoint_answers_whatever_is_accepted(api, accept):
    response = api.get(url_of(run_with([1.0]), "png"), {"keys": "loss"}, headers={"Accept": accept})

    assert response.status_code == 200


def test_endpoint_draws_the_range_that_is_asked_for(api):
    run = run_with(range(100))

    svg = api.get(url_of(run, "svg"), {"keys": "loss", "from_step": 40, "to_step": 60}).content

    assert {"40", "60"} <= set(texts(svg))
    assert "100" not in texts(svg)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"keys": "loss", "width": 5},
        {"keys": "loss", "height": 10**6},
        {"keys": "loss", "smoothing": 1},
        {"keys": "loss", "smoothing": "nan"},
        {"keys": "loss", "theme": "pink"},
        {"keys": "loss", "x": "epoch"},
        {"keys": "loss", "title": "x" * 10_000},
        {"keys": [f"k{n}" for n in range(100)]},
        {"keys": "loss", "unknown": 1},
    ],
)
def test_bad_query_is_an_error_in_the_one_shape(api, query):
    response = api.get(url_of(RunFactory(), "svg"), query)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"]


def test_colors_of_the_reader_are_light_by_default_and_dark_where_the_system_is():
    svg = picture(run_with([1.0, 2.0]), theme="auto").decode()

    style, drawn = re.search(r"<style>(.*)</style>(.*)", svg, re.DOTALL).groups()
    light, dark = (plots.THEMES[name] for name in ("light", "dark"))
    assert style.startswith("@media(prefers-color-scheme:dark)")
    assert f"--surface:{dark.surface};" in style
    assert f"--series-10:{dark.series[9]};" in style
    assert f'fill="var(--surface, {light.surface})"' in drawn
    assert f'stroke="var(--series-1, {light.series[0]})"' in drawn


def test_png_in_the_colors_of_the_reader_is_light():
    run = run_with([1.0, 2.0])

    assert picture(run, draw=plots.plot_png, theme="auto") == picture(run, draw=plots.plot_png)


def test_unknown_metrics_are_an_empty_picture(api):
    assert "–" in texts(api.get(url_of(RunFactory(), "svg"), {"keys": "nothing"}).content)


def test_colors_are_those_of_the_pages():
    css = (plots.__file__.rsplit("/metrics/", 1)[0]) + "/static/css/tokens.css"
    with open(css) as file:
        tokens = file.read()

    for number in range(10):
        [(light, dark)] = re.findall(
            rf"--series-{number + 1}: light-dark\((#\w+), (#\w+)\)", tokens
        )
        assert light == plots.THEMES["light"].series[number]
        assert dark == plots.THEMES["dark"].series[number]
