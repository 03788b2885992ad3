"""A training run in the browser, from creating a project to tagging a checkpoint."""

import re

import pytest
from playwright.sync_api import Page, expect

from artifacts.models import Artifact
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, running
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.processes,
    pytest.mark.browser,
    # The server and worker threads see only committed data.
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


def create_project(page: Page) -> None:
    page.goto("/dashboard/projects")
    page.get_by_role("link", name="新建项目").click()
    page.get_by_label("名称").fill("中文摘要系统")
    page.get_by_label("任务类型").fill("文本摘要")
    page.get_by_label("负责人").fill("小李")
    page.get_by_label("学习率").fill("3e-5")
    page.get_by_role("button", name="创建项目").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("中文摘要系统")


def start_run(page: Page, steps: int) -> None:
    page.get_by_role("link", name="新建运行").click()
    page.get_by_label("数据集").fill("中文科技论文语料")
    page.get_by_label("最大步数").fill(str(steps))
    page.get_by_role("button", name="开始运行").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-001")


def cancel_run(page: Page) -> None:
    page.locator("summary", has_text="取消").click()
    page.get_by_role("button", name="取消此运行").click()
    expect(page.locator("#run-live .badge").first).to_have_text("已取消")


DRAWN = "Number(document.querySelector('.chart .chart-at')?.textContent.replace(/\\D/g, '') ?? 0)"


def last_step_drawn(page: Page) -> int:
    """Return the last step in the first chart (the losses), as shown in its legend."""
    return page.evaluate(DRAWN)


def wait_until_drawn_beyond(page: Page, step: int) -> None:
    wait_until(lambda: last_step_drawn(page) > step)


def open_checkpoints(page: Page) -> None:
    page.locator(".tabs").get_by_role("link", name="检查点").click()


def tag_kept_checkpoint(page: Page, tag: str, notes: str) -> None:
    """Tag the checkpoint that the cancelled run has kept, and leave its page open."""
    open_checkpoints(page)
    kept = page.locator("#run-artifacts tr", has_text="取消前的检查点")
    kept.get_by_role("link", name="打标签").click()
    form = page.locator("#tag")
    form.get_by_label("标签").select_option(tag)
    form.get_by_label("备注").fill(notes)
    form.get_by_role("button", name="标记检查点").click()
    expect(form.locator(".badge")).to_have_text(tag)
    expect(form.locator(".tags")).to_contain_text(notes)


def test_training_from_project_to_tagged_checkpoint(page, worker):
    create_project(page)
    start_run(page, steps=2000)

    # The chart and the log grow while the page is open.
    expect(page.locator("#run-live .badge").first).to_have_text("运行中")
    chart = page.locator(".chart", has_text="loss")
    expect(chart.locator("canvas")).to_be_visible()
    before, lines_before = last_step_drawn(page), page.locator("#log .line").count()
    wait_until_drawn_beyond(page, before)
    expect(page.locator("#log .line").nth(lines_before)).to_be_attached()
    open_checkpoints(page)
    expect(page.locator("#run-artifacts")).to_contain_text("第 100 步检查点")

    cancel_run(page)
    tag_kept_checkpoint(page, "发布", "验证集通过复核")
    page.get_by_role("link", name="恢复训练").click()
    page.get_by_label("名称").fill("second")
    page.get_by_role("button", name="恢复训练").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("second")
    expect(page.locator("#run-live .badge").first).to_have_text("运行中")
    source = Run.objects.get(name="run-001")
    resumed = Run.objects.get(name="second")
    assert resumed.start_step == source.step > 0
    wait_until_drawn_beyond(page, resumed.start_step)


def test_polling_stops_when_the_run_ends(page, worker):
    page.clock.install()
    run = RunFactory(hyperparameters={"max_steps": 40}, total_steps=40)
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")

    expect(page.locator("#run-live .badge").first).to_have_text("已完成")
    expect(page.locator("#run-live[data-live]")).to_have_count(0)
    expect(page.get_by_role("link", name="再次运行")).to_be_visible()
    requested = []
    page.on("request", lambda request: requested.append(request.url))
    page.clock.fast_forward(60_000)

    assert page.evaluate("document.hidden") is False  # a hidden page asks for nothing anyway
    assert [url for url in requested if "/live?" in url] == []


def test_new_points_do_not_recreate_charts(page, worker):
    run = RunFactory(hyperparameters={"max_steps": 2000}, total_steps=2000)
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")
    rate = page.locator(".chart", has_text="learning_rate")
    expect(rate.locator("canvas")).to_be_visible()

    rate.locator("canvas").evaluate("canvas => { canvas.dataset.mark = 'same'; }")
    wait_until_drawn_beyond(page, last_step_drawn(page))

    expect(rate.locator("canvas[data-mark=same]")).to_have_count(1)


def test_open_panel_survives_a_refresh(page, worker):
    run = RunFactory(hyperparameters={"max_steps": 2000}, total_steps=2000)
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}/checkpoints")
    page.locator("summary", has_text="取消").click()
    button = page.get_by_role("button", name="取消此运行")
    expect(button).to_be_visible()

    expect(page.locator("#run-artifacts")).to_contain_text("第 100 步检查点")

    expect(button).to_be_visible()


def test_log_can_be_paused(page, worker):
    run = RunFactory(hyperparameters={"max_steps": 2000}, total_steps=2000)
    page.goto(f"/dashboard/projects/{run.project_id}/runs/{run.pk}")
    lines = page.locator("#log .line")
    expect(lines.nth(2)).to_be_attached()

    page.locator("#log-pause").click()  # not the run
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    for _ in range(2):  # news that the log would follow
        with page.expect_response(lambda answer: "/live?" in answer.url and answer.status == 200):
            pass
    assert [url for url in asked if "/tail?" in url] == []
    paused_at = lines.count()
    page.locator("#log-pause").click()

    expect(lines.nth(paused_at)).to_be_attached()


def test_language_can_be_switched_on_any_page(page):
    project = ProjectFactory(name="Summaries")
    page.goto(f"/dashboard/projects/{project.pk}")

    page.get_by_text("显示", exact=True).click()
    page.get_by_role("button", name="English").click()

    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.get_by_role("link", name="New run")).to_be_visible()
    expect(page).to_have_url(re.compile(project.pk))
    page.get_by_text("Display", exact=True).click()
    page.get_by_role("button", name="中文").click()
    expect(page.get_by_role("link", name="新建运行")).to_be_visible()


def test_everything_works_without_javascript(open_page, worker):
    page = open_page(java_script_enabled=False)
    create_project(page)
    start_run(page, steps=2000)
    run = Run.objects.get()

    open_checkpoints(page)
    wait_until(lambda: run.artifacts.checkpoints().exists())
    page.reload()  # as a person does without JavaScript
    expect(page.locator("#run-artifacts")).to_contain_text("第 100 步检查点")
    page.locator(".tabs").get_by_role("link", name="图表").click()
    page.locator("#run-metrics summary").click()
    expect(page.locator("#run-metrics")).to_contain_text("train_loss")
    expect(page.locator("noscript img").first).to_be_visible()
    expect(page.locator("#log .line").first).to_contain_text("开始训练")
    cancel_run(page)
    tag_kept_checkpoint(page, "候选", "复核")
    page.get_by_role("link", name="恢复训练").click()
    page.get_by_role("button", name="恢复训练").click()
    expect(page.locator("#run-live .badge").first).to_have_text("运行中")
    page.get_by_text("显示", exact=True).click()
    page.get_by_role("button", name="English").click()
    expect(page.locator("#run-live .badge").first).to_have_text("Running")

    resumed = Run.objects.exclude(pk=run.pk).get()
    assert resumed.resumed_from_id == Artifact.objects.get(tags__value="候选").pk


def test_a_long_name_leaves_the_other_columns_in_sight(open_page):
    page = open_page(viewport={"width": 1280, "height": 844})
    run = RunFactory(name="r" * 200, model="m" * 200, project__name="p" * 200)

    running(name="r" * 200, project=run.project)
    project = f"/dashboard/projects/{run.project_id}"
    for path in ("/dashboard", "/dashboard/projects", project, "/dashboard/workers"):
        page.goto(path)
        assert page.locator(".table").last.evaluate("it => it.scrollWidth - it.clientWidth") == 0


def test_no_page_is_wider_than_the_viewport(page):
    run = RunFactory(name="r" * 120, dataset="d" * 300, hyperparameters={"k" * 200: "v" * 300})
    run.transition(RunStatus.FAILED, reason="x" * 400)
    project = f"/dashboard/projects/{run.project_id}"

    paths = [
        "/dashboard",
        "/dashboard/projects",
        "/dashboard/activity",
        project,
        f"{project}/edit",
        f"{project}/runs/new",
    ]
    tabs = ("", "/log", "/checkpoints", "/configuration", "/lineage", "/events", "/describe")
    paths += [*(f"{project}/runs/{run.pk}{tab}" for tab in tabs), "/dashboard/workers"]
    too_wide = []
    for path in paths:
        page.goto(path)
        for width in (390, 1440):
            page.set_viewport_size({"width": width, "height": 844})
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                too_wide.append((path, width))

    assert too_wide == []
