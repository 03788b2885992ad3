"""POST …/pause and …/continue."""

import pytest

from runs.models import StopKind
from runs.status import RunStatus
from tests.factories import RunFactory, running

pytestmark = pytest.mark.django_db


def post(client, run, action):
    path = f"/projects/{run.project_id}/runs/{run.pk}/{action}"
    return client.post(path, content_type="application/json")


def test_queued_run_is_paused_and_continued(client):
    run = RunFactory()

    paused = post(client, run, "pause")
    continued = post(client, run, "continue")

    assert (paused.status_code, paused.json()["status"]) == (200, "已暂停")
    assert (continued.status_code, continued.json()["status"]) == (200, "排队中")


def test_run_that_still_stops_is_accepted(client, settings):
    settings.CANCEL_WAIT_SECONDS = 0
    run = running()

    response = post(client, run, "pause")

    run.refresh_from_db()
    assert response.status_code == 202
    assert (run.status, run.stop_kind) == (RunStatus.RUNNING, StopKind.PAUSE)


@pytest.mark.parametrize("action", ["pause", "continue"])
def test_run_that_has_ended_is_refused(client, action):
    response = post(client, RunFactory(status=RunStatus.COMPLETED), action)

    assert response.status_code == 409


@pytest.mark.parametrize("action", ["pause", "continue"])
def test_unknown_run_is_not_found(client, action):
    run = RunFactory.build(pk="run_000000000000")
    run.project_id = RunFactory().project_id

    assert post(client, run, action).status_code == 404


@pytest.mark.parametrize("action", ["pause", "continue"])
def test_body_with_fields_is_refused(client, action):
    run = RunFactory()
    path = f"/projects/{run.project_id}/runs/{run.pk}/{action}"

    response = client.post(path, {"when": "now"}, content_type="application/json")

    assert response.status_code == 400


def test_paused_runs_are_found_by_their_status(client):
    run = RunFactory(status=RunStatus.PAUSED)
    RunFactory(project=run.project)

    response = client.get(f"/projects/{run.project_id}/runs?status=已暂停")

    assert [item["id"] for item in response.json()] == [run.pk]
