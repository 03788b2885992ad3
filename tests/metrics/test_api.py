"""The metrics API: summaries, series, sending points."""

import json
import math
from typing import ClassVar

import pytest
from django.utils import timezone

from metrics.models import MetricPoint
from metrics.points import Point
from metrics.recording import record_metrics
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
NOON_MS = 1_704_196_800_000  # 2024-01-02 12:00 UTC


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


def record(run, key, values, *, times=None):
    """Record ``values`` at steps 1, 2, …, one per second, or at ``times`` in seconds after noon."""
    times = times or range(1, len(values) + 1)
    record_metrics(
        run,
        [
            Point(key, step, value, timestamp_ms=NOON_MS + 1000 * second)
            for step, (value, second) in enumerate(zip(values, times, strict=True), start=1)
        ],
    )


def url(run, rest=""):
    return f"/projects/{run.project_id}/runs/{run.pk}/metrics{rest}"


def series(client, run, query):
    response = client.get(url(run, f"/series?{query}"))
    assert response.status_code == 200, response.content
    return response.json()["items"]


class TestSummaries:
    def test_summary_has_last_minimum_maximum_and_count(self, client):
        run = RunFactory.create()
        record(run, "train_loss", [2.0, 4.0, 1.0, 3.0])

        content = client.get(url(run)).json()

        assert content == {
            "items": [
                {
                    "key": "train_loss",
                    "last": 3.0,
                    "last_step": 4,
                    "last_timestamp": "2024-01-02T12:00:04.000Z",
                    "min": 1.0,
                    "max": 4.0,
                    "count": 4,
                }
            ]
        }

    def test_nan_and_infinity_are_strings(self, client):
        run = RunFactory.create()
        record(run, "a", [-math.inf, math.inf, math.nan])

        [item] = client.get(url(run)).json()["items"]

        assert (item["last"], item["min"], item["max"]) == ("NaN", "-Infinity", "Infinity")

    def test_minimum_and_maximum_of_only_nan_are_null(self, client):
        run = RunFactory.create()
        record(run, "a", [math.nan])

        [item] = client.get(url(run)).json()["items"]

        assert (item["last"], item["min"], item["max"]) == ("NaN", None, None)

    @pytest.mark.parametrize(
        ("query", "keys"),
        [
            ("prefix=eval/", ["eval/Loss", "eval/acc"]),
            ("prefix=loss", []),
            ("q=LOSS", ["eval/Loss", "train/loss"]),
            ("prefix=eval/&q=loss", ["eval/Loss"]),
            ("q=%25", []),
        ],
    )
    def test_filters_select_keys(self, client, query, keys):
        run = RunFactory.create()
        for key in ("train/loss", "eval/Loss", "eval/acc"):
            record(run, key, [1.0])

        items = client.get(url(run, f"?{query}")).json()["items"]

        assert [item["key"] for item in items] == keys

    def test_page_has_total_count_and_link_to_the_next(self, client):
        run = RunFactory.create()
        for number in range(5):
            record(run, f"layer.{number}", [1.0])

        response = client.get(url(run, "?page=2&page_size=2"))

        assert [item["key"] for item in response.json()["items"]] == ["layer.2", "layer.3"]
        assert response.headers["X-Total-Count"] == "5"
        assert 'page=3&page_size=2>; rel="next"' in response.headers["Link"]

    def test_query_count_does_not_depend_on_the_number_of_metrics(
        self, client, django_assert_num_queries
    ):
        run = RunFactory.create()
        for number in range(30):
            record(run, f"layer.{number}", [1.0] * 5)
        client.get("/projects")

        with django_assert_num_queries(2):  # run, series
            client.get(url(run))

    def test_run_of_another_project_is_404(self, client):
        run, other = RunFactory.create(), ProjectFactory.create()

        response = client.get(f"/projects/{other.pk}/runs/{run.pk}/metrics")

        assert response.status_code == 404

    @pytest.mark.parametrize("query", ["page=0", "page_size=501", "prefix=%00", "q=%00"])
    def test_bad_parameter_is_named(self, client, query):
        response = client.get(url(RunFactory.create(), f"?{query}"))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == query.partition("=")[0]


class TestSeries:
    def test_points_that_fit_are_exact(self, client):
        run = RunFactory.create()
        record(run, "train_loss", [2.0, math.nan])

        assert series(client, run, "keys=train_loss") == [
            {
                "key": "train_loss",
                "exact": True,
                "points": [
                    {"step": 1, "timestamp": "2024-01-02T12:00:01.000Z", "value": 2.0},
                    {"step": 2, "timestamp": "2024-01-02T12:00:02.000Z", "value": "NaN"},
                ],
                "buckets": [],
            }
        ]

    def test_points_that_do_not_fit_are_returned_as_buckets(self, client):
        run = RunFactory.create()
        record(run, "train_loss", [2.0, 9.0, -1.0, 4.0])

        assert series(client, run, "keys=train_loss&max_points=1") == [
            {
                "key": "train_loss",
                "exact": False,
                "points": [],
                "buckets": [
                    {
                        "count": 4,
                        "min": -1.0,
                        "min_step": 3,
                        "max": 9.0,
                        "max_step": 2,
                        "first": 2.0,
                        "first_step": 1,
                        "first_timestamp": "2024-01-02T12:00:01.000Z",
                        "last": 4.0,
                        "last_step": 4,
                        "last_timestamp": "2024-01-02T12:00:04.000Z",
                    }
                ],
            }
        ]

    def test_spike_is_kept_in_its_bucket_with_its_step(self, client):
        run = RunFactory.create()
        values = [1.0] * 1000
        values[617] = 99.0
        record(run, "train_loss", values)

        [item] = series(client, run, "keys=train_loss&max_points=10")

        assert len(item["buckets"]) <= 10
        assert sum(bucket["count"] for bucket in item["buckets"]) == 1000
        assert [b["max_step"] for b in item["buckets"] if b["max"] == 99.0] == [618]

    def test_minimum_and_maximum_of_equal_values_have_the_first_step(self, client):
        run = RunFactory.create()
        record(run, "a", [1.0, 1.0, 1.0])

        [item] = series(client, run, "keys=a&max_points=1")

        [bucket] = item["buckets"]
        assert (bucket["min_step"], bucket["max_step"]) == (1, 1)

    def test_bucket_of_only_nan_has_no_minimum_and_maximum(self, client):
        run = RunFactory.create()
        record(run, "a", [math.nan, math.nan])

        [item] = series(client, run, "keys=a&max_points=1")

        [bucket] = item["buckets"]
        assert (bucket["min"], bucket["min_step"], bucket["max"], bucket["max_step"]) == (None,) * 4
        assert (bucket["first"], bucket["last"]) == ("NaN", "NaN")

    def test_range_is_inclusive(self, client):
        run = RunFactory.create()
        record(run, "a", [float(step) for step in range(1, 101)])

        [item] = series(client, run, "keys=a&from_step=10&to_step=12&max_points=3")

        assert [point["step"] for point in item["points"]] == [10, 11, 12]

    @pytest.mark.parametrize("query", ["keys=b&keys=a", "keys=b,a", "keys=b,&keys=a,never_logged"])
    def test_keys_can_be_repeated_or_separated_by_commas(self, client, query):
        run = RunFactory.create()
        record(run, "a", [1.0])
        record(run, "b", [2.0])
        record(run, "c", [3.0])

        assert [item["key"] for item in series(client, run, query)] == ["a", "b"]

    def test_key_with_a_comma_is_found(self, client):
        run = RunFactory.create()
        record(run, "precision,recall", [1.0])

        [item] = series(client, run, "keys=precision,recall")

        assert item["key"] == "precision,recall"

    def test_unknown_key_is_absent(self, client):
        assert series(client, RunFactory.create(), "keys=never_logged") == []

    def test_points_by_time_are_ordered_by_time(self, client):
        run = RunFactory.create()
        record(run, "a", [1.0, 2.0, 3.0], times=[30, 10, 20])

        [item] = series(client, run, "keys=a&x=time")

        assert [point["step"] for point in item["points"]] == [2, 3, 1]

    def test_buckets_by_time_are_spans_of_time(self, client):
        run = RunFactory.create()
        record(run, "a", [1.0, 2.0, 3.0, 4.0], times=[0, 1, 2, 1000])

        [item] = series(client, run, "keys=a&x=time&max_points=2")

        assert [bucket["count"] for bucket in item["buckets"]] == [3, 1]

    def test_points_of_one_step_by_time_are_spread_over_buckets(self, client):
        run = RunFactory.create()
        record_metrics(
            run, [Point("a", 0, 1.0, timestamp_ms=NOON_MS + second) for second in range(100)]
        )

        [item] = series(client, run, "keys=a&x=time&max_points=10")

        assert [bucket["count"] for bucket in item["buckets"]] == [10] * 10

    def test_range_may_have_any_64_bit_steps(self, client):
        run = RunFactory.create()
        record(run, "a", [1.0])

        [item] = series(client, run, f"keys=a&from_step={-(2**63)}&to_step={2**63 - 1}")

        assert len(item["points"]) == 1

    def test_time_beyond_year_9999_is_formatted(self, client):
        run = RunFactory.create()
        record_metrics(run, [Point("a", 1, 1.0, timestamp_ms=10**15)])

        [item] = series(client, run, "keys=a")

        assert item["points"][0]["timestamp"] == "+033658-09-27T01:46:40.000Z"

    @pytest.mark.parametrize(
        ("query", "attr"),
        [
            ("", "keys"),
            ("keys=", "keys.0"),
            ("keys=%00", "keys.0"),
            ("keys=" + ",".join(map(str, range(101))), "keys"),
            ("&".join(f"keys={number}" for number in range(101)), "keys"),
            ("keys=a&max_points=0", "max_points"),
            ("keys=a&max_points=10001", "max_points"),
            ("keys=a&max_points=", "max_points"),
            ("keys=a&max_points=many", "max_points"),
            (f"keys=a&from_step={-(2**63) - 1}", "from_step"),
            (f"keys=a&to_step={2**63}", "to_step"),
            ("keys=a&to_step=1.5", "to_step"),
            ("keys=a&x=epoch", "x"),
        ],
    )
    def test_bad_parameter_is_named(self, client, query, attr):
        response = client.get(url(RunFactory.create(), f"/series?{query}"))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == attr

    def test_run_of_another_project_is_404(self, client):
        run, other = RunFactory.create(), ProjectFactory.create()

        response = client.get(f"/projects/{other.pk}/runs/{run.pk}/metrics/series?keys=a")

        assert response.status_code == 404


def test_series_of_too_many_points_in_total_is_rejected(client):
    keys = "&".join(f"keys=k{number}" for number in range(21))

    response = client.get(url(RunFactory.create(), f"/series?{keys}&max_points=10000"))

    assert response.status_code == 400
    assert response.json()["errors"][0]["attr"] == "max_points"


class TestSending:
    AT = "2024-01-02T10:15:00.250Z"

    def point(self, **fields):
        return {"key": "train_loss", "step": 1, "value": 0.5, "timestamp": self.AT, **fields}

    def send(self, client, run, points):
        return client.post(
            f"/projects/{run.project_id}/runs/{run.pk}/metrics",
            json.dumps({"points": points}),
            content_type="application/json",
        )

    def stored(self, run):
        points = MetricPoint.objects.filter(series__run=run)
        return sorted(points.values_list("series__key", "step", "timestamp_ms", "value"))

    def test_points_are_stored_and_update_the_run(self, client):
        run = RunFactory.create()

        response = self.send(client, run, [self.point(), self.point(key="lr", value="Infinity")])

        assert (response.status_code, response.json()) == (200, {"count": 2})
        at = 1_704_190_500_250
        assert self.stored(run) == [("lr", 1, at, math.inf), ("train_loss", 1, at, 0.5)]
        assert client.get(f"/projects/{run.project_id}/runs/{run.pk}").json()["metrics"] == {
            "lr": "Infinity",
            "train_loss": 0.5,
        }

    def test_batch_sent_twice_is_stored_once(self, client):
        run = RunFactory.create()
        points = [self.point(step=step) for step in range(100)]

        for _time in range(2):
            assert self.send(client, run, points).json() == {"count": 100}

        assert len(self.stored(run)) == 100

    @pytest.mark.parametrize(
        ("bad", "attr"),
        [
            ({"value": "many"}, "points.1.value"),
            ({"value": None}, "points.1.value"),
            ({"step": 1.5}, "points.1.step"),
            ({"step": 2**63}, "points.1.step"),
            ({"step": "1"}, "points.1.step"),
            ({"key": ""}, "points.1.key"),
            ({"key": "x" * 251}, "points.1.key"),
            ({"key": "a\x00b"}, "points.1.key"),
            ({"timestamp": "2024-01-02T10:15:00"}, "points.1.timestamp"),
            ({"timestamp": "1969-12-31T23:59:59Z"}, "points.1.timestamp"),
            ({"timestamp": 1_704_190_500_250}, "points.1.timestamp"),
        ],
    )
    def test_batch_with_a_bad_point_is_rejected_and_the_point_named(self, client, bad, attr):
        run = RunFactory.create()

        response = self.send(client, run, [self.point(), self.point(**bad)])

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == attr
        assert self.stored(run) == []

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"points": []}', b"\xff", b"null"])
    def test_malformed_body_is_rejected(self, client, body):
        run = RunFactory.create()

        response = client.post(
            f"/projects/{run.project_id}/runs/{run.pk}/metrics",
            body,
            content_type="application/json",
        )

        assert response.status_code == 400

    @pytest.mark.parametrize(
        ("language", "detail"),
        [
            ("en", "A request must have 1 to 10,000 points; this one has 10,001."),
            ("zh-hans", "一次请求须有 1 到 10,000 个数据点，现有 10,001 个。"),
        ],
    )
    @pytest.mark.parametrize("form", ["points", "metrics"])
    def test_more_points_than_the_limit_are_refused_in_the_readers_language(
        self, client, form, language, detail
    ):
        run, count = RunFactory.create(), 10_001
        columns = {"steps": [1] * count, "values": [0.5] * count, "timestamps_ms": [1] * count}
        content = {"points": [self.point()] * count, "metrics": {"loss": columns}}

        response = client.post(
            f"/projects/{run.project_id}/runs/{run.pk}/metrics",
            json.dumps({form: content[form]}),
            content_type="application/json",
            headers={"Accept-Language": language},
        )

        [error] = response.json()["errors"]
        assert (response.status_code, error["attr"], error["detail"]) == (400, form, detail)
        assert self.stored(run) == []

    def test_body_over_the_limit_is_rejected(self, client, settings):
        settings.MAX_JSON_BYTES = 100
        run = RunFactory.create()

        assert self.send(client, run, [self.point()] * 9).status_code == 413

    def test_run_in_the_trash_accepts_no_points(self, client):
        run = RunFactory.create(deleted_at=timezone.now())

        response = self.send(client, run, [self.point()])

        assert response.status_code == 409
        assert response.json()["errors"][0]["code"] == "run_in_trash"


class TestSendingInColumns:
    GOOD: ClassVar = {"steps": [1, 2], "values": [0.5, 0.25], "timestamps_ms": [1000, 2000]}

    def send(self, client, run, metrics, **more):
        return client.post(
            f"/projects/{run.project_id}/runs/{run.pk}/metrics",
            json.dumps({"metrics": metrics, **more}),
            content_type="application/json",
        )

    def stored(self, run):
        points = MetricPoint.objects.filter(series__run=run)
        return sorted(points.values_list("series__key", "step", "timestamp_ms", "value"))

    def test_points_are_stored_and_update_the_run(self, client):
        run = RunFactory.create()
        lr = {"steps": [2], "values": ["-Infinity"], "timestamps_ms": [2000]}

        response = self.send(client, run, {"loss": self.GOOD, "lr": lr})

        assert (response.status_code, response.json()) == (200, {"count": 3})
        assert self.stored(run) == [
            ("loss", 1, 1000, 0.5),
            ("loss", 2, 2000, 0.25),
            ("lr", 2, 2000, -math.inf),
        ]
        run.refresh_from_db()
        assert (run.step, run.metrics) == (2, {"loss": 0.25, "lr": "-Infinity"})

    def test_points_are_the_same_as_those_sent_one_by_one(self, client):
        run = RunFactory.create()
        self.send(client, run, {"loss": self.GOOD})

        client.post(
            f"/projects/{run.project_id}/runs/{run.pk}/metrics",
            json.dumps(
                {
                    "points": [
                        {"key": "loss", "step": step, "value": value, "timestamp": at}
                        for step, value, at in (
                            (1, 0.5, "1970-01-01T00:00:01Z"),
                            (2, 0.25, "1970-01-01T00:00:02Z"),
                        )
                    ]
                }
            ),
            content_type="application/json",
        )

        assert len(self.stored(run)) == 2

    @pytest.mark.parametrize(
        ("bad", "place"),
        [
            ({"steps": [1, 1.5]}, ".steps.1"),
            ({"steps": [1, 2**63]}, ".steps.1"),
            ({"steps": [1]}, ".values"),
            ({"steps": [], "values": [], "timestamps_ms": []}, ".steps"),
            ({"values": [0.5]}, ".values"),
            ({"values": [0.5, "many"]}, ".values.1"),
            ({"values": None}, ".values"),
            ({"timestamps_ms": [1000]}, ".timestamps_ms"),
            ({"timestamps_ms": [1000, -1]}, ".timestamps_ms.1"),
            ({"timestamps_ms": [1000, 253_402_300_800_000]}, ".timestamps_ms.1"),
            ({"timestamps_ms": [1000, "1970-01-01T00:00:02Z"]}, ".timestamps_ms.1"),
            ({"timestamps": []}, ".timestamps"),
        ],
    )
    def test_bad_column_is_rejected_and_its_key_and_place_named(self, client, bad, place):
        run = RunFactory.create()

        response = self.send(client, run, {"lr": self.GOOD, "val/loss": {**self.GOOD, **bad}})

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == f"metrics.val/loss{place}"
        assert self.stored(run) == []

    def test_time_out_of_range_is_refused_as_it_is_one_by_one(self, client):
        run = RunFactory.create()
        point = {"key": "lr", "step": 1, "value": 1.0, "timestamp": "1969-12-31T23:59:59Z"}

        response = self.send(client, run, {"lr": {**self.GOOD, "timestamps_ms": [1000, -1]}})
        other = client.post_json(f"/projects/{run.project_id}/runs/{run.pk}/metrics",
                                 {"points": [point]})  # fmt: skip

        details = [answer.json()["errors"][0]["detail"] for answer in (response, other)]
        assert details[0] == details[1]

    @pytest.mark.parametrize("key", ["", "x" * 251, "a\x00b"])
    def test_bad_key_is_named(self, client, key):
        response = self.send(client, RunFactory.create(), {"lr": self.GOOD, key: self.GOOD})

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == f"metrics.{key}"

    @pytest.mark.parametrize(
        "more", [{"metrics": {"loss": GOOD}, "points": []}, {"metrics": {}}, {"metrics": []}]
    )
    def test_both_forms_at_once_and_none_are_rejected(self, client, more):
        assert self.send(client, RunFactory.create(), **more).status_code == 400
