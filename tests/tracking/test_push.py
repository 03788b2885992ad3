"""A client that pushes while the web server dies: what was acknowledged is there, and once."""

import itertools
import threading
from http.client import HTTPException

import pytest

from runs.models import MetricPoint, MetricSeries, Run
from tests.factories import RunFactory
from tests.waiting import wait_until
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

BATCHES, STEPS, KEYS = 120, 10, ("loss", "accuracy")


def batch(run, number):
    return {
        "run_id": run.pk,
        "metrics": [
            {"key": key, "value": step / 7, "timestamp": 1_700_000_000_000 + step, "step": step}
            for step in range(number * STEPS, (number + 1) * STEPS)
            for key in KEYS
        ],
    }


def test_server_killed_in_the_middle_of_a_push_has_everything_once_after_the_retry():
    run = RunFactory()
    acknowledged = []

    with web_server() as server:

        def push(numbers):
            for number in numbers:
                while True:  # as clients do: the same batch again until it is acknowledged
                    try:
                        answer = server.api.post(
                            "/api/2.0/mlflow/runs/log-batch", batch(run, number)
                        )
                    except (OSError, HTTPException):
                        continue
                    assert answer.status == 200, answer.body
                    acknowledged.append(number)
                    break

        clients = [
            threading.Thread(target=push, args=(range(first, BATCHES, 3),)) for first in range(3)
        ]
        for client in clients:
            client.start()
        for done in (20, 60):
            wait_until(lambda done=done: len(acknowledged) >= done)
            server.kill()
            server.start()
        for client in clients:
            client.join(timeout=60)

    points = MetricPoint.objects.filter(series__run=run).values_list("series__key", "step", "value")
    assert sorted(points) == sorted(
        (key, step, step / 7) for key, step in itertools.product(KEYS, range(BATCHES * STEPS))
    )
    for series in MetricSeries.objects.filter(run=run):
        assert series.count == BATCHES * STEPS
    last = BATCHES * STEPS - 1
    assert Run.objects.get(pk=run.pk).metrics == dict.fromkeys(KEYS, last / 7)
