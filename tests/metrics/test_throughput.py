"""How many tokens a second a run trains on."""

import math

import pytest

from metrics.points import Point
from metrics.recording import record_metrics
from metrics.throughput import Unit, rise, throughput
from tests.factories import unmanaged_run

pytestmark = pytest.mark.django_db


def told_by(values, **fields):
    run = unmanaged_run(**fields)
    record_metrics(run, [Point(key, 1, value, 0) for key, value in values.items()])
    found = throughput(run)
    return found and (found.key, found.per_second, found.unit)


@pytest.mark.parametrize(
    "key",
    [
        "tokens_per_second",
        "train/tokens_per_sec",
        "perf/tokens/s",
        "tps",
        "train_tokens_per_second",
    ],
)
def test_rate_of_tokens_is_taken_as_it_is(key):
    assert told_by({key: 1234.0, "throughput": 3.0}) == (key, 1234.0, Unit.TOKENS)


@pytest.mark.parametrize("key", ["tokens_per_gpu_per_second", "perf/tokens_per_second_per_gpu"])
def test_rate_of_a_gpu_is_times_the_gpus(key):
    assert told_by({key: 100.0}, gpu_count=8) == (key, 800.0, Unit.TOKENS)


@pytest.mark.parametrize(
    ("key", "unit"),
    [("throughput", Unit.UNKNOWN), ("train_samples_per_second", Unit.SAMPLES)],
)
def test_other_rates_say_what_they_are_of(key, unit):
    assert told_by({key: 7.0}) == (key, 7.0, unit)


@pytest.mark.parametrize("key", ["loss", "lr", "steps", "system/tokens_per_second", "tokenizer"])
def test_other_metrics_tell_no_rate(key):
    assert told_by({key: 7.0}) is None


def test_count_of_tokens_tells_by_its_rise():
    run = unmanaged_run()
    points = [Point("num_input_tokens_seen", n, 500.0 * n, 1000 * n) for n in range(1, 200)]
    record_metrics(run, points)

    found = throughput(run)

    assert found is not None
    assert (found.per_second, found.unit) == (500.0, Unit.TOKENS)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        ([], None),
        ([(1000, 5.0)], None),
        ([(1000, 5.0), (1000, 4.0)], None),
        ([(2000, 5.0), (1000, 5.0)], None),
        ([(3000, 30.0), (2000, 20.0), (1000, 900.0)], 10.0),
        ([(3000, 30.0), (2000, 20.0), (1000, math.nan)], 10.0),
        ([(3000, math.nan), (2000, 20.0)], None),
    ],
)
def test_rise_reaches_back_to_where_the_count_began(points, expected):
    assert rise(points) == expected


def test_rate_that_is_not_finite_is_none():
    assert told_by({"tokens_per_second": math.nan}) is None
