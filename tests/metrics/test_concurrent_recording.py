"""Concurrent clients whose batches repeat, overlap and arrive out of order."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metrics import buckets
from metrics.models import MetricPoint
from metrics.points import Point, Points
from metrics.reading import series
from metrics.recording import record_points
from tests.concurrency import in_parallel
from tests.factories import RunFactory
from tests.metrics.test_buckets import assert_exact

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

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
    for curve in series(run, list(latest), max_points=4):
        expected = sorted(row[1:] for row in sent if row[0] == curve.key)
        if curve.buckets:
            assert_exact(curve.buckets, expected)
        else:
            assert [(point.step, point.timestamp_ms) for point in curve.points] == [
                row[:2] for row in expected
            ]
