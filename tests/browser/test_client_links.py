"""The URLs that MLflow clients print redirect to the matching pages."""

import re

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect

from runs.models import Run
from runs.status import RunStatus
from tests.factories import RunFactory

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]


@pytest.fixture
def run() -> Run:
    return RunFactory(recipe=None, status=RunStatus.COMPLETED)


def test_run_link_redirects_to_the_run_page(page: Page, run: Run):
    page.goto(f"/#/experiments/{run.project_id}/runs/{run.pk}")

    expect(page).to_have_url(re.compile(f"/dashboard/projects/{run.project_id}/runs/{run.pk}$"))


def test_experiment_link_redirects_to_the_project_page(page: Page, run: Run):
    page.goto(f"/#/experiments/{run.project_id}")

    expect(page).to_have_url(re.compile(f"/dashboard/projects/{run.project_id}$"))


def test_root_without_a_link_redirects_to_the_home_page(page: Page):
    for fragment in ("", "#/models/x", "#/experiments/../../admin"):
        page.goto(f"/{fragment}")
        expect(page.get_by_role("heading", level=1)).to_have_text("首页")


def test_link_survives_sign_in(page: Page, run: Run, settings):
    settings.OPEN_MODE = False
    user = User.objects.create_user("xiaoli", password="correct horse battery")
    run.project.roles.create(user=user)

    page.goto(f"/#/experiments/{run.project_id}/runs/{run.pk}")
    page.get_by_label("用户名").fill("xiaoli")
    page.get_by_label("密码").fill("correct horse battery")
    page.get_by_role("button", name="登录").click()

    expect(page).to_have_url(re.compile(f"/runs/{run.pk}$"))
