"""What operators are alerted by."""

from datetime import timedelta

import pytest
from django.utils import timezone

from goodput import operation
from runs import troubles
from runs.models import EventKind
from tests.clients import ApiClient
from tests.factories import RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db


def samples(name: str) -> dict[tuple[str, ...], float]:
    [family] = [family for family in operation.families() if family.name == name]
    return {tuple(labels.values()): value for labels, value in family.samples}


def ago(**span: float):
    return timezone.now() - timedelta(**span)


def test_oldest_wait_is_that_of_the_run_queued_first():
    RunFactory(queued_at=ago(minutes=2))
    RunFactory(queued_at=ago(minutes=10))
    running(queued_at=ago(hours=9))

    assert samples("trainhub_queue_oldest_wait_seconds")[()] == pytest.approx(600, abs=30)


def test_nothing_waits_in_an_empty_queue():
    assert samples("trainhub_queue_oldest_wait_seconds") == {(): 0.0}


def test_ended_runs_are_those_of_the_last_hour_by_status():
    RunFactory(status="已失败", finished_at=ago(minutes=5))
    RunFactory(status="已失败", finished_at=ago(hours=2))

    assert samples("trainhub_runs_ended") == {("completed",): 0, ("failed",): 1, ("cancelled",): 0}


def test_run_whose_output_cannot_be_stored_is_in_trouble_until_it_can():
    worker = WorkerFactory()
    run = running(worker)
    troubles.begin(run, EventKind.NOT_STORED, "no space", worker=worker)

    assert samples("trainhub_runs_in_trouble") == {(): 1}
    troubles.end(run, EventKind.NOT_STORED, worker=worker)
    assert samples("trainhub_runs_in_trouble") == {(): 0}


def test_worker_without_heartbeat_is_lost_for_a_day():
    WorkerFactory(name="alive", last_heartbeat=timezone.now())
    WorkerFactory(name="lost", last_heartbeat=ago(hours=1))
    WorkerFactory(name="stopped", last_heartbeat=ago(hours=1), stopped_at=ago(hours=1))
    WorkerFactory(name="forgotten", last_heartbeat=ago(days=2))

    assert samples("trainhub_workers_lost") == {(): 1}
    ages = samples("trainhub_worker_heartbeat_age_seconds")
    assert ages.keys() == {("alive",), ("lost",)}
    assert ages[("lost",)] == pytest.approx(3600, abs=30)


def test_free_space_is_less_than_the_size():
    free, size = samples("trainhub_storage_free_bytes"), samples("trainhub_storage_size_bytes")

    assert 0 < free[("data",)] < size[("data",)]


def test_requests_are_counted_by_class_on_both_ways():
    run = running()
    api = ApiClient()
    before = samples("trainhub_http_requests_total")

    api.get(f"/projects/{run.project_id}/runs/{run.pk}")  # answered by the handler
    api.get("/projects/none")
    api.get("/dashboard/none")

    after = samples("trainhub_http_requests_total")
    assert {key: after[key] - before[key] for key in after} == {
        ("1xx",): 0, ("2xx",): 1, ("3xx",): 0, ("4xx",): 2, ("5xx",): 0,
    }  # fmt: skip
