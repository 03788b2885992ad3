"""The first page: what goes on in all projects."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.open_mode import local_administrator
from artifacts.kinds import TagValue
from core.times import milliseconds
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import FailureKind, Run
from runs.models.run_queryset import DOCUMENTS
from runs.status import RunStatus
from tests.factories import (
    GpuPoolFactory,
    ProjectFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    checkpoint,
    running,
    unmanaged_run,
)

pytestmark = pytest.mark.django_db

PAGE, PARTS = "/dashboard", "/dashboard/home"
NOW = datetime(2026, 5, 31, 12, tzinfo=UTC)


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


def failed(**fields):
    return RunFactory(status=RunStatus.FAILED, started_at=timezone.now(), **fields)


# --- what runs -------------------------------------------------------------------------------


def test_runs_of_workers_and_scripts_elsewhere_are_shown(client):
    held, script = running(name="held"), unmanaged_run(name="script")
    RunFactory(name="queued")
    RunFactory(name="waits-for-a-worker", status=RunStatus.RUNNING)
    unmanaged_run(name="in-the-trash", deleted_at=timezone.now())

    rows = client.get(PAGE).context["home"].running

    assert {row.run for row in rows} == {held, script}


def test_running_run_links_to_itself_its_project_and_its_person(client):
    user = UserFactory(username="ada")
    run = running(
        created_by=user, gpu_type="A100", gpu_count=8, project=ProjectFactory(name="Sums")
    )

    page = client.get(PAGE).content.decode()

    assert f'href="/dashboard/projects/{run.project_id}/runs/{run.pk}"' in page
    assert f'href="/dashboard/projects/{run.project_id}">Sums' in page
    assert f'href="/dashboard/activity?person={user.pk}">ada' in page
    assert "8 × A100" in page


def test_loss_is_drawn_and_shown(client):
    run = running()
    record_metrics(run, [Point("accuracy", step, step / 10, 0) for step in range(5)])
    record_metrics(run, [Point("train_loss", step, 5.0 - step, 0) for step in range(5)])

    response = client.get(PAGE)

    [row] = response.context["home"].running
    assert (row.key, row.value, len(row.curve)) == ("train_loss", 1.0, 5)
    assert 'class="spark"' in response.content.decode()


def test_silent_run_is_shown_so(client, settings):
    settings.SILENT_SECONDS = 60
    unmanaged_run(reported_at=timezone.now() - timedelta(hours=3))

    page = client.get(PAGE).content.decode()

    assert "silent ·" in page
    assert "3 h ago" in page


def test_many_runs_are_counted_and_listed_elsewhere(client):
    project = ProjectFactory()
    RunFactory.create_batch(23, project=project, recipe=None, status=RunStatus.RUNNING)

    response = client.get(PAGE)

    assert len(response.context["home"].running) == 20
    assert "All 23" in response.content.decode()
    assert len(client.get("/dashboard/running").context["rows"]) == 23


@pytest.mark.parametrize("page", ["2", "x", "\0", "9" * 100])
def test_list_of_running_runs_takes_any_page(client, page):
    unmanaged_run()

    assert client.get("/dashboard/running", {"page": page}).status_code == 200


def test_time_left_is_told_with_its_uncertainty(client):
    run = unmanaged_run(total_steps=1000)
    first_ms = milliseconds(timezone.now()) - 800_000
    record_metrics(
        run, [Point("loss", step, 1.0, first_ms + 2000 * step) for step in range(1, 401)]
    )

    page = client.get(PAGE).content.decode()

    assert "about 20 min" in page
    assert 'title="19 min – 21 min"' in page


def test_silent_run_has_no_time_left(client, settings):
    settings.SILENT_SECONDS = 60
    run = unmanaged_run(total_steps=1000)
    record_metrics(run, [Point("loss", step, 1.0, 2000 * step) for step in range(1, 401)])
    Run.objects.update(reported_at=timezone.now() - timedelta(hours=3))

    [row] = client.get(PAGE).context["home"].running

    assert row.time_left is None


# --- what waits, failed, was released --------------------------------------------------------


def test_waiting_run_has_its_reason(client):
    WorkerFactory()
    GpuPoolFactory(capacity=8)
    RunFactory(name="too-large", gpu_type="A100", gpu_count=16)

    page = client.get(PAGE).content.decode()

    assert "too-large" in page
    assert "It requests 16 A100 GPUs, but there are only 8." in page


def test_runs_that_failed_since_yesterday_have_their_reason_and_kind(client):
    recent = failed(
        finished_at=timezone.now() - timedelta(hours=23),
        status_reason="CUDA out of memory",
        failure_kind=FailureKind.OUT_OF_MEMORY,
    )
    failed(finished_at=timezone.now() - timedelta(hours=25))

    response = client.get(PAGE)

    assert response.context["home"].failed == [recent]
    assert "CUDA out of memory" in response.content.decode()
    assert "Out of memory" in response.content.decode()


def test_many_failures_are_counted_and_listed_elsewhere(client):
    project = ProjectFactory()
    for _ in range(22):
        failed(project=project)

    assert "All 22" in client.get(PAGE).content.decode()
    assert len(client.get("/dashboard/failed").context["runs"]) == 22


def test_released_checkpoints_say_by_whom_and_why(client):
    run = RunFactory(status=RunStatus.COMPLETED)
    user = UserFactory(username="ada", is_superuser=True)
    checkpoint(run, step=100).tag(TagValue.RELEASED, notes="BLEU 32.5", by=user)
    checkpoint(run, step=200).tag(TagValue.CANDIDATE, notes="not yet", by=user)

    response = client.get(PAGE)

    [tag] = response.context["home"].released
    assert (tag.artifact.step, tag.applied_by, tag.notes) == (100, user, "BLEU 32.5")
    assert "BLEU 32.5" in response.content.decode()


def test_gpus_of_each_pool_are_shown(client):
    GpuPoolFactory(gpu_type="H200", capacity=16)
    running(gpu_type="H200", gpu_count=4)

    assert "4 of 16 in use" in client.get(PAGE).content.decode()


def test_pool_leads_to_its_place_on_the_page_of_the_queue(client):
    GpuPoolFactory(gpu_type="A100 80G")

    link = 'href="/dashboard/workers#pool-A100%2080G"'

    assert link in client.get(PAGE).content.decode()
    assert 'id="pool-A100%2080G"' in client.get("/dashboard/workers").content.decode()


# --- nothing ---------------------------------------------------------------------------------


def test_first_page_of_all_says_what_to_do(client, settings):
    settings.PUBLIC_URL = "https://hub.example"

    page = client.get(PAGE).content.decode()

    assert 'href="/dashboard/projects/new"' in page
    assert "export MLFLOW_TRACKING_URI=https://hub.example" in page
    assert "python manage.py run_worker" in page


def test_project_without_runs_says_how_scripts_report(client):
    ProjectFactory()

    page = client.get(PAGE).content.decode()

    assert "Nothing runs at the moment." in page
    assert "export MLFLOW_TRACKING_URI=" in page


# --- cost and changes ------------------------------------------------------------------------


def test_query_count_does_not_depend_on_the_number_of_runs(client, django_assert_num_queries):
    def everything(count):
        worker, user = WorkerFactory(), UserFactory(is_superuser=True)
        for _ in range(count):
            run = running(worker, created_by=user, gpu_type="A100", gpu_count=1)
            record_metrics(run, [Point("loss", step, 1.0, step) for step in (1, 2)])
            RunFactory()
            failed()
            saved = checkpoint(RunFactory(status=RunStatus.COMPLETED))
            saved.tag(TagValue.RELEASED, notes="", by=user)

    everything(1)
    client.get(PAGE)
    # User; running, their curves, their time left in 2; pools, their use, who holds it;
    # the time, what is held and was used, quotas, pools, the queue in 2, its runs, workers; the
    # queue's length; failed; released; requests of releases; is there a project, a worker;
    # 4 sources of activity, in 5.
    with django_assert_num_queries(28) as few:
        client.get(PAGE)
    everything(4)

    with django_assert_num_queries(28) as captured:
        client.get(PAGE)

    assert len(few) == len(captured)
    touched = " ".join(query["sql"] for query in captured.captured_queries)
    assert not any(f'"runs_run"."{column}"' in touched for column in DOCUMENTS - {"metrics"})


def live(client, etag=""):
    return client.get(PARTS, headers={"If-None-Match": etag} if etag else {})


def test_live_parts_have_the_names_of_the_pages(client):
    page, parts = client.get(PAGE).content.decode(), live(client).content.decode()

    assert "<html" not in parts
    for name in ("home-running", "home-lists"):
        assert f'id="{name}"' in page
        assert f'id="{name}"' in parts


def test_nothing_is_sent_while_nothing_happens(client):
    running()
    etag = live(client).headers["ETag"]

    assert live(client, etag).status_code == 304


@pytest.mark.parametrize("change", ["metric", "event", "tag", "worker"])
def test_what_happens_is_sent(client, change):
    run = running()
    saved = checkpoint(run)
    etag = live(client).headers["ETag"]

    if change == "metric":
        record_metrics(run, [Point("loss", 1, 1.0, 0)])
    elif change == "event":
        RunFactory().set_priority(3, by=None)
    elif change == "tag":
        saved.tag(TagValue.RELEASED, notes="", by=None)
    else:
        WorkerFactory()

    assert live(client, etag).status_code == 200
