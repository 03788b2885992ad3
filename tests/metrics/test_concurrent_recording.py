"""Concurrent clients whose batches repeat, overlap and arrive out of order."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

import pytest
from django.db import transaction
from django.utils import translation
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics import buckets, point_queries, recording
from metrics.models import MetricPoint
from metrics.point_queries import create_series
from metrics.points import Point, Points
from metrics.reading import series
from metrics.recording import record_points
from runs.models import Run
from tests.concurrency import in_parallel, transaction_elsewhere
from tests.factories import RunFactory
from tests.metrics.test_buckets import assert_exact
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

NOW = datetime(2026, 1, 2, tzinfo=UTC)

points = st.builds(
    Point,
    key=st.sampled_from(["loss", "accuracy", "lr"]),
    step=st.integers(0, 30),
    value=st.sampled_from([0.5, -1.0, 7.25, float("inf")]),
    timestamp_ms=st.integers(0, 1),
)
# The batches of each client, which may have points in common with those of others.
clients = st.lists(
    st.lists(st.lists(points, min_size=1, max_size=10), max_size=5), min_size=2, max_size=3
)


@given(clients=clients)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_interleaving_stores_exactly_the_set_of_points_sent(monkeypatch, clients):
    monkeypatch.setattr(buckets, "MIN_UNBUCKETED", 5)
    monkeypatch.setattr(buckets, "POINTS_PER_BUCKET", 2)
    run = RunFactory()

    def push(batches):
        for batch in [*batches, *batches[::-1]]:
            record_points(run.pk, Points.of(batch))

    results = in_parallel(*(lambda batches=batches: push(batches) for batches in clients))

    assert results == [None] * len(clients)
    sent = {
        (point.key, point.step, point.timestamp_ms, point.value)
        for batches in clients
        for batch in batches
        for point in batch
    }
    stored = list(
        MetricPoint.objects.filter(series__run=run).values_list(
            "series__key", "step", "timestamp_ms", "value"
        )
    )
    assert len(stored) == len(sent)
    assert set(stored) == sent
    run.refresh_from_db()
    latest = {key: max(row for row in sent if row[0] == key)[3] for key, *_rest in sent}
    assert {key: float(value) for key, value in run.metrics.items()} == latest
    for curve in series(run.pk, list(latest), max_points=4):
        expected = sorted(row[1:] for row in sent if row[0] == curve.key)
        if curve.buckets:
            assert_exact(curve.buckets, expected)
        else:
            assert [(point.step, point.timestamp_ms) for point in curve.points] == [
                row[:2] for row in expected
            ]


def rank_points(rank: int) -> Points:
    return Points.of([Point(f"rank{rank}/loss", 1, float(rank), 1000)])


def while_another_writes(run: Run, *functions: Callable[[], object]) -> list[object]:
    """Call the functions in threads that gather while somebody holds the run's row; return what
    each returned or raised."""
    with ThreadPoolExecutor(len(functions)) as pool:
        with transaction_elsewhere(lambda: Run.objects.lock(run.pk)):
            calls = [pool.submit(in_parallel, function) for function in functions]
            wait_until(
                lambda: sum(map(len, recording._together._waiting.values())) + 1 == len(calls)
            )
        return [result for call in calls for result in call.result(timeout=30)]


def test_ranks_that_wait_for_one_run_are_stored_by_two_statements(monkeypatch, settings):
    settings.WEB_THREADS = 16  # of which half may wait
    run, stored = RunFactory(), []
    store = point_queries.append_points
    monkeypatch.setattr(
        point_queries,
        "append_points",
        lambda run_id, points, **options: (
            stored.append(len(points)) or store(run_id, points, **options)
        ),
    )
    create_series(run.pk, [f"rank{rank}/loss" for rank in range(8)])

    results = while_another_writes(
        run, *(partial(record_points, run.pk, rank_points(rank)) for rank in range(8))
    )

    run.refresh_from_db()
    assert results == [None] * 8
    assert stored == [1, 7]
    assert run.metrics == {f"rank{rank}/loss": float(rank) for rank in range(8)}
    assert run.step == 1


def test_refused_batch_of_a_group_leaves_the_others_stored(monkeypatch):
    monkeypatch.setattr(recording, "MAX_SERIES", 4)
    run = RunFactory()
    too_many = Points.of([Point(f"wide/{number}", 1, 0.0, 1000) for number in range(5)])

    def send_too_many():
        with translation.override("en"):
            record_points(run.pk, too_many)

    *results, refused = while_another_writes(
        run,
        *(partial(record_points, run.pk, rank_points(rank)) for rank in range(3)),
        send_too_many,
    )

    run.refresh_from_db()
    assert results == [None] * 3
    assert isinstance(refused, recording.TooManyMetrics)
    with translation.override("en"):
        assert str(refused) == "A run can have at most 4 metrics."
    assert set(run.metrics) == {f"rank{rank}/loss" for rank in range(3)}


def test_group_for_a_run_that_goes_to_the_trash_is_refused_as_each_would_be():
    run = RunFactory()
    with ThreadPoolExecutor(3) as pool:
        with transaction_elsewhere(lambda: Run.objects.filter(pk=run.pk).update(deleted_at=NOW)):
            calls = [
                pool.submit(in_parallel, partial(record_points, run.pk, rank_points(rank)))
                for rank in range(3)
            ]
            wait_until(lambda: sum(map(len, recording._together._waiting.values())) == 2)
        results = [call.result(timeout=30)[0] for call in calls]

    assert [type(result) for result in results] == [recording.RunGone] * 3


def test_points_of_a_transaction_are_not_gathered_with_others():
    run = RunFactory()

    with transaction.atomic():
        record_points(run.pk, rank_points(0))
        transaction.set_rollback(True)

    assert not MetricPoint.objects.filter(series__run=run).exists()
