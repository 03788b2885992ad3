"""Several clients at once, whose batches repeat, overlap and come out of order."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from runs import buckets
from runs.ingestion import record_points
from runs.metrics import series
from runs.models import MetricPoint
from runs.points import Point, Points
from tests.concurrency import in_parallel
from tests.factories import RunFactory
from tests.runs.test_buckets import assert_true

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

points = st.builds(
    Point,
    key=st.sampled_from(["loss", "accuracy", "lr"]),
    step=st.integers(0, 30),
    value=st.sampled_from([0.5, -1.0, 7.25, float("inf")]),
    timestamp_ms=st.integers(0, 1),
)
# Each client sends its batches, some of them twice, and all of them share points.
clients = st.lists(
    st.lists(st.lists(points, min_size=1, max_size=10), max_size=5), min_size=2, max_size=3
)


@given(clients=clients)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_interleaving_stores_exactly_the_set_of_points_sent(monkeypatch, clients):
    monkeypatch.setattr(buckets, "WANTED_FROM", 5)
    monkeypatch.setattr(buckets, "POINTS_A_BUCKET", 2)
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
    for found in series(run, list(latest), max_points=4):
        mine = sorted(row[1:] for row in sent if row[0] == found.key)
        if found.buckets:
            assert_true(found.buckets, mine)
        else:
            assert [(point.step, point.timestamp_ms) for point in found.points] == [
                row[:2] for row in mine
            ]
