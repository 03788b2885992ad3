"""The charts of a run's page, as a person uses them."""

import re

import numpy as np
import pytest
from playwright.sync_api import expect

from metrics.plots import THEMES
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
from runs.status import RunStatus
from tests.factories import RunFactory, checkpoint
from tests.long_series import START_MS, store
from tests.pixels import colored, decoded

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(serialized_rollback=True),
    pytest.mark.xdist_group("charts"),
]

DRAWN = ".chart:not([hidden]) .uplot canvas"


@pytest.fixture
def _django_db_helper(kept_server):
    """In place of pytest-django's: what a test stores is kept."""


@pytest.fixture
def page(open_kept_page):
    return open_kept_page()


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(3).normal(1.0, 0.1, count)


def open_charts(page, run, query=""):
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}{query}")
    expect(page.locator(DRAWN).first).to_be_visible()
    return page.locator(".chart")


def chart_of(page, title):
    return page.locator(".chart").filter(
        has=page.locator(".chart-title", has_text=re.compile(f"^{re.escape(title)}$"))
    )


def area_of(chart):
    """The part of the chart that curves are drawn on, in the window."""
    return chart.locator(".u-over").bounding_box()


def point_at(page, chart, share):
    """Move the mouse to ``share`` of the chart's width."""
    area = area_of(chart)
    page.mouse.move(area["x"] + area["width"] * share, area["y"] + area["height"] / 2)


def drag(page, chart, start, end):
    point_at(page, chart, start)
    page.mouse.down()
    point_at(page, chart, (start + end) / 2)
    point_at(page, chart, end)
    page.mouse.up()


def step_pointed_at(chart) -> list[int]:
    """The step in the legend; from where to where if it is a bucket's."""
    text = chart.locator(".chart-at").inner_text()
    return [int(number.replace(",", "")) for number in re.findall(r"[\d,]+", text)]


def series_requests(page) -> list[str]:
    requested = []
    page.on("request", lambda request: "/series?" in request.url and requested.append(request.url))
    return requested


@pytest.fixture(scope="module")
def run(kept_browser):
    """A run with two metrics of ten thousand points, which are drawn as buckets."""
    run = RunFactory(status=RunStatus.COMPLETED)
    store(run, "train/loss", noise(10_000))
    store(run, "train/grad_norm", noise(10_000))
    return Run.objects.get(pk=run.pk)


# --- sections and search ---------------------------------------------------------------------


def test_closed_sections_are_asked_for_when_they_are_opened(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point(key, 1, 1.0, 0) for key in ("train/loss", "system/memory")])
    requested = series_requests(page)
    open_charts(page, run)
    assert not any("system" in url for url in requested)

    page.locator(".chart-section summary", has_text="system/").click()

    expect(chart_of(page, "system/memory").locator("canvas")).to_be_visible()
    assert any("system%2Fmemory" in url for url in requested)


def test_charts_out_of_view_are_neither_asked_for_nor_drawn(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point(f"metric_{n:03d}", 1, 1.0, 0) for n in range(120)])
    requested = series_requests(page)

    charts = open_charts(page, run)

    expect(charts).to_have_count(120)
    assert any("metric_000" in url for url in requested)
    assert not any("metric_119" in url for url in requested)
    expect(charts.last.locator("canvas")).to_have_count(0)
    charts.last.scroll_into_view_if_needed()
    expect(charts.last.locator("canvas")).to_be_visible()


def test_search_shows_the_charts_that_match_and_opens_their_section(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point(key, 1, 1.0, 0) for key in ("train/loss", "system/gpu_0", "lr")])
    open_charts(page, run)

    page.locator("#chart-toolbar [name=search]").fill("gpu")

    expect(chart_of(page, "system/gpu_0").locator("canvas")).to_be_visible()
    expect(chart_of(page, "train/loss")).to_be_hidden()
    page.locator("#chart-toolbar [name=search]").fill("")
    expect(chart_of(page, "train/loss")).to_be_visible()
    expect(chart_of(page, "system/gpu_0")).to_be_hidden()


# --- crosshair, zoom, pan --------------------------------------------------------------------


def test_crosshair_and_its_step_are_shared_by_all_charts(page, run):
    open_charts(page, run)

    point_at(page, chart_of(page, "train/loss"), 0.5)

    other = chart_of(page, "train/grad_norm")
    expect(other.locator(".u-cursor-x")).to_be_visible()
    first, last = step_pointed_at(chart_of(page, "train/loss"))
    assert first <= 5000 <= last + 1
    expect(other.locator(".chart-at")).to_have_text(
        chart_of(page, "train/loss").locator(".chart-at").inner_text()
    )


def test_legend_shows_the_range_of_the_bucket_pointed_at(page):
    values = noise(10_000)
    values[5000] = 42.0
    run = RunFactory(status=RunStatus.COMPLETED)
    store(run, "loss", values)
    open_charts(page, Run.objects.get(pk=run.pk))

    point_at(page, chart_of(page, "loss"), 0.50005)

    expect(chart_of(page, "loss").locator(".chart-value")).to_contain_text("– 42")


def test_zoom_fetches_exact_points_of_all_charts(page, run):
    open_charts(page, run)
    requested = series_requests(page)

    drag(page, chart_of(page, "train/loss"), 0.50, 0.53)

    expect(page).to_have_url(re.compile("range"))
    expect(page.locator("[data-reset]")).to_be_enabled()
    other = chart_of(page, "train/grad_norm")
    point_at(page, other, 0.5)
    expect(other.locator(".chart-at")).to_have_text(re.compile(r"^\D*5,1\d\d$"))
    assert len(requested) == 1
    assert "train%2Floss" in requested[0]
    assert "train%2Fgrad_norm" in requested[0]
    assert "from=" in requested[0]


@pytest.mark.parametrize("way_back", ["double click", "Escape", "button"])
def test_everything_is_shown_again(page, run, way_back):
    open_charts(page, run, "?range=4000:4100")
    chart = chart_of(page, "train/loss")
    expect(page.locator("[data-reset]")).to_be_enabled()

    if way_back == "double click":
        chart.locator(".u-over").dblclick()
    elif way_back == "Escape":
        chart.locator(".chart-plot").focus()
        page.keyboard.press("Escape")
    else:
        page.locator("[data-reset]").click()

    expect(page.locator("[data-reset]")).to_be_disabled()
    assert "range" not in page.url


def view(page) -> tuple[float, float]:
    low, high = re.search(r"range=([\d.-]+)%3A([\d.-]+)", page.url).groups()
    return float(low), float(high)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["+"], (4100, 4500)),
        (["-"], (3850, 4750)),
        (["ArrowRight"], (4120, 4720)),
        (["ArrowLeft"], (3880, 4480)),
    ],
)
def test_keys_zoom_and_pan_a_focused_chart(page, run, keys, expected):
    open_charts(page, run, "?range=4000:4600")
    chart_of(page, "train/loss").locator(".chart-plot").focus()
    before = page.url

    for key in keys:
        page.keyboard.press(key)

    expect(page).not_to_have_url(before)
    assert view(page) == pytest.approx(expected)


def test_dragging_with_shift_pans(page, run):
    open_charts(page, run, "?range=4000:5000")

    page.keyboard.down("Shift")
    drag(page, chart_of(page, "train/loss"), 0.6, 0.4)
    page.keyboard.up("Shift")

    expect(page).not_to_have_url(re.compile("range=4000"))
    assert view(page) == pytest.approx((4200, 5200), abs=10)


def test_turning_the_wheel_with_ctrl_zooms_at_the_mouse(page, run):
    open_charts(page, run, "?range=4000:5000")
    point_at(page, chart_of(page, "train/loss"), 0.5)

    page.keyboard.down("Control")
    page.mouse.wheel(0, -100)
    page.keyboard.up("Control")

    expect(page).not_to_have_url(re.compile("range=4000"))
    low, high = view(page)
    assert (high - low, (low + high) / 2) == pytest.approx((1000 / 1.5, 4500), abs=10)


def test_finger_pans_what_has_been_zoomed(open_kept_page, run):
    page = open_kept_page(has_touch=True)
    open_charts(page, run, "?range=4000:5000")
    area = area_of(chart_of(page, "train/loss"))
    touch = page.context.new_cdp_session(page)

    def put(kind, *shares):
        points = [
            {"x": area["x"] + area["width"] * share, "y": area["y"] + area["height"] / 2}
            for share in shares
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    put("touchStart", 0.6)
    put("touchMove", 0.5)
    put("touchMove", 0.4)
    put("touchEnd")

    expect(page).not_to_have_url(re.compile("range=4000"))
    assert view(page) == pytest.approx((4200, 5200), abs=10)


def test_two_fingers_zoom(open_kept_page, run):
    page = open_kept_page(has_touch=True)
    open_charts(page, run, "?range=4000:5000")
    area = area_of(chart_of(page, "train/loss"))
    touch = page.context.new_cdp_session(page)

    def put(kind, *shares):
        points = [
            {"x": area["x"] + area["width"] * share, "y": area["y"] + area["height"] / 2, "id": n}
            for n, share in enumerate(shares)
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    put("touchStart", 0.4, 0.6)
    put("touchMove", 0.35, 0.65)
    put("touchMove", 0.3, 0.7)
    put("touchEnd")

    expect(page).not_to_have_url(re.compile("range=4000"))
    low, high = view(page)
    assert (high - low, (low + high) / 2) == pytest.approx((500, 4500), abs=15)


# --- the toolbar -----------------------------------------------------------------------------


def test_settings_are_in_the_address_and_come_from_it(page, run):
    open_charts(page, run)
    page.locator("[name=smoothing]").fill("0.6")
    page.locator("[name=log]").check()
    page.locator("[name=axis]").select_option("relative")

    address = page.url
    assert all(part in address for part in ("smooth=0.6", "log=1", "x=relative"))
    page.goto(address)
    expect(page.locator(DRAWN).first).to_be_visible()
    expect(page.locator("[name=smoothing]")).to_have_value("0.6")
    expect(page.locator("[name=log]")).to_be_checked()
    expect(page.locator("[name=axis]")).to_have_value("relative")


def test_time_axis_shows_the_time_pointed_at(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point("loss", n, 1.0 + n, START_MS + n * 60_000) for n in range(11)])
    open_charts(page, run, "?x=time")

    point_at(page, chart_of(page, "loss"), 0.5)

    shown = page.evaluate(
        """ms => new Intl.DateTimeFormat(document.documentElement.lang,
            { dateStyle: "short", timeStyle: "medium" }).format(ms)""",
        START_MS + 5 * 60_000,
    )
    expect(chart_of(page, "loss").locator(".chart-at")).to_contain_text(shown)


def test_another_metric_can_be_the_axis(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    points = [Point("loss", n, 5.0 - n / 10, 0) for n in range(11)]
    record_metrics(run, [*points, *(Point("tokens", n, 1000.0 * n * n, 0) for n in range(11))])
    open_charts(page, run, "?x=metric:tokens")

    point_at(page, chart_of(page, "loss"), 0.25)  # 25,000 tokens

    assert step_pointed_at(chart_of(page, "loss")) == [5]


def test_a_change_of_the_axis_asks_for_nothing_that_is_there(page, run):
    open_charts(page, run)
    requested = series_requests(page)

    page.locator("[name=axis]").select_option("time")
    page.locator("[name=smoothing]").fill("0.9")
    expect(page.locator(DRAWN).first).to_be_visible()

    assert requested == []


# --- points, full screen, files --------------------------------------------------------------


def test_click_on_a_point_names_the_nearest_checkpoint_and_opens_the_log_there(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point("loss", n, 1.0, START_MS + n * 1000) for n in range(101)])
    checkpoint(run, step=40)
    checkpoint(run, step=90)
    open_charts(page, run)

    point_at(page, chart_of(page, "loss"), 0.5)
    page.mouse.down()
    page.mouse.up()

    popover = page.locator(".chart-popover")
    expect(popover).to_contain_text("50")
    expect(popover.locator("dd").last).to_contain_text("40")
    expect(popover.locator("> a")).to_have_attribute(
        "href",
        f"/dashboard/projects/{run.project_id}/runs/{run.pk}/log?at_ms={START_MS + 50_000}",
    )
    page.keyboard.press("Escape")
    expect(popover).to_have_count(0)


@pytest.fixture(scope="module")
def spiky(kept_browser):
    """A spike up and one down, among points that are drawn as buckets."""
    values = noise(100_000)
    values[65_432], values[23_456] = 9.0, -9.0
    run = RunFactory(status=RunStatus.COMPLETED)
    store(run, "loss", values)
    return Run.objects.get(pk=run.pk)


@pytest.mark.parametrize(
    ("step", "edge", "shown"),
    [(65_432, 0.05, "max at 65,432"), (23_456, 0.9, "min at 23,456")],
    ids=["up", "down"],
)
def test_spike_tells_its_exact_step_and_opens_the_log_there(
    open_kept_page, spiky, step, edge, shown
):
    page = open_kept_page(locale="en-US")
    open_charts(page, spiky)
    area = area_of(chart_of(page, "loss"))

    x, y = area["x"] + area["width"] * step / 99_999, area["y"] + area["height"] * edge
    page.mouse.move(x + 2, y)
    expect(chart_of(page, "loss").locator(".chart-extreme:nth-child(2)")).to_have_text(shown)
    page.mouse.down()
    page.mouse.up()

    popover = page.locator(".chart-popover")
    expect(popover.locator("dd").first).to_have_text(f"{step:,}")
    expect(popover.locator("dd").nth(2)).to_have_text("9" if edge < 0.5 else "-9")
    expect(popover.locator("> a")).to_have_attribute(
        "href", re.compile(rf"/log\?at_ms={START_MS + step * 100}$")
    )


def test_point_is_reached_with_keys_alone(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point("loss", n, 1.0 + n, START_MS) for n in range(11)])
    open_charts(page, run)
    chart_of(page, "loss").locator(".chart-plot").focus()

    page.keyboard.press("Shift+ArrowRight")
    expect(chart_of(page, "loss").locator(".chart-at")).to_contain_text("5")
    page.keyboard.press("Shift+ArrowRight")
    expect(chart_of(page, "loss").locator(".chart-at")).to_contain_text("6")
    page.keyboard.press("Enter")

    expect(page.locator(".chart-popover dd").first).to_have_text("6")


def test_full_screen_opens_and_closes(page, run):
    open_charts(page, run)
    chart = chart_of(page, "train/loss")
    narrow = chart.bounding_box()["width"]

    chart.locator(".chart-full").click()

    dialog = page.locator("dialog.chart-dialog")
    expect(dialog.locator("canvas")).to_be_visible()
    assert chart.bounding_box()["width"] > 2 * narrow
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(chart.locator("canvas")).to_be_visible()


def test_csv_is_of_what_is_shown(page, run):
    open_charts(page, run, "?range=4000:4009")

    with page.expect_download() as download:
        chart_of(page, "train/loss").locator(".chart-csv").click()

    lines = download.value.path().read_text().splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == [str(step) for step in range(4000, 4010)]


def test_picture_is_saved_under_the_name_of_the_chart(page, run):
    open_charts(page, run)

    with page.expect_download() as download:
        chart_of(page, "train/loss").locator(".chart-picture").click()

    assert download.value.suggested_filename == "train-loss.png"
    assert download.value.path().read_bytes().startswith(b"\x89PNG")


# --- unusual curves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "note"),
    [([7.0], "One point"), ([7.0, 7.0, 7.0], "Constant 7"), ([float("nan")] * 3, "Only NaN")],
    ids=["one point", "constant", "only NaN"],
)
def test_unusual_curves_say_what_they_are(open_kept_page, values, note):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point("loss", n, value, 0) for n, value in enumerate(values)])
    page = open_kept_page(locale="en-US")

    open_charts(page, run)

    expect(chart_of(page, "loss").locator(".chart-note")).to_have_text(note)


def test_one_click_shows_outliers(page):
    values = noise(500)
    values[250] = 1000.0
    run = RunFactory(status=RunStatus.COMPLETED)
    store(run, "loss", values)
    open_charts(page, Run.objects.get(pk=run.pk))
    outliers = chart_of(page, "loss").locator(".chart-outliers")

    expect(outliers).to_contain_text("▲ 1")
    outliers.click()

    expect(outliers).to_have_attribute("aria-pressed", "true")
    expect(outliers).not_to_contain_text("▲ 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pictures_without_scripts_have_the_colors_of_the_system(open_kept_page, run, scheme):
    page = open_kept_page(java_script_enabled=False, color_scheme=scheme)
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")
    picture = page.locator("noscript img, .chart-grid img").first
    picture.scroll_into_view_if_needed()
    expect(picture).to_have_js_property("complete", True)

    pixels = decoded(picture.screenshot())

    colors = THEMES[scheme]
    assert colored(pixels, colors.surface, tolerance=2).mean() > 0.5
    assert colored(pixels, colors.series[0]).sum() > 100


# --- resumed runs, and runs at work ----------------------------------------------------------


@pytest.fixture
def resumed():
    first = RunFactory(status=RunStatus.COMPLETED, name="first")
    record_metrics(first, [Point("loss", n, 5.0 - n / 100, START_MS) for n in range(101)])
    run = RunFactory(
        project=first.project,
        status=RunStatus.COMPLETED,
        resumed_from_id=checkpoint(first, step=50).pk,
        start_step=50,
    )
    record_metrics(run, [Point("loss", n, 1.0, START_MS) for n in range(51, 151)])
    return run


def test_resumed_run_shows_the_curve_of_its_ancestor(page, resumed):
    open_charts(page, resumed)

    point_at(page, chart_of(page, "loss"), 20 / 150)

    expect(chart_of(page, "loss").locator(".chart-value").first).to_contain_text("4.8")


def test_ancestors_can_be_switched_off(page, resumed):
    open_charts(page, resumed)
    chart = chart_of(page, "loss")
    point_at(page, chart, 0.5)
    expect(chart.locator(".chart-at")).to_have_text(re.compile(r"^\D*7[45]$"))

    page.locator("[name=whole]").uncheck()
    point_at(page, chart, 0.01)

    expect(chart.locator(".chart-at")).to_have_text(re.compile(r"^\D*5[12]$"))
    assert "whole=0" in page.url


def test_legend_names_a_metric_once_for_all_segments(page, resumed):
    record_metrics(resumed, [Point("accuracy", 60, 0.5, START_MS)])
    open_charts(page, resumed)

    expect(chart_of(page, "loss").locator(".chart-value")).to_have_count(1)


def test_superseded_steps_can_be_switched_off(page, resumed):
    open_charts(page, resumed)
    chart = chart_of(page, "loss")
    point_at(page, chart, 80 / 150)
    expect(chart.locator(".chart-value.superseded")).to_have_count(1)

    page.locator("[name=superseded]").uncheck()
    point_at(page, chart, 81 / 150)

    expect(chart.locator(".chart-value.superseded")).to_have_count(0)
    assert "superseded=0" in page.url


def test_only_what_is_new_is_asked_for_while_a_run_is_at_work(page):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)
    record_metrics(run, [Point("loss", n, 1.0, 0) for n in range(10)])
    open_charts(page, run)
    chart = chart_of(page, "loss")
    chart.locator("canvas").evaluate("canvas => { canvas.dataset.mark = 'same'; }")
    requested = series_requests(page)

    record_metrics(run, [Point("loss", n, 1.0, 0) for n in range(10, 15)])
    page.evaluate("document.dispatchEvent(new Event('live:changed'))")

    expect(chart.locator(".chart-at")).to_contain_text("14")
    expect(chart.locator("canvas[data-mark=same]")).to_have_count(1)
    assert f"have={run.pk}%3A%3A9%3Aloss" in requested[0]
    assert all("have=" in url for url in requested)


def test_new_metric_gets_a_chart_while_a_run_is_at_work(page):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)
    record_metrics(run, [Point("loss", 1, 1.0, 0)])
    open_charts(page, run)

    record_metrics(run, [Point("accuracy", 1, 0.5, 0)])
    page.evaluate("document.dispatchEvent(new Event('live:changed'))")

    expect(chart_of(page, "accuracy").locator("canvas")).to_be_visible()


def test_late_points_are_drawn(page):
    run = RunFactory(recipe=None, status=RunStatus.RUNNING)
    record_metrics(run, [Point("loss", n, 1.0, 0) for n in (0, 10)])
    open_charts(page, run)

    record_metrics(run, [Point("loss", 5, 3.25, 0)])
    page.evaluate("document.dispatchEvent(new Event('live:changed'))")

    chart = chart_of(page, "loss")
    point_at(page, chart, 0.2)
    point_at(page, chart, 0.5)
    expect(chart.locator(".chart-value")).to_contain_text("3.25")


# --- modules ---------------------------------------------------------------------------------


def from_module(page, name, expression):
    """The value of ``expression``, in which ``m`` is the module."""
    return page.evaluate(f"import('/static/js/charts/{name}.js').then(m => {expression})")


def test_smoothing_is_debiased_and_leaves_gaps(page, run):
    open_charts(page, run)

    smoothed = from_module(
        page, "smoothing", "[...m.smooth(Float64Array.of(4, 4, NaN, 4, 8), 0.5)].map(String)"
    )

    assert smoothed[:4] == ["4", "4", "NaN", "4"]
    assert 4 < float(smoothed[4]) < 8


def test_percentile_fit_leaves_outliers_out(page, run):
    open_charts(page, run)
    values = "Float64Array.from([...Array(200).keys()].map(n => n / 200).concat(900))"

    fitted = from_module(page, "fit", f"m.fit({values}, {values})")
    everything = from_module(page, "fit", f"m.fit({values}, {values}, {{ all: true }})")

    assert 0.9 < fitted["max"] < 1.2
    assert everything["max"] > 900


def test_late_points_cannot_be_appended(page, run):
    open_charts(page, run)

    fits = from_module(
        page,
        "data",
        """(() => {
          const column = (name, steps) => (
            Float64Array.from(name === "count" ? steps.map(() => 1) : steps));
          const columns = (steps) => Object.fromEntries(
            m.COLUMNS.map(name => [name, column(name, steps)]));
          const have = { exact: true, shift: null, total: 3, ...columns([1, 2, 3]) };
          const news = (steps, total) => (
            { exact: true, shift: null, continued: true, total, ...columns(steps) });
          return [4, 5].map(total => m.extended(have, news([3, 4], total)) !== null);
        })()""",
    )

    assert fits == [True, False]


@pytest.mark.parametrize(("locale", "text"), [("en-US", "1d 01:00:00"), ("zh-CN", "1天 01:00:00")])
def test_days_of_relative_times_are_in_the_reader_s_language(open_kept_page, run, locale, text):
    page = open_kept_page(locale=locale)
    open_charts(page, run)

    assert from_module(page, "numbers", "m.duration(90000)") == text
