"""What the charts of pages draw: their layout, data, marks and ancestors."""

import csv
import io
import json
import math

import numpy as np
import pytest

from accounts.open_mode import local_administrator
from artifacts.kinds import TagValue
from artifacts.models import EvaluationResult
from artifacts.storing import store_evaluation
from core.times import milliseconds
from dashboard.charts import layout
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models.event import EventKind
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, checkpoint
from tests.long_series import store

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


def url_of(run, part):
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}/{part}"


def strict(response):
    """Its JSON, which must have no NaN."""
    return json.loads(response.content, parse_constant=lambda name: pytest.fail(name))


def curve_of(client, run, **query):
    [curve] = strict(client.get(url_of(run, "series"), {"key": "loss", **query}))["curves"]
    return curve


# --- layout ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["train_loss", "eval_loss"], {"loss": ["train_loss", "eval_loss"]}),
        (["val/acc", "train/acc"], {"acc": ["train/acc", "val/acc"]}),
        (["eval_rouge_l"], {"eval_rouge_l": ["eval_rouge_l"]}),
        (["train_", "training"], {"train_": ["train_"], "training": ["training"]}),
        (["z", "a", "loss"], {"loss": ["loss"], "a": ["a"], "z": ["z"]}),
    ],
)
def test_metrics_of_the_same_quantity_share_a_chart(keys, expected):
    found = layout.group_by_title(keys)

    assert found == expected
    assert list(found) == list(expected)


def test_charts_are_in_sections_by_prefix():
    keys = ["system/gpu", "train/loss", "eval/loss", "grad_norm", "layers/0/norm", "eval/bleu"]

    found = {
        section["name"]: [chart["title"] for chart in section["charts"]]
        for section in layout.sections(keys)
    }

    assert found == {
        "": ["grad_norm"],
        "train/": ["loss"],
        "eval/": ["eval/bleu"],
        "layers/": ["layers/0/norm"],
        "system/": ["system/gpu"],
    }
    assert list(found) == ["", "train/", "eval/", "layers/", "system/"]


def test_every_metric_has_a_chart(client):
    run = RunFactory()
    record_metrics(run, [Point(f"metric_{n}", 1, 1.0, 0) for n in range(150)])

    [section] = client.get(url_of(run, "charts")).json()["sections"]

    assert len(section["charts"]) == 150


# --- data ------------------------------------------------------------------------------------


def test_few_points_are_exact_and_strict_json(client):
    run = RunFactory()
    values = [2.5, math.nan, math.inf, -math.inf]
    record_metrics(run, [Point("loss", n, value, 1000 * n) for n, value in enumerate(values)])

    curve = curve_of(client, run)

    assert curve["exact"] is True
    assert curve["step"] == [0, 1, 2, 3]
    assert curve["ms"] == [0, 1000, 2000, 3000]
    assert curve["value"] == [2.5, "NaN", "Infinity", "-Infinity"]


def test_many_points_are_buckets_with_their_extremes(client):
    values = np.ones(10_000)
    values[7654] = 99.0
    run = RunFactory()
    store(run, "loss", values)

    curve = curve_of(client, run, width=100)

    assert curve["exact"] is False
    assert len(curve["step"]) <= 100
    assert max(curve["max"]) == 99.0
    assert sum(curve["count"]) == curve["total"] == 10_000


def test_steps_of_extremes_count_from_the_first_of_their_bucket(client):
    values = np.ones(10_000)
    values[7654], values[1234] = 99.0, -99.0
    run = RunFactory()
    store(run, "loss", values)

    curve = curve_of(client, run, width=100)

    highest, lowest = curve["max"].index(99.0), curve["min"].index(-99.0)
    assert curve["first_step"][highest] + curve["max_after"][highest] == 7654
    assert curve["first_step"][lowest] + curve["min_after"][lowest] == 1234


def test_range_in_view_is_read_finer(client):
    run = RunFactory()
    store(run, "loss", np.arange(10_000.0))

    curve = curve_of(client, run, **{"from": 5000, "to": 5009, "width": 100})

    assert curve["value"] == list(range(5000, 5010))


def test_nothing_new_costs_304(client):
    run = RunFactory()
    record_metrics(run, [Point("loss", 1, 1.0, 0)])
    etag = client.get(url_of(run, "series"), {"key": "loss"}).headers["ETag"]

    again = client.get(url_of(run, "series"), {"key": "loss"}, headers={"If-None-Match": etag})
    record_metrics(run, [Point("loss", 2, 1.0, 0)])
    after = client.get(url_of(run, "series"), {"key": "loss"}, headers={"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")
    assert after.status_code == 200


def test_only_what_a_page_does_not_have_is_sent(client):
    run = RunFactory()
    record_metrics(run, [Point("loss", step, 1.0, 0) for step in range(10)])
    record_metrics(run, [Point("other", 1, 1.0, 0)])

    answer = strict(client.get(url_of(run, "series"), {"have": f"{run.pk}::8:loss"}))

    [curve] = answer["curves"]
    assert (curve["continued"], curve["step"]) == (True, [8, 9])


def test_curves_of_several_runs_of_several_projects_come_together(client):
    runs = [RunFactory(), RunFactory(project=ProjectFactory(name="another"))]
    for run in runs:
        record_metrics(run, [Point("loss", 1, 1.0, 0)])

    query = {"run": [run.pk for run in runs], "key": ["loss", "unknown"]}
    found = strict(client.get("/dashboard/series", query))["curves"]

    assert {curve["run"] for curve in found} == {run.pk for run in runs}


def test_curves_of_runs_in_the_trash_are_left_out(client):
    run = RunFactory(status=RunStatus.COMPLETED)
    record_metrics(run, [Point("loss", 1, 1.0, 0)])
    run.move_to_trash(by=None)

    found = strict(client.get("/dashboard/series", {"run": run.pk, "key": "loss"}))["curves"]

    assert found == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "x"},
        {"to": str(10**30)},
        {"width": "0"},
        {"width": "1" * 10_000},
        {"have": "nonsense"},
        {"have": "run:1:x:loss"},
        {"have": "run:99:1:loss"},
        {"key": ["k"] * 1 + [f"k{n}" for n in range(300)]},
        {"run": [f"run_{n}" for n in range(60)]},
    ],
)
def test_bad_query_is_an_error_that_says_what(client, query):
    response = client.get("/dashboard/series", {"key": "loss", **query})

    assert response.status_code == 400
    assert response.json()["detail"]


def test_nul_in_a_query_finds_nothing(client):
    run = RunFactory()

    assert strict(client.get(url_of(run, "series"), {"key": "a\0b"})) == {"curves": []}
    assert strict(client.get("/dashboard/series", {"run": "a\0b", "key": "loss"})) == {"curves": []}


@pytest.mark.parametrize("part", ["series", "series.csv", "charts", "plot.svg"])
def test_data_of_unknown_run_or_other_project_is_404(client, part):
    run = RunFactory()
    other = ProjectFactory()

    assert client.get(f"/dashboard/projects/{run.project_id}/runs/run_x/{part}").status_code == 404
    assert client.get(f"/dashboard/projects/{other.pk}/runs/{run.pk}/{part}").status_code == 404


def test_csv_has_what_is_shown(client):
    run = RunFactory()
    values = np.ones(10_000)
    values[17] = 99.0
    store(run, "loss", values)

    response = client.get(url_of(run, "series.csv"), {"key": "loss", "width": 50})

    rows = list(csv.DictReader(io.StringIO(response.getvalue().decode())))
    assert f'filename="{run.pk}.csv"' in response.headers["Content-Disposition"]
    assert sum(int(row["points"]) for row in rows) == 10_000
    assert (rows[0]["maximum"], rows[0]["maximum_step"]) == ("99.0", "17")


# --- marks and ancestors ---------------------------------------------------------------------


def chart_list(client, run):
    return client.get(url_of(run, "charts")).json()


def test_checkpoints_are_marked_at_their_steps(client):
    run = RunFactory()
    checkpoint(run, step=40)

    [mark] = chart_list(client, run)["marks"]

    assert (mark["kind"], mark["run"], mark["step"]) == ("checkpoint", run.pk, 40)


def test_every_evaluation_of_a_rewritten_file_is_marked_at_its_time(client):
    run = RunFactory()
    times = [
        store_evaluation(run, io.BytesIO(b'{"acc": 0.5, "f1": 0.4}'), step=step).updated_at
        for step in (0, 100, 200)
    ]

    marks = chart_list(client, run)["marks"]

    assert [(mark["kind"], mark["step"]) for mark in marks] == [
        ("evaluation", 0),
        ("evaluation", 100),
        ("evaluation", 200),
    ]
    assert [mark["ms"] for mark in marks] == [milliseconds(time) for time in times]


def test_evaluation_of_an_earlier_version_is_marked_by_its_step(client):
    run = RunFactory()
    store_evaluation(run, io.BytesIO(b'{"acc": 0.5}'), step=100)
    EvaluationResult.objects.update(created_at=None)

    [mark] = chart_list(client, run)["marks"]

    assert (mark["step"], mark["ms"]) == (100, None)


def test_evaluation_without_numbers_is_marked(client):
    run = RunFactory()
    store_evaluation(run, io.BytesIO(b'["good"]'), step=100)

    [mark] = chart_list(client, run)["marks"]

    assert (mark["kind"], mark["step"]) == ("evaluation", 100)


def test_restarts_are_marked_at_their_times(client):
    run = RunFactory(attempt=2)
    run.note(EventKind.RECOVERED, reason="The process died.")

    [mark] = chart_list(client, run)["marks"]

    assert mark["kind"] == "restart"
    assert "The process died." in mark["text"]


def test_resumed_run_continues_the_curves_of_its_ancestors(client):
    first = RunFactory(status=RunStatus.COMPLETED)
    second = RunFactory(
        project=first.project, resumed_from_id=checkpoint(first, step=60).pk, start_step=60
    )
    third = RunFactory(
        project=first.project, resumed_from_id=checkpoint(second, step=90).pk, start_step=90
    )
    record_metrics(first, [Point("only_of_the_first", 1, 1.0, 0)])

    found = chart_list(client, third)

    assert [(part["run"], part["until"]) for part in found["segments"]] == [
        (third.pk, None),
        (second.pk, 90),
        (first.pk, 60),
    ]
    assert found["sections"][0]["charts"][0]["keys"] == ["only_of_the_first"]


def test_many_ancestors_take_as_many_queries_as_one(client, django_assert_max_num_queries):
    run = RunFactory(status=RunStatus.COMPLETED)
    for step in range(1, 31):
        saved = checkpoint(run, step=step)
        saved.tag(TagValue.CANDIDATE, notes="", by=None)
        run = RunFactory(project=run.project, resumed_from_id=saved.pk, start_step=step)

    with django_assert_max_num_queries(15):
        found = chart_list(client, run)

    assert len(found["segments"]) == 31
    assert len([mark for mark in found["marks"] if mark["kind"] == "checkpoint"]) == 30


def test_ancestor_in_the_trash_is_left_out(client):
    first = RunFactory(status=RunStatus.COMPLETED)
    run = RunFactory(project=first.project, resumed_from_id=checkpoint(first, step=60).pk)
    first.move_to_trash(by=None)

    assert [part["run"] for part in chart_list(client, run)["segments"]] == [run.pk]


def test_marks_of_an_ancestor_end_where_it_was_left(client):
    first = RunFactory(status=RunStatus.COMPLETED)
    source = checkpoint(first, step=60)
    checkpoint(first, step=80)
    run = RunFactory(project=first.project, resumed_from_id=source.pk, start_step=60)

    marks = [mark for mark in chart_list(client, run)["marks"] if mark["kind"] == "checkpoint"]

    assert [mark["step"] for mark in marks] == [60]


def test_unchanged_list_of_charts_costs_304(client):
    run = RunFactory()
    etag = client.get(url_of(run, "charts")).headers["ETag"]

    again = client.get(url_of(run, "charts"), headers={"If-None-Match": etag})

    assert (again.status_code, again.content) == (304, b"")


# --- without scripts -------------------------------------------------------------------------


def test_page_without_scripts_shows_pictures(client):
    run = RunFactory()
    record_metrics(run, [Point("train_loss", 1, 1.0, 0), Point("eval_loss", 1, 1.0, 0)])

    page = client.get(url_of(run, "").rstrip("/")).content.decode()

    fallback = page.partition("<noscript>")[2].partition("</noscript>")[0]
    assert "plot.svg?keys=train_loss&amp;keys=eval_loss" in fallback
    assert 'loading="lazy"' in fallback


@pytest.mark.parametrize(("chosen", "theme"), [("", "auto"), ("dark", "dark"), ("light", "light")])
def test_pictures_of_a_page_have_its_theme(client, chosen, theme):
    run = RunFactory()
    record_metrics(run, [Point("loss", 1, 1.0, 0)])
    client.post("/dashboard/theme", {"theme": chosen})

    page = client.get(url_of(run, "").rstrip("/")).content.decode()

    assert f"title=loss&amp;theme={theme}" in page


def test_picture_for_a_page_is_svg(client):
    run = RunFactory()
    record_metrics(run, [Point("loss", 1, 1.0, 0)])

    response = client.get(url_of(run, "plot.svg"), {"keys": "loss"})

    assert response.headers["Content-Type"] == "image/svg+xml"
    assert response.content.startswith(b"<svg")


@pytest.mark.parametrize("query", [{}, {"keys": "loss", "width": "9" * 50}, {"keys": "a\0b"}])
def test_picture_of_a_bad_query_is_an_error(client, query):
    assert client.get(url_of(RunFactory(), "plot.svg"), query).status_code == 400
