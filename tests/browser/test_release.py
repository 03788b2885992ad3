"""From the leaderboard to a release with notes and its model card; without JavaScript as well."""

import io
import json
import re

import pytest
from playwright.sync_api import expect

from accounts.open_mode import local_administrator
from artifacts import storing
from artifacts.kinds import TagValue
from metrics.points import Point
from metrics.recording import record_metrics
from tests.factories import ProjectFactory, checkpoint, running

pytestmark = [pytest.mark.browser, pytest.mark.django_db(serialized_rollback=True)]


@pytest.fixture
def project(live_server):
    """Two runs: the worse one is released, the better one is not."""
    project = ProjectFactory(name="Summaries", key_metrics=["eval_loss"])
    for name, bleu, loss in (("worse", 30.5, 2.0), ("better", 35.5, 1.5)):
        run = running(project=project, name=name, hyperparameters={"lr": bleu})
        record_metrics(run, [Point("eval_loss", 100, loss, 0)])
        artifact = checkpoint(run, step=100)
        content = json.dumps({"step": 100, "bleu": bleu}).encode()
        storing.store_evaluation(run, io.BytesIO(content), step=100)
        if name == "worse":
            artifact.tag(TagValue.RELEASED, notes="The first.", by=local_administrator())
    return project


@pytest.fixture(params=[True, False], ids=["with-scripts", "without-scripts"])
def page(request, open_page, live_server, settings):
    page = open_page(java_script_enabled=request.param)
    cookie = {"name": settings.LANGUAGE_COOKIE_NAME, "value": "en", "url": live_server.url}
    page.context.add_cookies([cookie])
    return page


def test_best_checkpoint_is_found_and_released_with_notes(page, project):
    page.goto(f"/dashboard/projects/{project.pk}/checkpoints")
    page.get_by_role("link", name="Leaderboard").click()
    page.get_by_label(re.compile("ranked by", re.IGNORECASE)).select_option("bleu")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("tbody tr").first).to_contain_text("better")

    page.locator("tbody tr").first.get_by_role("link", name="Checkpoint of step 100").click()
    row = page.get_by_role("row", name=re.compile("bleu"))
    expect(row.get_by_role("cell")).to_have_text(["Evaluation", "35.5", "30.5", "+5 better"])
    page.get_by_label(re.compile("notes", re.IGNORECASE)).fill("Reviewed 200 samples.")
    page.get_by_role("button", name="Release", exact=True).click()

    released = page.get_by_role("region", name="Released")
    expect(released.locator("tbody tr")).to_have_count(1)
    expect(released.locator("tbody tr")).to_contain_text("better")
    latest = page.locator("ol.events > li").first
    expect(latest).to_contain_text("Reviewed 200 samples.")
    expect(latest.locator(".by")).to_have_text(local_administrator().get_username())


def test_release_without_notes_is_refused_on_the_page(page, project):
    page.goto(f"/dashboard/projects/{project.pk}/checkpoints?run=better")
    page.get_by_role("link", name="Checkpoint of step 100").click()

    page.get_by_label(re.compile("notes", re.IGNORECASE)).fill(" ")  # browsers take it as filled in
    page.get_by_role("button", name="Release", exact=True).click()

    expect(page.locator("p.error")).to_contain_text("This field is required.")


def test_model_card_is_previewed_and_downloaded(page, project):
    page.goto(f"/dashboard/projects/{project.pk}/checkpoints?tag=发布")
    page.get_by_role("link", name="Checkpoint of step 100").click()
    page.get_by_role("link", name="Model card").click()

    expect(page.locator("article.markdown")).to_contain_text("The first.")
    expect(page.locator("article.markdown").get_by_role("heading", name="Approval")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download README.md").click()
    assert download.value.suggested_filename == "README.md"
    assert download.value.path().read_text().startswith("---\n")
