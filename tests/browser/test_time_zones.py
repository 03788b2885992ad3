"""Two clocks: a page in Shanghai and the API name the same instants."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import expect

from logs.appending import append_log
from logs.lines import Line
from tests.factories import running

pytestmark = [pytest.mark.browser, pytest.mark.django_db(serialized_rollback=True)]

AT = datetime(2026, 11, 29, 22, 7, 26, 123_000, tzinfo=UTC)  # the next day in Shanghai


@pytest.fixture
def page(open_page):
    return open_page(timezone_id="Asia/Shanghai")


@pytest.fixture
def run(live_server):
    run = running(started_at=AT, worker=None)
    lines = [Line.new(f"line {n}", timestamp=AT + timedelta(hours=n)) for n in range(3)]
    append_log(run, lines)
    return run


def test_page_in_shanghai_and_the_api_name_the_same_instant(page, run):
    answer = page.request.get(f"/projects/{run.project_id}/runs/{run.pk}").json()
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")

    started = page.locator("#run-live time").first
    expect(started).to_have_text("2026-11-30 06:07:26 UTC+8")
    shown = started.inner_text().replace("UTC+8", "+0800")
    told = datetime.fromisoformat(answer["started_at"]).replace(microsecond=0)
    assert datetime.strptime(shown, "%Y-%m-%d %H:%M:%S %z") == told
    expect(page.locator("#log time").first).to_have_text("06:07:26.123")
    expect(page.locator("#log time").first).to_have_attribute("title", "2026-11-30 06:07:26 UTC+8")
    expect(page.locator(".log-section")).to_contain_text("Asia/Shanghai (UTC+8)")


def test_times_that_come_later_are_in_the_browsers_zone_too(page, run):
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")
    expect(page.locator("#log time")).to_have_count(3)

    append_log(type(run).objects.get(pk=run.pk), [Line.new("late", timestamp=AT)])

    expect(page.locator("#log time")).to_have_count(4)
    expect(page.locator("#log time").last).to_have_text("06:07:26.123")
    expect(page.locator("time[data-show]")).to_have_count(0)


def test_times_of_a_search_are_entered_in_the_browsers_zone(page, run):
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}/log")

    page.get_by_label(re.compile("起始时间（Asia/Shanghai）")).fill("2026-11-30T07:00:30")
    page.get_by_role("button", name="筛选").click()

    expect(page.locator("#main .line .text")).to_have_text(["line 1", "line 2"])
    expect(page.get_by_label(re.compile("起始时间"))).to_have_value("2026-11-30T07:00:30")
