"""Many curves at once, in columns: points where they are few, otherwise buckets on a fixed grid."""

import math

import numpy as np
import pytest

from metrics import curves
from metrics.curves import Buckets, Known, Points
from metrics.points import Point
from metrics.recording import record_metrics
from tests.factories import RunFactory
from tests.long_series import store

pytestmark = pytest.mark.django_db


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(7).normal(1.0, 0.1, count)


def one(run, key="loss", **options) -> curves.Curve:
    [curve] = curves.curves([run.pk], [key], **{"width": 300, **options})
    return curve


def test_few_points_are_all_there():
    run = RunFactory()
    record_metrics(run, [Point("loss", step, step / 2, step * 1000) for step in range(5)])

    curve = one(run)

    assert curve.is_exact
    assert curve.data.step.tolist() == [0, 1, 2, 3, 4]
    assert curve.data.ms.tolist() == [0, 1000, 2000, 3000, 4000]
    assert curve.data.value.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


def test_many_points_are_no_more_buckets_than_pixels():
    run = RunFactory()
    store(run, "loss", noise(100_000))

    curve = one(run)

    assert 100 <= len(curve.data.step) <= 300
    assert curve.data.count.sum() == 100_000
    assert (curve.data.first_step[0], curve.data.step[-1]) == (0, 99_999)


@pytest.mark.parametrize("width", [50, 300, 2000])
@pytest.mark.parametrize("spike", [0, 63_217, 99_999])
def test_no_spike_is_lost(width, spike):
    values = noise(100_000)
    values[spike] = 50.0
    run = RunFactory()
    store(run, "loss", values)

    data = one(run, width=width).data

    row = int(np.argmax(data.maximum))
    assert (data.maximum[row], data.maximum_step[row]) == (50.0, spike)


@pytest.mark.parametrize(("first", "last"), [(40_000, 40_999), (99_500, 99_999), (0, 700)])
def test_a_thousand_steps_are_exact(first, last):
    values = noise(100_000)
    run = RunFactory()
    store(run, "loss", values)

    curve = one(run, from_step=first, to_step=last)

    assert curve.is_exact
    assert curve.data.step.tolist() == list(range(first, last + 1))
    assert curve.data.value.tolist() == values[first : last + 1].tolist()


@pytest.mark.parametrize("steps", [3000, 20_000, 60_000])
def test_buckets_summarize_their_points(steps):
    values = noise(100_000)
    run = RunFactory()
    store(run, "loss", values)

    data = one(run, from_step=10_000, to_step=10_000 + steps).data

    assert isinstance(data, Buckets)
    assert data.first_step[0] <= 10_000
    assert data.step[-1] >= 10_000 + steps
    for row in range(len(data.step)):
        own = values[data.first_step[row] : data.step[row] + 1]
        assert data.count[row] == len(own)
        assert (data.minimum[row], data.maximum[row]) == (own.min(), own.max())
        assert data.value[row] == own[-1]


def test_buckets_begin_at_multiples_of_their_size():
    run = RunFactory()
    store(run, "loss", noise(100_000), first_step=17)

    curve = one(run)

    assert (curve.data.first_step[1:] % (1 << curve.shift) == 0).all()


def test_curves_of_several_runs_take_as_many_queries_as_one(django_assert_num_queries):
    runs = [RunFactory() for _ in range(4)]
    for run in runs:
        store(run, "loss", noise(10_000))

    with django_assert_num_queries(3):  # what there is, buckets, points in none
        found = curves.curves([run.pk for run in runs], ["loss"], width=300)

    assert {curve.run_id for curve in found} == {run.pk for run in runs}


def test_nan_is_neither_minimum_nor_maximum():
    values = noise(10_000)
    values[5000] = math.nan
    run = RunFactory()
    store(run, "loss", values)

    data = one(run).data

    assert not np.isnan(data.minimum).any()
    assert data.count.sum() == 10_000


def test_buckets_of_nan_alone_have_no_extremes():
    run = RunFactory()
    store(run, "loss", np.full(10_000, math.nan))

    data = one(run).data

    assert np.isnan(data.minimum).all()
    assert np.isnan(data.maximum).all()


def test_points_of_a_single_step_are_divided_by_time(monkeypatch):
    monkeypatch.setattr(curves, "POINTS_READ", 3000)
    run = RunFactory()
    record_metrics(run, [Point("loss", 0, float(n), n * 1000) for n in range(4000)])

    data = one(run, width=100).data

    assert 90 <= len(data.ms) <= 100
    assert data.count.sum() == 4000


@pytest.mark.parametrize("key", ["never_logged", "nul\x00byte"])
def test_unknown_metrics_are_left_out(key):
    assert curves.curves([RunFactory().pk], [key], width=300) == []


def test_steps_at_the_limits_of_a_bigint_are_read():
    run = RunFactory()
    record_metrics(run, [Point("loss", step, 1.0, 0) for step in (-(2**63), 0, 2**63 - 1)])

    assert one(run).data.step.tolist() == [-(2**63), 0, 2**63 - 1]


# --- what is new -----------------------------------------------------------------------------


def news(run, known: Known, **options) -> curves.Curve:
    stored = curves.find([run.pk], ["loss"])
    [curve] = curves.read(stored, width=300, known={(run.pk, "loss"): known}, **options)
    return curve


def test_an_exact_curve_is_continued_from_its_last_point():
    run = RunFactory()
    record_metrics(run, [Point("loss", step, 1.0, 0) for step in range(10)])

    curve = news(run, Known(None, 7))

    assert curve.is_continued
    assert curve.data.step.tolist() == [7, 8, 9]


def test_a_curve_of_buckets_is_continued_from_its_last_bucket():
    run = RunFactory()
    store(run, "loss", noise(100_000))
    before = one(run)
    record_metrics(run, [Point("loss", step, 9.0, 0) for step in range(100_000, 100_100)])

    curve = news(run, Known(before.shift, int(before.data.step[-1])))
    whole = one(run)

    assert curve.is_continued
    assert curve.shift == before.shift
    assert curve.data.first_step[0] == before.data.first_step[-1]
    kept = before.data.count[:-1].sum()
    assert kept + curve.data.count.sum() == curve.total == whole.total == 100_100


def test_a_curve_that_is_no_longer_exact_is_read_anew():
    run = RunFactory()
    store(run, "loss", noise(10_000))

    curve = news(run, Known(None, 1000))

    assert not curve.is_continued
    assert isinstance(curve.data, Buckets)


def test_a_curve_that_was_rewound_is_read_anew():
    run = RunFactory()
    record_metrics(run, [Point("loss", step, 1.0, 0) for step in range(10)])

    curve = news(run, Known(None, 50))

    assert not curve.is_continued
    assert isinstance(curve.data, Points)
    assert len(curve.data.step) == 10


def test_version_changes_with_a_point():
    run = RunFactory()
    record_metrics(run, [Point("loss", 1, 1.0, 0)])
    before = curves.version(curves.find([run.pk], ["loss"]))

    same = curves.version(curves.find([run.pk], ["loss"]))
    record_metrics(run, [Point("loss", 2, 1.0, 0)])

    assert same == before
    assert curves.version(curves.find([run.pk], ["loss"])) != before
