"""The first page, the queue and the activity in a browser."""

import re

import pytest
from playwright.sync_api import expect

from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import FailureKind
from runs.status import RunStatus
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    running,
    unmanaged_run,
)

pytestmark = [pytest.mark.browser, pytest.mark.django_db(serialized_rollback=True)]

NARROW = {"width": 360, "height": 800}


@pytest.fixture
def busy(live_server):
    """One run at work, one that waits, one that has failed."""
    project = ProjectFactory(name="Summaries")
    GpuPoolFactory(gpu_type="A100", capacity=8)
    ada = UserFactory(username="ada")
    worker = WorkerFactory(name="gpu-01")
    run = running(
        worker, project=project, name="at-work", created_by=ada, gpu_type="A100", gpu_count=6
    )
    record_metrics(run, [Point("train_loss", step, 3.0 / step, 0) for step in range(1, 40)])
    RunFactory(project=project, name="in-the-queue", gpu_type="A100", gpu_count=4)
    failed = RunFactory(project=project, name="was-failing", status=RunStatus.RUNNING)
    failed.transition(
        RunStatus.FAILED, reason="CUDA out of memory", failure_kind=FailureKind.OUT_OF_MEMORY
    )
    return run


def test_what_runs_waits_and_has_failed_is_one_click_away(page, busy):
    for name in ("at-work", "in-the-queue", "was-failing"):
        page.goto("/dashboard")
        page.locator("#main").get_by_role("link", name=name).first.click()
        expect(page).to_have_url(re.compile(r"/runs/run_"))


def test_home_shows_a_new_run_by_itself(page, busy):
    page.goto("/dashboard")
    expect(page.locator("#home-running tbody tr")).to_have_count(1)

    unmanaged_run(name="just-started", project=busy.project)

    expect(page.locator("#home-running").get_by_role("link", name="just-started")).to_be_visible()


def test_reasons_are_read_on_a_phone(open_page, busy):
    page = open_page(viewport=NARROW)

    page.goto("/dashboard/workers")

    reason = page.locator("#cluster-queue .reason-cell")
    expect(reason).to_be_visible()
    box = reason.bounding_box()
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= 360


@pytest.mark.parametrize("scripts", [True, False])
def test_priority_and_cancel_from_the_queue(open_page, busy, scripts):
    page = open_page(java_script_enabled=scripts)
    page.goto("/dashboard/workers")
    row = page.locator("#cluster-queue tbody tr")

    row.locator("details.menu > summary").click()
    row.locator("input[name=priority]").fill("7")
    row.locator("details.menu button[type=submit]").click()
    expect(row.locator("td.n").nth(1)).to_have_text("7")

    row.locator("details.confirm > summary").click()
    row.locator("details.confirm button[type=submit]").click()
    expect(page.locator("#cluster-queue tbody tr")).to_have_count(0)


def test_worker_is_drained_and_undrained(page, busy):
    page.goto("/dashboard/workers")
    row = page.locator("#cluster-workers tbody tr")

    row.get_by_role("button").click()
    expect(row.locator(".badge-stopping")).to_be_visible()
    row.get_by_role("button").click()

    expect(row.locator(".badge-alive")).to_be_visible()


def test_activity_is_filtered_by_person(page, busy):
    busy.note("deleted", by=busy.created_by)
    page.goto("/dashboard/activity")

    page.locator("select[name=person]").select_option(label="ada")
    page.locator("#main form button[type=submit]").click()

    expect(page.locator("#main .events li")).to_have_count(1)
    expect(page.locator("#main .events li")).to_contain_text("at-work")
    expect(page).to_have_url(re.compile("person="))


def test_home_without_scripts_is_complete(open_page, busy):
    page = open_page(java_script_enabled=False)

    page.goto("/dashboard")

    expect(page.locator("#home-running tbody tr")).to_have_count(1)
    expect(page.locator("#home-running svg.spark")).to_be_visible()
    expect(page.locator("#home-lists section")).to_have_count(5)
