"""An operator writes a recipe: the form, the check, the test run."""

import re
import sys

import pytest
from django.contrib.auth.models import User
from django.utils.translation import gettext, override
from playwright.sync_api import expect

from execution.program_checks import answer_checks
from runs.models import Recipe, Run
from tests.factories import ProjectFactory, WorkerFactory

pytestmark = [pytest.mark.browser, pytest.mark.django_db(serialized_rollback=True)]

PASSWORD = "a long enough password"
NARROW = {"width": 360, "height": 800}


@pytest.fixture
def operator(live_server):
    return User.objects.create_superuser("operator", password=PASSWORD)


def sign_in(page, operator):
    page.goto("/dashboard/recipes/new")
    page.locator("#id_username").fill(operator.username)
    page.locator("#id_password").fill(PASSWORD)
    page.locator("[type=submit]").click()
    expect(page).to_have_url(re.compile("/dashboard/recipes/new$"))


def fill(page, command):
    page.locator("#id_name").fill("tune")
    page.locator("#id_executor").select_option("process")
    page.locator("#id_command").fill(command)


def test_pasted_line_is_shown_as_arguments_and_the_answers_come(page, operator):
    worker = WorkerFactory(name="gpu-01")
    sign_in(page, operator)
    fill(page, f"{sys.executable} train.py --text 'a b'")

    page.locator("button[name=check]").click()

    expect(page.locator("#arguments code")).to_have_text(
        [sys.executable, "train.py", "--text", "a b"]
    )
    expect(page.locator("#program-checks .badge-queued")).to_be_visible()
    answer_checks(worker)
    expect(page.locator("#program-checks .badge-completed")).to_be_visible()
    assert not Recipe.objects.filter(name="tune").exists()


@pytest.mark.parametrize("scripts", [True, False])
def test_recipe_is_written_and_tried(open_page, operator, scripts):
    project = ProjectFactory(name="Summaries")
    page = open_page(java_script_enabled=scripts, viewport=NARROW)
    sign_in(page, operator)
    fill(page, "{python}\ntrain.py")
    page.locator("button.primary").click()
    expect(page).to_have_url(re.compile("/dashboard/recipe/tune$"))

    page.locator("#id_project").select_option(project.pk)
    page.locator("form[action$='/test'] button").click()

    expect(page).to_have_url(re.compile(f"/projects/{project.pk}/runs/run_"))
    with override("zh-hans"):
        assert Run.objects.get().name == gettext("test of %(name)s") % {"name": "tune"}
