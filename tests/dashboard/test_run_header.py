"""The top of a run's pages."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.open_mode import local_administrator
from metrics.points import Point
from metrics.recording import record_metrics
from runs.descriptions import describe
from runs.models import EventKind, Run
from runs.status import RunStatus
from tests.factories import (
    GpuPoolFactory,
    RunFactory,
    WorkerFactory,
    checkpoint,
    running,
    unmanaged_run,
)

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


@pytest.fixture
def worker():
    return WorkerFactory()


def url_of(run, part=""):
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}{part}"


def page_of(client, run, part="/events"):
    return " ".join(client.get(url_of(run, part)).content.decode().split())


def test_running_run_tells_its_time_left_and_its_tokens_a_second(client):
    run = unmanaged_run(total_steps=1000)
    points = [Point("loss", step, 1.0, 2000 * step) for step in range(1, 401)]
    points += [Point("num_tokens", step, 4000.0 * step, 2000 * step) for step in range(1, 401)]
    record_metrics(run, points)

    page = page_of(client, run)

    assert "about 20 min left (19 min – 21 min)" in page
    assert "2,000 tokens/s" in page
    assert "step 400 of 1,000" in page


def test_run_that_waits_tells_its_place_what_for_and_when_it_will_start(client, worker):
    GpuPoolFactory(capacity=8)
    now = timezone.now()
    running(worker, gpu_type="A100", gpu_count=8, started_at=now, attempt_started_at=now)
    RunFactory(gpu_type="A100", gpu_count=8, priority=1)
    run = RunFactory(gpu_type="A100", gpu_count=4)

    page = page_of(client, run)

    assert f'<a href="/dashboard/workers#queued-{run.pk}">Number 2 in the queue of A100</a>' in page
    assert "Waiting for 4 A100 GPUs; 0 are free. It will probably start in " in page


def test_run_without_gpus_tells_its_place(client, worker):
    run = RunFactory()

    page = page_of(client, run)

    assert "Number 1 in the queue</a>" in page
    assert "It will probably start" not in page


def test_run_that_nothing_can_execute_tells_no_start(client):
    GpuPoolFactory(capacity=8)
    run = RunFactory(gpu_type="A100", gpu_count=4)

    page = page_of(client, run)

    assert "No running worker can execute it." in page
    assert "It will probably start" not in page


def test_key_metrics_of_the_project_are_shown_with_their_best(client):
    run = RunFactory(project__key_metrics=["eval/bleu"])
    values = ((1, 10.0), (2, 30.0), (3, 20.0))
    record_metrics(run, [Point("eval/bleu", step, value, 0) for step, value in values])
    record_metrics(run, [Point("loss", 1, 1.0, 0)])

    page = page_of(client, run)

    assert "best 30 at step 2" in page
    assert 'class="spark"' in page
    assert "<code>loss</code>" not in page


def test_last_event_says_what_has_changed(client):
    run = running()
    run.transition(RunStatus.COMPLETED)

    header = page_of(client, run, "/log")

    assert f'Last event <a href="{url_of(run, "/events")}">Completed</a>' in header


def test_silent_run_is_shown_as_silent_since_when(client):
    hours_ago = timezone.now() - timedelta(hours=3)
    run = running(reported_at=hours_ago, attempt_started_at=hours_ago)

    page = page_of(client, run)

    assert "badge-silent" in page
    assert "Running, but silent. Last report:" in page
    assert "left (" not in page


def test_failed_run_leads_to_the_last_error_in_its_log(client):
    run = RunFactory(status=RunStatus.RUNNING, log_count=3)
    run.transition(RunStatus.FAILED, reason="Out of memory.", failure_kind="out_of_memory")

    assert f'href="{url_of(run, "/log")}?at_error=1"' in page_of(client, run)


def test_gpu_hours_are_those_that_workers_held_the_run(client):
    now = timezone.now()
    run = unmanaged_run(gpu_count=4, started_at=now - timedelta(hours=3))
    run.transition(RunStatus.COMPLETED, finished_at=now - timedelta(hours=1))

    assert "8 GPU-hours" in page_of(client, run)


def test_ended_run_can_be_resumed_from_its_latest_checkpoint_and_run_again(client):
    run = RunFactory(status=RunStatus.RUNNING)
    checkpoint(run, step=10)
    latest = checkpoint(run, step=20)
    run.transition(RunStatus.FAILED)

    page = page_of(client, run)

    assert url_of(run, f"/artifacts/{latest.pk}/resume") in page
    assert f"/runs/new?from={run.pk}" in page
    assert url_of(run, "/retry") in page


def test_run_again_opens_the_form_filled_in(client):
    run = RunFactory(
        dataset="papers",
        hyperparameters={"learning_rate": 2e-5, "warmup": 7},
        gpu_type="A100",
        gpu_count=4,
        priority=3,
    )
    url = f"/dashboard/projects/{run.project_id}/runs/new?from={run.pk}"

    page = client.get(url).content.decode()

    for text in ('value="papers"', 'value="2e-5"', "warmup", 'value="A100"', 'value="4"'):
        assert text in page
    assert '<option value="simulated" selected' in page


@pytest.mark.parametrize("like", ["run_none", "%00", "x" * 5000])
def test_unknown_run_to_run_again_is_404(client, like):
    run = RunFactory()

    url = f"/dashboard/projects/{run.project_id}/runs/new?from={like}"

    assert client.get(url).status_code == 404


def test_note_is_shown_as_markdown_without_its_html(client):
    run = RunFactory()
    describe(run, by=None, notes="**good** <script>alert(1)</script>")

    page = page_of(client, run)

    assert "<strong>good</strong>" in page
    assert "<script>alert(1)" not in page


# --- the form ----------------------------------------------------------------------------------


def test_form_renames_notes_and_tags_and_says_who_did(client):
    run = RunFactory(name="run-001", tags={"a": "1", "b": "2"})

    answer = client.post(
        url_of(run, "/describe"),
        {"name": "best", "notes": "why\r\n", "tags": "a = 1\nc = x = y", "shown": "a = 1\nb = 2"},
    )

    run.refresh_from_db()
    assert answer["Location"] == url_of(run)
    assert run.name == "best"
    assert run.tags == {"a": "1", "c": "x = y", "mlflow.note.content": "why"}
    kinds = {EventKind.RENAMED, EventKind.NOTE_CHANGED, EventKind.TAGS_CHANGED}
    events = run.events.filter(kind__in=kinds)
    assert {event.actor.username for event in events} == {"admin"}
    assert events.count() == 3


def test_what_a_script_has_set_since_the_form_was_opened_stays(client):
    run = RunFactory(tags={"a": "1", "set_later": "x"})

    client.post(url_of(run, "/describe"), {"name": run.name, "tags": "a = 2", "shown": "a = 1"})

    run.refresh_from_db()
    assert run.tags == {"a": "2", "set_later": "x"}


def test_tags_of_several_lines_and_of_the_system_are_not_in_the_form_and_stay(client):
    tags = {"long": "a\nb", "mlflow.user": "li", "a": "1"}
    run = RunFactory(tags=tags)

    form = client.get(url_of(run, "/describe")).context["form"]
    shown = form["shown"].value()
    client.post(url_of(run, "/describe"), {"name": run.name, "tags": "", "shown": shown})

    run.refresh_from_db()
    assert shown == "a = 1"
    assert run.tags == {"long": "a\nb", "mlflow.user": "li"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "x" * 201),
        ("name", "\x00"),
        ("notes", "x" * 8001),
        ("tags", "no separator"),
        ("tags", "= no key"),
        ("tags", "../x = 1"),
        ("tags", f"{'k' * 251} = 1"),
    ],
)
def test_form_says_what_is_wrong_and_keeps_the_input(client, field, value):
    run = RunFactory(name="before")

    answer = client.post(
        url_of(run, "/describe"), {"name": "after", "notes": "kept", "tags": "", field: value}
    )

    assert answer.status_code == 422
    assert answer.context["form"].errors
    assert Run.objects.get(pk=run.pk).name == "before"


def test_form_for_a_run_in_the_trash_is_refused(client):
    run = RunFactory(deleted_at=timezone.now())

    answer = client.post(url_of(run, "/describe"), {"name": "x", "tags": "", "shown": ""})

    assert answer.status_code == 422
    assert "is in the trash" in answer.content.decode()


def test_run_in_the_trash_is_restored_on_its_page(client):
    run = RunFactory(status=RunStatus.COMPLETED)
    run.move_to_trash(by=None)
    action = f'action="{url_of(run, "/restore")}"'
    before = page_of(client, run)

    response = client.post(url_of(run, "/restore"))

    run.refresh_from_db()
    assert run.deleted_at is None
    assert response["Location"] == url_of(run)
    assert action in before
    assert action not in page_of(client, run)
