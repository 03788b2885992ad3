"""A project's runs in a browser, those of the demo data: columns, order, filter with completion,
groups, selection. What changes runs: test_run_actions.py."""

from urllib.parse import parse_qs

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.site import Site

pytestmark = pytest.mark.browser

BEST = "sft-lr1e-4-bs128-w100"


@pytest.fixture
def page(open_site_page) -> Page:
    return open_site_page()


@pytest.fixture
def url(site: Site) -> str:
    """A sweep of forty runs, and a few others."""
    return site.project("tuning")


def rows(page: Page) -> Locator:
    return page.locator("#run-rows tbody tr")


def names(page: Page) -> list[str]:
    return page.locator("#run-rows tbody th a").evaluate_all(
        "(links) => links.map((link) => link.getAttribute('aria-label') ?? link.textContent)"
    )


def head(page: Page, name: str) -> Locator:
    return page.locator("#run-rows thead th", has_text=name).first.get_by_role("link")


# --- columns and order -----------------------------------------------------------------------


def test_columns_are_chosen_from_the_menu(page, url):
    page.goto(url)

    page.locator("summary", has_text="列").click()
    page.locator("input[name=columns][value=step]").check()
    page.locator("input[name=columns][value=status]").uncheck()
    page.locator("#more-columns").fill("max.eval_loss")
    page.locator(".columns-panel button.primary").click()

    heads = page.locator("#run-rows thead th")
    expect(heads.filter(has_text="步")).to_be_visible()
    expect(heads.filter(has_text="eval_loss")).to_have_count(2)
    expect(heads.filter(has_text="状态")).to_have_count(0)
    page.locator("summary", has_text="列").click()
    page.get_by_role("button", name="默认的列").click()
    expect(heads.filter(has_text="状态")).to_have_count(1)


def test_head_sorts_by_its_column_and_the_other_way_round(page, url):
    page.goto(url)

    head(page, "eval_loss").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    assert names(page)[0] == BEST
    head(page, "eval_loss").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)

    assert names(page)[0] != BEST


def test_address_shows_the_same_in_another_browser(open_site_page, page, url):
    page.goto(url)
    page.locator("#filter").fill("params.learning_rate < 0.0001")
    page.keyboard.press("Enter")
    page.wait_for_url("**filter=**")
    head(page, "eval_loss").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)

    elsewhere = open_site_page()
    elsewhere.goto(page.url)

    assert names(elsewhere) == names(page) != []


# --- filter ----------------------------------------------------------------------------------


def test_filter_is_completed_by_keyboard_alone(page, url):
    page.goto(url)

    page.keyboard.press("/")
    page.keyboard.type("evallo")
    options = page.locator("#filter-options [role=option]")
    expect(options.first).to_contain_text("metrics.eval_loss")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#filter")).to_have_value("metrics.eval_loss ")
    expect(options.filter(has_text="<=")).to_be_visible()
    page.keyboard.type("< ")
    page.keyboard.type("1.25 ")
    expect(options.first).to_have_text("and")
    page.keyboard.type("and status = ")
    expect(options.filter(has_text="已完成")).to_be_visible()
    page.keyboard.type('"已完')
    expect(options).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(page.locator("#filter")).to_have_value('metrics.eval_loss < 1.25 and status = "已完成" ')
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")

    page.wait_for_url("**filter=**")
    assert BEST in names(page)
    assert len(names(page)) < 20


def test_completion_tells_screen_readers_where_it_is(page, url):
    page.goto(url)
    field = page.get_by_role("combobox", name="筛选")

    field.press_sequentially("params")
    expect(field).to_have_attribute("aria-expanded", "true")
    field.press("ArrowDown")
    active = field.get_attribute("aria-activedescendant")

    expect(page.locator(f"#{active}")).to_have_attribute("aria-selected", "true")
    field.press("Escape")
    expect(field).to_have_attribute("aria-expanded", "false")


def test_error_in_the_filter_points_at_its_place(page, url):
    page.goto(url)

    page.locator("#filter").fill("step > 1 and nonsense = 2")
    page.keyboard.press("Enter")

    expect(page.locator("#filter-error mark")).to_have_text("nonsense")
    expect(page.locator("#filter-error")).to_contain_text("14")
    expect(page.locator("#filter")).to_have_attribute("aria-invalid", "true")


def test_times_that_are_typed_get_the_offset_of_the_reader(open_site_page, url):
    page = open_site_page(timezone_id="Asia/Shanghai")
    page.goto(url)

    page.locator("#filter").fill('created > "2020-11-01" and started >= "2020-11-28T10:00"')
    page.keyboard.press("Enter")

    page.wait_for_url("**filter=**")
    expect(page.locator("#filter")).to_have_value(
        'created > "2020-11-01+08:00" and started >= "2020-11-28T10:00+08:00"'
    )
    expect(rows(page).first).to_be_visible()


def test_example_of_the_help_is_taken_by_a_click(page, url):
    page.goto(url)

    page.locator(".filter-help summary").click()
    expect(page.locator(".filter-help li a")).to_have_count(5)
    page.locator(".filter-help li a").first.click()

    expect(page.locator("#filter")).to_have_value("metrics.eval_loss < 2")
    expect(page.locator("#filter-error")).to_have_count(0)


def test_plain_filters_work_beside_the_language(page, url):
    page.goto(url)
    every = rows(page).count()

    page.get_by_label("名称").fill("bs128-w100")
    page.get_by_role("button", name="筛选", exact=True).click()

    expect(rows(page)).to_have_count(5)
    page.get_by_role("link", name="清除").click()
    expect(rows(page)).to_have_count(every)


# --- groups ----------------------------------------------------------------------------------


def test_group_shows_the_mean_and_opens_its_runs(page, url):
    page.goto(url)

    page.locator("summary", has_text="分组").click()
    page.locator(".menu-panel").get_by_role("link", name="batch_size").click()

    group = page.locator("tbody tr", has=page.get_by_role("link", name="16", exact=True))
    expect(group).to_contain_text("±")
    group.get_by_role("link").click()
    expect(page.locator("#filter")).to_have_value("params.batch_size = 16")
    expect(rows(page).first).to_be_visible()


# --- selection -------------------------------------------------------------------------------


def test_rows_are_selected_by_key_range_and_all_at_once(page, url):
    page.goto(url)
    count = page.locator("[data-count]")
    compare = page.get_by_role("button", name="对比")
    expect(compare).to_be_disabled()

    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(count).to_contain_text("1")
    page.locator("input[name=runs]").nth(2).click(modifiers=["Shift"])
    expect(page.locator("tr.selected")).to_have_count(3)
    page.locator("input[name=runs]").nth(1).uncheck()
    expect(count).to_contain_text("2")
    page.locator("[data-select-all]").check()
    expect(page.locator("tr.selected")).to_have_count(rows(page).count())
    page.locator("[data-select-all]").uncheck()

    expect(compare).to_be_disabled()


def test_selected_runs_are_compared(page, url, site):
    page.goto(url)
    chosen = names(page)[1:3]
    for name in chosen:
        page.get_by_label(f"选择 {name}", exact=True).check()
    page.route("**/selected", lambda route: route.fulfill(body="sent"))

    with page.expect_request("**/selected") as sent:
        page.keyboard.press("c")

    fields = parse_qs(sent.value.post_data)
    assert fields["action"] == ["compare"]
    assert fields["runs"] == [site.runs[name] for name in chosen]


# --- on a phone ------------------------------------------------------------------------------


def test_name_stays_in_sight_on_a_phone(open_site_page, url):
    page = open_site_page(viewport={"width": 360, "height": 740})
    page.goto(url)
    table = page.locator("#run-rows")

    table.evaluate("it => { it.scrollLeft = it.scrollWidth; }")

    expect(rows(page).first.get_by_role("link")).to_be_in_viewport()
    assert table.evaluate("it => it.scrollLeft") > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# --- the chart above the table ---------------------------------------------------------------


def test_dot_switches_the_curve_of_its_run_on_and_off(page, url):
    page.goto(url)
    switch = page.locator(".curve-switch").last  # of the oldest run, which has ended

    switch.click()

    chart = page.locator("#run-curves .chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart.locator(".chart-title")).to_have_text("eval_loss")
    expect(switch).to_have_attribute("aria-pressed", "true")
    switch.click()
    expect(chart).to_be_hidden()
    assert "curves" not in page.url


def test_address_keeps_which_curves_are_on(page, url):
    page.goto(url)
    page.locator(".curve-switch").last.click()
    page.locator(".curve-switch").nth(-2).click()
    page.wait_for_url("**curves=**")

    page.reload()

    expect(page.locator("#run-curves canvas")).to_be_visible()
    expect(page.locator(".curve-switch[aria-pressed=true]")).to_have_count(2)
    head(page, "eval_loss").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    expect(page.locator(".curve-switch[aria-pressed=true]")).to_have_count(2)
