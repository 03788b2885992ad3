"""GET …/explanation, and the command that tells the same."""

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from tests.factories import GpuPoolFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db


def waiting_run():
    WorkerFactory()
    GpuPoolFactory(capacity=8)
    running(gpu_type="A100", gpu_count=8)
    return RunFactory(gpu_type="A100", gpu_count=4)


def test_answer_tells_the_place_the_reason_and_the_start(client):
    run = waiting_run()

    answer = client.get(f"/projects/{run.project_id}/runs/{run.pk}/explanation").json()

    assert answer["run"] == run.pk
    assert (answer["position"], answer["waits_for"]) == (1, "gpus")
    assert answer["reason"]
    assert answer["estimated_start"] is not None


def test_run_that_works_waits_for_nothing(client):
    run = running()

    answer = client.get(f"/projects/{run.project_id}/runs/{run.pk}/explanation").json()

    assert (answer["position"], answer["waits_for"]) == (None, "nothing")


def test_run_of_another_project_is_not_found(client):
    run, other = RunFactory(), RunFactory()

    path = f"/projects/{other.project_id}/runs/{run.pk}/explanation"

    assert client.get(path).status_code == 404


def test_command_tells_the_same():
    run = waiting_run()
    text, content = StringIO(), StringIO()

    call_command("explain_run", run.pk, stdout=text)
    call_command("explain_run", run.pk, "--json", stdout=content)

    assert run.pk in text.getvalue()
    assert "Position in the queue: 1" in text.getvalue()
    assert json.loads(content.getvalue())["waits_for"] == "gpus"


def test_command_refuses_an_unknown_run():
    with pytest.raises(CommandError, match="There is no run"):
        call_command("explain_run", "run_x")
