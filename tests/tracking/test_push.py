"""Batches pushed while the web server is killed: each acknowledged batch is stored exactly once."""

import itertools
import threading
from http.client import HTTPException

import pytest
from django.conf import settings
from django.utils import translation

from metrics.models import MetricPoint, MetricSeries
from runs.models import Run
from tests.factories import RunFactory
from tests.waiting import wait_until
from tests.web_server import web_server
from trainhub.front.answers import ANSWERS

pytestmark = [
    pytest.mark.processes,
    pytest.mark.django_db(transaction=True, serialized_rollback=True),
]

BATCHES, STEPS, KEYS = 120, 10, ("loss", "accuracy")


def in_every_language(text):
    for language, _name in settings.LANGUAGES:
        with translation.override(language):
            yield str(text)


# The application's own 503 has other words, and fails the test.
STARTING = set(in_every_language(ANSWERS[503][2]))


def batch(run, number):
    return {
        "run_id": run.pk,
        "metrics": [
            {"key": key, "value": step / 7, "timestamp": 1_700_000_000_000 + step, "step": step}
            for step in range(number * STEPS, (number + 1) * STEPS)
            for key in KEYS
        ],
    }


def answer_to(server, content):
    """None while the server is away, or starts behind nginx: clients send the same again."""
    try:
        response = server.api.post("/api/2.0/mlflow/runs/log-batch", content)
    except (OSError, HTTPException):
        return None
    is_from_nginx = response.status == 503 and response.json["message"] in STARTING
    return None if is_from_nginx else response


def test_retries_across_server_kills_store_everything_once():
    run = RunFactory()
    acknowledged = []

    with web_server() as server:

        def acknowledge(number):
            response = wait_until(lambda: answer_to(server, batch(run, number)))
            assert response.status == 200, response.body
            acknowledged.append(number)

        def push(numbers):
            for number in numbers:
                acknowledge(number)

        clients = [
            threading.Thread(target=push, args=(range(first, BATCHES, 3),), daemon=True)
            for first in range(3)
        ]
        for client in clients:
            client.start()
        for count in (20, 60):
            wait_until(lambda count=count: len(acknowledged) >= count)
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
