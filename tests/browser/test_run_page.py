"""The page of a run: its tabs, its log, what people write about it, its files."""

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, expect

from artifacts.uploads import store
from core.times import milliseconds
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
from runs.status import RunStatus
from tests.factories import RunFactory, checkpoint, unmanaged_run
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)
TABS = {
    "日志": "/log",
    "检查点": "/checkpoints",
    "配置": "/configuration",
    "血缘": "/lineage",
    "事件": "/events",
    "图表": "",
}


def url_of(run: Run, part: str = "") -> str:
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}{part}"


@pytest.fixture
def run(live_server) -> Run:
    """An ended run with 600 log lines, one of them an error, and a metric."""
    run = unmanaged_run(name="run-001", started_at=START)
    for first, last, level in ((1, 399, "INFO"), (400, 400, "ERROR"), (401, 600, "INFO")):
        lines = [
            Line.new(f"line {n}", level, timestamp=START + timedelta(seconds=n))
            for n in range(first, last + 1)
        ]
        append_log(run, lines)
    ms = milliseconds(START)
    record_metrics(run, [Point("loss", step, 1.0, ms + 10_000 * step) for step in range(1, 60)])
    run.transition(RunStatus.FAILED, reason="Out of memory.", failure_kind="out_of_memory")
    return run


def test_each_tab_has_an_address_of_its_own_without_javascript(open_page, run):
    page = open_page(java_script_enabled=False)
    page.goto(url_of(run))

    for name, part in TABS.items():
        page.locator(".tabs").get_by_role("link", name=name).click()
        expect(page).to_have_url(re.compile(re.escape(url_of(run, part)) + "$"))
        expect(page.locator(".tabs [aria-current=page]")).to_have_text(name)
        expect(page.get_by_role("heading", level=1)).to_have_text("run-001")


def test_line_of_a_filtered_log_opens_among_its_neighbors(page: Page, run):
    page.goto(url_of(run, "/log"))
    page.get_by_label("级别").select_option("ERROR")
    page.get_by_role("button", name="筛选").click()
    expect(page.locator(".line")).to_have_count(1)

    page.locator(".line a.seq").click()

    marked = page.locator(".line.marked")
    expect(marked).to_contain_text("line 400")
    expect(marked).to_be_in_viewport()
    expect(page.locator("#line-399")).to_contain_text("line 399")


def test_failed_run_leads_to_its_last_error(page: Page, run):
    page.goto(url_of(run))

    page.get_by_role("link", name="日志中的最后一个错误").click()

    expect(page.locator(".line.marked")).to_contain_text("line 400")
    expect(page.locator(".line.marked")).to_be_in_viewport()


def test_docked_log_jumps_to_a_step_and_stays_on_the_page(page: Page, run):
    page.goto(url_of(run))

    page.get_by_label("步数或时间").fill("20")
    page.get_by_role("button", name="跳转").click()

    expect(page.locator("#log .marked")).to_contain_text("line 200")
    expect(page.locator("#log .marked")).to_be_in_viewport()
    expect(page).to_have_url(re.compile(f"{run.pk}$"))


def test_jump_works_without_javascript(open_page, run):
    page = open_page(java_script_enabled=False)
    page.goto(url_of(run))

    page.get_by_label("步数或时间").fill("2024-01-02 10:03:20")
    page.get_by_role("button", name="跳转").click()

    expect(page.locator(".line.marked")).to_contain_text("line 200")


def test_run_is_renamed_noted_and_tagged(page: Page, run):
    page.goto(url_of(run))
    page.get_by_role("link", name="名称、备注、标签").click()
    page.get_by_label("名称").fill("best")
    page.get_by_label("备注").fill("**good** <b>x</b>")
    page.get_by_label("标签").fill("stage = sft")
    page.get_by_role("button", name="保存").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("best")
    expect(page.locator("#run-live .tag")).to_have_text("stage = sft")
    page.locator(".note summary").click()
    expect(page.locator(".note strong")).to_have_text("good")
    expect(page.locator(".note .prose b")).to_have_count(0)
    page.locator(".tabs").get_by_role("link", name="事件").click()
    expect(page.locator(".events")).to_contain_text("run-001 → best")


def test_form_to_tag_a_checkpoint_is_in_full_view(page: Page, run):
    checkpoint(run, step=50)
    page.goto(url_of(run, "/checkpoints"))

    page.get_by_role("link", name="打标签").click()

    for control in ("select", "textarea", "button"):
        expect(page.locator(f"#tag {control}")).to_be_in_viewport(ratio=1)


def test_resumed_run_shows_where_it_came_from(page: Page, run):
    saved = checkpoint(run, step=50)
    resumed = RunFactory(
        name="resumed", project=run.project, resumed_from_id=saved.pk, start_step=50, step=80
    )
    page.goto(url_of(resumed))

    page.locator(".tabs").get_by_role("link", name="血缘").click()

    parent = page.locator(".tree > li")
    expect(parent.locator("> .branch a")).to_have_text("run-001")
    expect(parent.locator("ul .branch a")).to_have_text("resumed")
    parent.locator("> .branch a").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("run-001")


@pytest.fixture
def blocking_page(browser: Browser, live_server):
    """A page that may say in its console what it has blocked."""
    context = browser.new_context(base_url=live_server.url, locale="zh-CN")
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def test_html_file_is_shown_and_none_of_its_scripts_run(blocking_page: Page, run):
    page = blocking_page
    script = """
        <p id=shown>before</p>
        <script>
          document.getElementById("shown").textContent = "ran";
          parent.document.title = "ran";
          fetch("/projects");
        </script>
        <img src=x onerror="document.getElementById('shown').textContent = 'ran'">
        <a id=out href="javascript:document.title='ran'">out</a>
    """
    artifact, _is_new = store(run, "report.html", io.BytesIO(script.encode()))
    answered = []  # what a policy blocks is a request as well, but has no answer
    page.on("response", lambda answer: answered.append(answer.url))

    page.goto(url_of(run, f"/artifacts/{artifact.pk}"))

    frame = page.frame_locator("iframe.preview")
    expect(frame.locator("#shown")).to_have_text("before")
    assert page.title() != "ran"
    assert [url for url in answered if url.endswith(("/projects", "/x"))] == []


def test_html_file_opened_by_its_address_runs_no_script_either(blocking_page: Page, run):
    page = blocking_page
    content = b"<title>kept</title><script>document.title = 'ran'</script>"
    artifact, _is_new = store(run, "report.html", io.BytesIO(content))

    page.goto(url_of(run, f"/artifacts/{artifact.pk}/raw"))

    assert page.title() == "kept"


def test_page_of_a_run_without_news_gets_nothing(open_page, live_server):
    page = open_page()
    run = unmanaged_run()
    answers = []
    page.on(
        "response",
        lambda answer: answers.append(answer.status) if "/live?" in answer.url else None,
    )

    page.goto(url_of(run))
    with page.expect_response(lambda answer: "/live?" in answer.url and answer.status == 304):
        pass

    assert answers[1:] == [304] * (len(answers) - 1)


IN_FLIGHT = """
    const asked = window.fetch;
    window.polls = 0;
    window.fetch = async (url, options) => {
      if (!String(url).includes("/live?")) return asked(url, options);
      window.polls += 1;
      if (window.polls > 1) return asked(url, options);
      await new Promise((resolve) => { window.answer = resolve; });
      return asked(url, options);
    };
    window.show = (isShown) => {
      Object.defineProperty(document, "hidden", { value: !isShown, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    };
"""


def test_page_hidden_while_it_asks_does_not_ask_twice_from_then_on(open_page, live_server):
    page = open_page()
    page.add_init_script(IN_FLIGHT)
    page.goto(url_of(unmanaged_run()))
    wait_until(lambda: page.evaluate("polls") == 1)

    polls = page.evaluate("show(false), show(true), polls")

    assert polls == 1
    page.evaluate("answer()")
    wait_until(lambda: page.evaluate("polls") == 2)  # it goes on


@pytest.mark.parametrize("clipboard", ["present", "absent", "refused"])
def test_text_is_copied_also_where_pages_have_no_clipboard(open_page, run, clipboard):
    page = open_page(permissions=["clipboard-read", "clipboard-write"])
    if clipboard == "absent":  # as on a page without HTTPS
        page.add_init_script("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    if clipboard == "refused":
        page.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error())")
    page.goto(url_of(run, "/configuration"))

    page.locator("[data-copy='#configuration-json']").click()

    expect(page.locator("[data-copy='#configuration-json']")).to_have_text("已复制")
    page.goto(url_of(run, "/log"))
    page.locator("[name=q]").focus()
    page.keyboard.press("Control+V")
    expect(page.locator("[name=q]")).to_have_value(re.compile("^{.*}$"))
