"""What charts look like: a lone spike among a million points can be seen, and so can NaN."""

import numpy as np
import pytest
from playwright.sync_api import expect

from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
from runs.status import RunStatus
from tests.browser.test_charts import area_of, chart_of, open_charts
from tests.factories import RunFactory
from tests.long_series import store
from tests.metrics.test_plots import BLUE
from tests.pixels import colored, decoded

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(serialized_rollback=True),
    pytest.mark.xdist_group("charts"),
]

SPIKE = 654_321


def pixels_of(page, chart) -> np.ndarray:
    """Which pixels of the area that curves are drawn on have the first curve's color."""
    expect(chart.locator("canvas")).to_be_visible()
    page.mouse.move(0, 0)
    picture = decoded(page.screenshot(clip=area_of(chart)))
    return colored(picture, BLUE)


@pytest.fixture
def _django_db_helper(kept_server):
    """In place of pytest-django's: what a test stores is kept."""


@pytest.fixture
def page(open_kept_page):
    return open_kept_page()


@pytest.fixture(scope="module")
def run(kept_browser):
    values = np.random.default_rng(5).normal(1.0, 0.05, 1_000_000)
    values[SPIKE] = 30.0
    run = RunFactory(status=RunStatus.COMPLETED)
    store(run, "loss", values)
    return Run.objects.get(pk=run.pk)


def spike_height(pixels: np.ndarray, view: tuple[int, int]) -> int:
    """How many rows of pixels the curve's color is in, at the spike."""
    column = round((SPIKE - view[0]) / (view[1] - view[0]) * pixels.shape[1])
    return int(pixels[:, max(0, column - 4) : column + 5].any(axis=1).sum())


def test_lone_spike_is_seen_at_every_zoom(page, run):
    """In the full color, from the curve up to the upper edge."""
    for half in (None, 100_000, 20_000, 4000, 400, 40):
        view = (0, 999_999) if half is None else (SPIKE - half, SPIKE + half)
        with page.expect_response(
            lambda response, half=half: (
                "/series?" in response.url and ("from=" in response.url) == (half is not None)
            )
        ):
            open_charts(page, run, "" if half is None else f"?range={view[0]}:{view[1]}")
        chart = chart_of(page, "loss")
        expect(chart.locator(".chart-outliers")).to_contain_text("▲ 1")

        pixels = pixels_of(page, chart)

        assert pixels[0].any(), view  # at the upper edge
        assert spike_height(pixels, view) >= 0.45 * pixels.shape[0], view


def test_lone_spike_is_seen_in_front_of_all_when_outliers_are_shown(page, run):
    open_charts(page, run)
    chart = chart_of(page, "loss")
    chart.locator(".chart-outliers").click()
    expect(chart.locator(".chart-outliers")).to_have_attribute("aria-pressed", "true")

    pixels = pixels_of(page, chart)

    tall = pixels.sum(axis=0) >= 0.8 * pixels.shape[0]
    assert 1 <= tall.sum() <= 3
    assert abs(np.flatnonzero(tall)[0] / pixels.shape[1] - SPIKE / 1e6) < 0.01


def test_nan_is_marked_on_the_axis(page):
    run = RunFactory(status=RunStatus.COMPLETED)
    values = [1.0, 2.0, float("nan"), 2.0, 1.0]
    record_metrics(run, [Point("loss", n, value, 0) for n, value in enumerate(values)])
    open_charts(page, run)

    pixels = pixels_of(page, chart_of(page, "loss"))

    height, width = pixels.shape
    assert pixels[height - 8 :, width // 2 - 5 : width // 2 + 5].sum() >= 8
    assert not pixels[: height - 10, width // 2 - 5 : width // 2 + 5].any()
