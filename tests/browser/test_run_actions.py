"""What is done with the runs of a project's table, in a browser, and the form of a new run.

Each test has its own runs.
"""

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from accounts.roles import Role
from metrics.points import Point, Points
from metrics.recording import record_points
from projects.models import Project
from runs.models import Run
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, ProjectFactory, RecipeFactory, RunFactory

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

GIT_URLS = ["https://git.example/lm.git", "https://git.example/eval.git"]
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
    for user in User.objects.filter(username__in=["ada", "bob"]):
        Project.objects.get().roles.create(user=user, role=Role.MEMBER)
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


def test_form_offers_what_the_chosen_recipe_can_use(page):
    RecipeFactory(name="on-slurm", executor="slurm", code="none")
    RecipeFactory(name="with-code", code="optional", code_from="members", git_urls=GIT_URLS[:1])
    RecipeFactory(name="other-code", code="optional", code_from="members", git_urls=GIT_URLS[1:])
    GpuPoolFactory(gpu_type="A100")
    GpuPoolFactory(gpu_type="H100", executor="slurm")
    page.goto(f"/dashboard/projects/{ProjectFactory().pk}/runs/new")
    recipe, code = page.locator("[name=recipe]"), page.locator("#code-fields")

    recipe.select_option("on-slurm")
    expect(code).to_be_hidden()
    assert offered(page, "gpu_type") == ["", "H100"]

    page.locator("[name=gpu_type]").select_option("H100")
    recipe.select_option("with-code")
    expect(code).to_be_visible()
    assert offered(page, "gpu_type") == ["", "A100"]
    expect(page.locator("[name=gpu_type]")).to_have_value("")
    assert offered(page, "git_url") == ["", GIT_URLS[0]]

    recipe.select_option("other-code")
    assert offered(page, "git_url") == ["", GIT_URLS[1]]


def offered(page: Page, name: str) -> list[str]:
    """The values of a choice that can be chosen."""
    script = "options => options.filter(option => !option.disabled).map(option => option.value)"
    return page.locator(f"[name={name}] option").evaluate_all(script)
