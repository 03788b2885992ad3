"""A project's runs in a browser: columns, filter with completion, groups, selection, views."""

from urllib.parse import parse_qs

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from metrics.points import Point, Points
from metrics.recording import record_points
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

LOSSES = {"low": 1.0, "middle": 2.0, "high": 3.0}


@pytest.fixture
def url(live_server):
    """Three ended runs: low, middle, high; their learning rates are a tenth of their losses."""
    project = ProjectFactory()
    for name, loss in LOSSES.items():
        run = RunFactory(
            project=project,
            name=name,
            status=RunStatus.RUNNING,
            hyperparameters={"lr": loss / 10, "optimizer": "lion" if loss == 2 else "adamw"},
        )
        record_points(run.pk, Points.of([Point("eval/loss", 1, loss, 1_700_000_000_000)]))
        run.transition(RunStatus.COMPLETED)
    return f"/dashboard/projects/{project.pk}"


def names(page: Page) -> list[str]:
    return page.locator("#run-rows tbody th a").all_inner_texts()


def select(page: Page, *chosen: str) -> None:
    for name in chosen:
        page.get_by_label(f"选择 {name}").check()


# --- columns and order -----------------------------------------------------------------------


def test_columns_are_chosen_from_the_menu(page, url):
    page.goto(url)

    page.locator("summary", has_text="列").click()
    page.locator("input[name=columns][value=step]").check()
    page.locator("input[name=columns][value=status]").uncheck()
    page.locator("#more-columns").fill("max.eval/loss")
    page.locator(".columns-panel button.primary").click()

    heads = page.locator("#run-rows thead th")
    expect(heads.filter(has_text="步数")).to_be_visible()
    expect(heads.filter(has_text="eval/loss")).to_have_count(2)
    expect(heads.filter(has_text="状态")).to_have_count(0)
    page.locator("summary", has_text="列").click()
    page.get_by_role("button", name="默认的列").click()
    expect(heads.filter(has_text="状态")).to_have_count(1)


def test_head_sorts_by_its_column_and_the_other_way_round(page, url):
    page.goto(url)

    page.get_by_role("link", name="eval/loss").click()
    up = names(page)
    page.get_by_role("link", name="eval/loss").click()
    expect(page.locator("th[aria-sort=descending]")).to_have_count(1)

    assert up == ["low", "middle", "high"]
    assert names(page) == ["high", "middle", "low"]


def test_address_shows_the_same_in_another_browser(open_page, page, url):
    page.goto(url)
    page.locator("#filter").fill("params.lr < 0.25")
    page.keyboard.press("Enter")
    page.get_by_role("link", name="eval/loss").click()
    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)

    elsewhere = open_page()
    elsewhere.goto(page.url)

    assert names(elsewhere) == names(page) == ["low", "middle"]


# --- filter ----------------------------------------------------------------------------------


def test_filter_is_completed_by_keyboard_alone(page, url):
    page.goto(url)

    page.keyboard.press("/")
    page.keyboard.type("evallo")
    options = page.locator("#filter-options [role=option]")
    expect(options.first).to_contain_text("metrics.eval/loss")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#filter")).to_have_value("metrics.eval/loss ")
    expect(options.filter(has_text="<=")).to_be_visible()
    page.keyboard.type("< ")
    page.keyboard.type("2.5 ")
    expect(options.first).to_have_text("and")
    page.keyboard.type("and status = ")
    expect(options.filter(has_text="已完成")).to_be_visible()
    page.keyboard.type('"已完')
    expect(options).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    expect(page.locator("#filter")).to_have_value('metrics.eval/loss < 2.5 and status = "已完成" ')
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")

    expect(page.locator("#run-rows tbody tr")).to_have_count(2)
    assert names(page) == ["middle", "low"]


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


def test_plain_filters_work_beside_the_language(page, url):
    page.goto(url)

    page.get_by_label("名称").fill("iddl")
    page.get_by_role("button", name="筛选").click()

    expect(page.locator("#run-rows tbody tr")).to_have_count(1)
    page.get_by_role("link", name="清除").click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(3)


# --- groups ----------------------------------------------------------------------------------


def test_group_shows_the_mean_and_opens_its_runs(page, url):
    page.goto(url)

    page.locator("summary", has_text="分组").click()
    page.locator(".menu-panel").get_by_role("link", name="optimizer").click()

    adamw = page.locator("tbody tr", has_text="adamw")
    expect(adamw).to_contain_text("2.000 ± 1.414")
    adamw.get_by_role("link").click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(2)
    expect(page.locator("#filter")).to_have_value('params.optimizer = "adamw"')


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
    expect(page.locator("tr.selected")).to_have_count(3)
    page.locator("[data-select-all]").uncheck()

    expect(compare).to_be_disabled()


def test_selected_runs_are_compared(page, url):
    page.goto(url)
    select(page, "low", "high")
    page.route("**/selected", lambda route: route.fulfill(body="sent"))

    with page.expect_request("**/selected") as sent:
        page.keyboard.press("c")

    fields = parse_qs(sent.value.post_data)
    ids = dict(Run.objects.values_list("name", "pk"))
    assert (fields["action"], fields["runs"]) == (["compare"], [ids["high"], ids["low"]])


def test_selected_runs_are_tagged_by_enter(page, url):
    page.goto(url)
    select(page, "low", "high")

    page.locator("summary", has_text="打标签").click()
    page.locator("#tag-key").fill("team")
    page.locator("#tag-value").fill("nlp")
    page.locator("#tag-value").press("Enter")
    expect(page.locator(".message.success")).to_be_visible()

    tagged = Run.objects.filter(tags__team="nlp").values_list("name", flat=True)
    assert sorted(tagged) == ["high", "low"]


def test_runs_are_archived_and_listed_again_by_undo(page, url):
    page.goto(url)
    select(page, "middle")

    page.get_by_role("button", name="归档").click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(2)
    page.get_by_role("button", name="撤销").click()

    expect(page.locator("#run-rows tbody tr")).to_have_count(3)


def test_deleted_runs_come_back_by_undo(page, url):
    page.goto(url)
    select(page, "low", "middle", "high")

    page.get_by_role("button", name="删除").click()
    expect(page.locator("#run-rows")).to_have_count(0)
    page.get_by_role("button", name="撤销").click()

    expect(page.locator("#run-rows tbody tr")).to_have_count(3)


def test_cancel_asks_first(page, url):
    project = Run.objects.get(name="low").project
    RunFactory(project=project, name="queued")
    page.goto(url)
    select(page, "queued")

    page.locator("summary", has_text="取消").click()
    page.get_by_role("button", name="取消所选运行").click()
    expect(page.locator(".message.success")).to_be_visible()

    assert Run.objects.get(name="queued").status == RunStatus.CANCELLED


def test_new_runs_are_counted_and_move_nothing(page, url):
    page.goto(url)
    select(page, "middle")
    before = names(page)

    RunFactory(project=Run.objects.get(name="low").project, name="fresh")
    expect(page.locator("#new-runs")).to_contain_text("1")

    assert names(page) == before
    expect(page.locator("tr.selected")).to_have_count(1)
    page.locator("#new-runs a").click()
    expect(page.locator("#run-rows tbody tr")).to_have_count(4)


# --- views -----------------------------------------------------------------------------------


def signed_in(page: Page, name: str) -> Page:
    User.objects.create_user(name, password="a long secret")
    page.goto("/login")
    page.locator("input[name=username]").fill(name)
    page.locator("input[name=password]").fill("a long secret")
    page.locator("main button[type=submit]").click()
    page.wait_for_url("**/dashboard**")
    return page


def test_shared_view_shows_another_user_the_same_table(open_page, settings, url):
    settings.OPEN_MODE = False
    ada, bob = (signed_in(open_page(), name) for name in ("ada", "bob"))
    ada.goto(f"{url}?filter=params.lr+%3C+0.25&sort=name&columns=params.lr")
    ada.locator("summary", has_text="视图").click()
    ada.locator("#new-view-name").fill("small rates")
    ada.locator("form", has=ada.locator("#new-view-name")).get_by_label("与所有人共享").check()
    ada.get_by_role("button", name="保存视图").click()
    expect(ada.locator("summary", has_text="small rates")).to_be_visible()

    bob.goto(url)
    bob.locator("summary", has_text="视图").click()
    bob.get_by_role("link", name="small rates").click()

    expect(bob.locator("#run-rows tbody tr")).to_have_count(2)
    assert names(bob) == names(ada) == ["low", "middle"]
    expect(bob.locator("#filter")).to_have_value("params.lr < 0.25")


# --- without JavaScript, and on a phone ------------------------------------------------------


def test_table_works_without_javascript(open_page, url):
    page = open_page(java_script_enabled=False)
    page.goto(url)

    page.locator("#filter").fill("params.lr > 0.15")
    page.get_by_role("button", name="筛选").click()
    page.get_by_role("link", name="eval/loss").click()
    assert names(page) == ["middle", "high"]
    select(page, "middle")
    page.get_by_role("button", name="归档").click()
    assert names(page) == ["high"]
    page.get_by_role("button", name="撤销").click()
    assert names(page) == ["middle", "high"]
    page.locator("summary", has_text="列").click()
    page.locator("input[name=columns][value=model]").check()
    page.locator(".columns-panel button.primary").click()

    expect(page.locator("#run-rows thead")).to_contain_text("模型")
    expect(page.locator("#filter")).to_have_value("params.lr > 0.15")


def test_name_stays_in_sight_on_a_phone(open_page, url):
    page = open_page(viewport={"width": 360, "height": 740})
    page.goto(url)
    table = page.locator("#run-rows")

    table.evaluate("it => { it.scrollLeft = it.scrollWidth; }")

    expect(page.get_by_role("link", name="low", exact=True)).to_be_in_viewport()
    assert table.evaluate("it => it.scrollLeft") > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


# --- the chart above the table ---------------------------------------------------------------


def test_dot_switches_the_curve_of_its_run_on_and_off(page, url):
    page.goto(url)
    low = page.locator(".curve-switch[data-name=low]")

    low.click()

    chart = page.locator("#run-curves .chart")
    expect(chart.locator("canvas")).to_be_visible()
    expect(chart.locator(".chart-title")).to_have_text("eval/loss")
    expect(low).to_have_attribute("aria-pressed", "true")
    low.click()
    expect(chart).to_be_hidden()
    assert "curves" not in page.url


def test_address_keeps_which_curves_are_on(page, url):
    ids = list(Run.objects.filter(name__in=["low", "high"]).values_list("pk", flat=True))
    page.goto(f"{url}?curves={','.join(ids)},run_unknown")
    expect(page.locator("#run-curves canvas")).to_be_visible()
    expect(page.locator(".curve-switch[aria-pressed=true]")).to_have_count(2)

    page.get_by_role("link", name="eval/loss").click()

    expect(page.locator("th[aria-sort=ascending]")).to_have_count(1)
    expect(page.locator(".curve-switch[aria-pressed=true]")).to_have_count(2)
