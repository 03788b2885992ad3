"""The page of where GPU time went, and the part of it on a run's page."""

from datetime import date

import pytest

from accounts.open_mode import local_administrator
from goodput.parts import Part
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, UserFactory
from tests.goodput.accounts import accounted
from tests.goodput.story import Story

pytestmark = pytest.mark.django_db

PAGE = "/dashboard/goodput"


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


def text_of(client, address=PAGE, **query):
    response = client.get(address, query)
    assert response.status_code == 200
    page = response.content.decode()
    return " ".join(page.replace("<", " <").replace(">", "> ").split())


def test_page_shows_goodput_and_the_causes_of_the_rest(client):
    GpuPoolFactory(price_per_gpu_hour=2)
    project = ProjectFactory(name="Sums")
    accounted(day=date(2026, 5, 3), project=project, gpu_count=2, gpu_type="A100",
              utilization=0.5, hours={Part.TRAINING: 6, Part.REPEATED: 2})  # fmt: skip

    page = text_of(client, month="2026-05")

    assert "2026-05-01 to 2026-05-31 (UTC): goodput 75.0 %, 16.0 GPU-hours held." in page
    assert f'<a href="/dashboard/projects/{project.pk}"> Sums </a>' in page
    assert "Repeated or thrown away" in page
    assert "50.0 %" in page
    assert "32.00" in page


def test_bar_has_a_rectangle_a_part_and_is_hidden_from_screen_readers(client):
    accounted(day=date(2026, 5, 3), gpu_count=2, hours={Part.TRAINING: 3, Part.SAVING: 1})

    page = text_of(client, month="2026-05")

    assert 'aria-hidden="true"> <rect x="0" y="0" width="7500" height="1" class="series-5">' in page
    assert "<title> Saving · 25.0 % </title>" in page


@pytest.mark.parametrize("by", ["project", "owner", "user", "pool", "month", "day", "run"])
def test_every_grouping_has_a_page(client, by):
    accounted(day=date(2026, 5, 3), created_by=UserFactory(), gpu_count=2,
              hours={Part.TRAINING: 3})  # fmt: skip

    assert "100.0 %" in text_of(client, by=by, month="2026-05")


def test_run_links_to_its_page(client):
    run = accounted(day=date(2026, 5, 3), gpu_count=2, hours={Part.TRAINING: 3})

    page = text_of(client, by="run", month="2026-05")

    assert f'href="/dashboard/projects/{run.project_id}/runs/{run.pk}/events"' in page


def test_names_are_escaped(client):
    project = ProjectFactory(name="<script>alert(1)</script>")
    accounted(day=date(2026, 5, 3), project=project, gpu_count=2, hours={Part.TRAINING: 3})

    assert "<script>alert(1)" not in client.get(PAGE, {"month": "2026-05"}).content.decode()


def test_one_project_alone(client):
    project = ProjectFactory()
    for one in (project, ProjectFactory()):
        accounted(day=date(2026, 5, 3), project=one, gpu_count=2, hours={Part.TRAINING: 3})

    page = text_of(client, month="2026-05", project=project.pk)

    assert "goodput 100.0 %, 6.0 GPU-hours held." in page
    assert f"project_id={project.pk}" in page  # of the link to the file


def test_nothing_says_what_to_do(client):
    assert "No run has waited or worked in this time." in text_of(client)
    assert "Show the last 30 days of all projects" in text_of(client, month="2020-01")


@pytest.mark.parametrize(
    "query", [{"month": "may"}, {"by": "color"}, {"project": "proj_none"}, {"project": "\x00"}]
)
def test_bad_filters_are_shown_and_do_not_filter(client, query):
    page = text_of(client, **query)

    assert 'aria-invalid="true"' in page


@pytest.mark.parametrize("month", ["9999-12", "0001-01", "2026-12"])
def test_ends_of_the_calendar_are_no_error(client, month):
    text_of(client, month=month)


def test_signing_in_is_needed(client, settings):
    settings.OPEN_MODE = False

    assert client.get(PAGE).status_code == 302


def test_page_of_a_run_tells_where_its_time_went(client):
    story = Story()
    story.claim(60)
    story.steps(180, 1, 2)

    page = text_of(client, f"/dashboard/projects/{story.run.project_id}/runs/{story.run.pk}/events")

    assert "Where its time went" in page
    assert '<span title="120.000 s"> 2 min </span>' in page
    assert f"/dashboard/goodput?by=run&amp;project={story.run.project_id}" in page


def test_page_of_a_run_that_waits_has_its_time(client):
    run = RunFactory()

    page = text_of(client, f"/dashboard/projects/{run.project_id}/runs/{run.pk}/events")

    assert "Goodput 0.0 %" in page


def test_project_and_queue_link_to_the_page(client):
    project = ProjectFactory()

    assert f"{PAGE}?by=run&amp;project={project.pk}" in text_of(
        client, f"/dashboard/projects/{project.pk}"
    )
    assert f'href="{PAGE}"' in text_of(client, "/dashboard/workers")
