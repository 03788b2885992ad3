"""Comparing runs in the browser: those of the sweep of the demo data."""

import re
from typing import NamedTuple

import pytest
from django.utils.translation import gettext, override
from playwright.sync_api import Page, expect

from tests.browser.site import Site
from tests.waiting import wait_until
from trainhub.demo.tuning import BATCH_SIZES, LEARNING_RATES, Setting

pytestmark = pytest.mark.browser

ENGLISH = {"locale": "en"}
BEST = Setting(1e-4, 128, 100).name


class Member(NamedTuple):
    """A run of the sweep."""

    name: str
    pk: str


# Neighbors differ in their learning rates and batch sizes; those with the greatest rate come last.
ORDER = [
    Setting(LEARNING_RATES[place % 4], BATCH_SIZES[(place + place // 4) % 4], warmup)
    for warmup in (0, 100)
    for place in range(16)
]
ORDER += [Setting(LEARNING_RATES[4], size, warmup) for size in BATCH_SIZES for warmup in (0, 100)]


@pytest.fixture
def sweep(site: Site):
    def members(count: int) -> list[Member]:
        names = [setting.name for setting in ORDER[:count]]
        return [Member(name, site.runs[name]) for name in names]

    return members


@pytest.fixture
def english(open_site_page) -> Page:
    return open_site_page(**ENGLISH)


def address(runs, **query):
    ids = ",".join(run.pk for run in runs)
    return f"/dashboard/compare?runs={ids}" + "".join(f"&{k}={v}" for k, v in query.items())


def found(page, run):
    """The link of a run that a search has found."""
    return page.locator(".found a", has=page.get_by_text(run.name, exact=True))


def test_best_of_forty_runs_is_found_by_one_click(english, sweep):
    english.goto(address(sweep(40), tab="summary", metrics="eval_loss"))

    english.get_by_role("link", name="eval_loss best").click()

    first = english.locator("table.summary tbody tr").first
    expect(first).to_contain_text(BEST)
    expect(first.locator("td.is-best").first).to_be_visible()


def test_differences_of_two_runs_are_seen_without_a_click(english, sweep):
    one, other = sweep(2)

    english.goto(address([one, other], tab="differences"))

    table = english.locator("table.differences")
    expect(table.get_by_role("row", name="learning_rate")).to_contain_text("×3")
    expect(table.get_by_role("row", name="batch_size")).to_contain_text("32")
    expect(english.get_by_text("lora_rank")).to_be_hidden()
    english.locator("details.equal summary").click()
    expect(english.get_by_text("lora_rank")).to_be_visible()


# How many pixels of the first chart are near to each of the colors --series-1 … --series-10.
PIXELS_BY_COLOR = """() => {
    const canvas = document.querySelector("#curves canvas");
    if (!canvas) return [];
    const probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const span = document.body.appendChild(document.createElement("span"));
    const colors = Array.from({ length: 10 }, (_, i) => {
        span.style.color = `var(--series-${i + 1})`;
        probe.fillStyle = getComputedStyle(span).color;
        probe.fillRect(0, 0, 1, 1);
        return [...probe.getImageData(0, 0, 1, 1).data];
    });
    span.remove();
    const copy = document.createElement("canvas");
    copy.width = canvas.width;
    copy.height = canvas.height;
    const context = copy.getContext("2d");
    context.drawImage(canvas, 0, 0);
    const { data } = context.getImageData(0, 0, copy.width, copy.height);
    return colors.map(([r, g, b]) => {
        let count = 0;
        for (let i = 0; i < data.length; i += 4) {
            const apart = [r, g, b].reduce((sum, c, j) => sum + Math.abs(data[i + j] - c), 0);
            if (data[i + 3] > 200 && apart < 12) count += 1;
        }
        return count;
    });
}"""


def test_ten_curves_are_drawn_in_ten_colors(english, sweep):
    english.goto(address(sweep(10), metrics="loss"))

    expect(english.locator("#curves canvas")).to_be_visible()
    drawn = f"({PIXELS_BY_COLOR})().filter((count) => count > 20).length"
    wait_until(lambda: english.evaluate(drawn) == 10)


def test_run_pointed_at_in_a_table_is_highlighted_everywhere(english, sweep):
    runs = sweep(4)
    english.goto(address(runs, tab="parallel"))

    english.locator(f'table.plotted tr[data-run="{runs[2].pk}"]').hover()

    expect(english.locator(".chip.hovered")).to_have_attribute("data-run", runs[2].pk)
    expect(english.locator("#parallel .line.hovered")).to_have_attribute("data-run", runs[2].pk)
    expect(english.locator(".plot-tooltip")).to_contain_text(runs[2].name)


def test_scatter_names_the_run_under_the_pointer(english, sweep):
    runs = sweep(6)
    english.goto(address(runs, tab="scatter", xcolumn="params.learning_rate"))

    points = english.locator("#scatter .point")
    expect(points).to_have_count(6)
    english.locator(f'#scatter .point[data-run="{runs[5].pk}"]').hover()

    expect(english.locator(".plot-tooltip")).to_contain_text(runs[5].name)
    expect(english.locator(".chip.hovered")).to_have_attribute("data-run", runs[5].pk)


@pytest.mark.parametrize(("locale", "language"), [("en-US", "en"), ("zh-CN", "zh-hans")])
def test_logarithmic_axis_is_named_in_the_reader_s_language(
    open_site_page, sweep, locale, language
):
    runs = sweep(6)
    with override(language):
        expected = gettext("{name} (log)").replace("{name}", "learning_rate")

    page = open_site_page(locale=locale)
    page.goto(address(runs, tab="scatter", xcolumn="params.learning_rate", xscale="log"))

    expect(page.locator("#scatter .label").first).to_have_text(expected)


def test_scatter_changes_with_the_chosen_column(english, sweep):
    english.goto(address(sweep(6), tab="scatter"))

    english.locator("select[name=xcolumn]").select_option("run.status")

    english.wait_for_url("**xcolumn=run.status**")
    expect(english.locator("#scatter svg")).to_contain_text("Completed")


def axis(page, name):
    return page.locator(f'#parallel .axis[data-column="{name}"]')


def order(page):
    return page.evaluate(
        """() => [...document.querySelectorAll("#parallel .axis")]
            .sort((a, b) => a.getBoundingClientRect().left - b.getBoundingClientRect().left)
            .map((axis) => axis.dataset.column)"""
    )


def drag(page, start, end):
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(*[(a + b) / 2 for a, b in zip(start, end, strict=True)])
    page.mouse.move(*end)
    page.mouse.up()


def test_range_brushed_on_an_axis_selects_runs_and_is_in_the_address(english, sweep):
    runs = sweep(8)
    english.goto(address(runs, tab="parallel"))
    box = axis(english, "params.learning_rate").locator(".zone").bounding_box()
    middle = box["x"] + box["width"] / 2

    # The upper end: the runs with the greatest of four learning rates.
    drag(english, (middle, box["y"] + 2), (middle, box["y"] + box["height"] / 6))

    expect(english.locator("#brushed")).to_have_text("2 of 8 runs selected")
    expect(english.locator("table.plotted tr:not(.out)[data-run]")).to_have_count(2)
    assert "brush=params.learning_rate" in english.url
    english.reload()
    expect(english.locator("#brushed")).to_have_text("2 of 8 runs selected")
    english.locator("#keep-brushed").click()
    expect(english.locator(".chip")).to_have_count(2)


def test_axes_are_moved_and_brushed_by_keys(english, sweep):
    english.goto(address(sweep(8), tab="parallel"))
    first = order(english)

    axis(english, first[0]).focus()
    english.keyboard.press("ArrowRight")
    english.keyboard.press("ArrowUp")

    assert order(english) == [first[1], first[0], *first[2:]]
    expect(english.locator("#brushed")).to_contain_text("of 8 runs selected")
    english.keyboard.press("Escape")
    expect(english.locator("#brushed")).to_have_text("")
    english.reload()
    assert order(english) == [first[1], first[0], *first[2:]]


def test_axis_is_moved_by_its_label(english, sweep):
    english.goto(address(sweep(8), tab="parallel"))
    first = order(english)
    label = axis(english, first[0]).locator(".handle").bounding_box()
    target = axis(english, first[-1]).locator(".handle").bounding_box()

    drag(english, (label["x"] + 5, label["y"] + 5), (target["x"] + target["width"], label["y"] + 5))

    assert order(english) == [*first[1:], first[0]]


def test_links_of_a_page_keep_what_a_script_has_changed(english, sweep):
    english.goto(address(sweep(8), tab="parallel"))
    first = order(english)
    axis(english, first[0]).focus()
    english.keyboard.press("ArrowRight")

    english.get_by_role("link", name="Scatter plot").click()
    english.get_by_role("link", name="Parallel coordinates").click()

    expect(english.locator("#parallel .axis")).to_have_count(len(first))
    assert order(english) == [first[1], first[0], *first[2:]]


def test_baseline_is_set_by_a_click_and_others_are_shown_against_it(english, sweep):
    runs = sweep(3)
    english.goto(address(runs, tab="differences"))

    english.get_by_role("link", name=f"Make {runs[1].name} the baseline").click()

    expect(english.locator(".chip.baseline")).to_have_attribute("data-run", runs[1].pk)
    row = english.locator("table.differences").get_by_role("row", name="learning_rate")
    expect(row).to_contain_text("×3.3")
    assert f"baseline={runs[1].pk}" in english.url


def test_run_is_added_by_search_and_removed(english, sweep):
    one, other, third = sweep(3)
    english.goto(address([one, other], tab="differences"))

    english.locator("summary", has_text="Add runs").click()
    english.keyboard.type(third.name)
    found(english, third).click()
    expect(english.locator(".chip")).to_have_count(3)
    assert "tab=differences" in english.url
    english.get_by_role("link", name=f"Remove {one.name}").click()

    expect(english.locator(".chip")).to_have_count(2)
    assert f"runs={other.pk},{third.pk}" in english.url


def test_shared_address_gives_the_same_page(open_site_page, sweep):
    runs = sweep(5)
    mine, theirs = open_site_page(**ENGLISH), open_site_page(**ENGLISH)
    mine.goto(address(runs, tab="scatter", baseline=runs[3].pk))
    mine.locator("select[name=ycolumn]").select_option("params.batch_size")
    mine.wait_for_url("**ycolumn=params.batch_size**")
    mine.locator("select[name=yscale]").select_option("linear")
    mine.wait_for_url("**yscale=linear**")

    theirs.goto(mine.url)

    expect(theirs.locator("#scatter .point")).to_have_count(5)
    drawing = "document.querySelector('#scatter svg').outerHTML"
    assert theirs.evaluate(drawing) == mine.evaluate(drawing)
    expect(theirs.locator(".chip.baseline")).to_have_attribute("data-run", runs[3].pk)


def test_smoothing_of_the_curves_is_in_the_address_and_in_links(english, sweep):
    english.goto(address(sweep(2)))
    expect(english.locator("#curves canvas").first).to_be_visible()

    english.locator("#chart-toolbar input[name=smoothing]").fill("0.6")

    expect(english).to_have_url(re.compile("smooth=0.6"))
    for link in english.locator("nav.tabs a").all():
        expect(link).to_have_attribute("href", re.compile("smooth=0.6"))


@pytest.mark.parametrize("tab", ["curves", "differences", "summary", "parallel", "scatter", "code"])
def test_every_tab_works_without_javascript(open_site_page, tab, sweep):
    runs = sweep(3)
    page = open_site_page(java_script_enabled=False, **ENGLISH)
    page.goto(address(runs, tab=tab))

    expect(page.locator(".chip")).to_have_count(3)
    if tab == "curves":
        picture = page.locator('main img[alt$="eval_loss"]')
        picture.scroll_into_view_if_needed()
        expect(picture).to_have_js_property("naturalWidth", 720)
    if tab in {"summary", "parallel", "scatter"}:
        expect(page.locator("main table").first).to_contain_text(runs[1].name)
    expect(page.locator("nav.tabs a[aria-current]")).to_have_count(1)


def test_runs_are_found_without_javascript(open_site_page, sweep):
    runs = sweep(3)
    page = open_site_page(java_script_enabled=False, **ENGLISH)
    page.goto(address(runs[:2], tab="summary"))

    page.locator("summary", has_text="Add runs").click()
    page.get_by_role("searchbox", name="Name or ID of a run").fill(runs[2].name)
    page.get_by_role("button", name="Search").click()
    found(page, runs[2]).click()

    expect(page.locator(".chip")).to_have_count(3)
    assert "tab=summary" in page.url


def test_columns_of_a_scatter_plot_are_chosen_without_javascript(open_site_page, sweep):
    page = open_site_page(java_script_enabled=False, **ENGLISH)
    page.goto(address(sweep(3), tab="scatter"))

    page.locator("select[name=xcolumn]").select_option("params.batch_size")
    page.get_by_role("button", name="Show").click()

    expect(page.get_by_role("columnheader", name="batch_size")).to_be_visible()
    expect(page.locator("table.plotted tbody tr").nth(1)).to_contain_text("32")


@pytest.mark.parametrize("tab", ["curves", "differences", "summary", "parallel", "scatter", "code"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_a_phone(open_site_page, tab, scheme, sweep):
    page = open_site_page(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    page.goto(address(sweep(4), tab=tab))

    expect(page.locator(".chip").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
