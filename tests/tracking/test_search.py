"""Run search: PostgreSQL results agree with a reference implementation in Python."""

import math
import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given, settings
from hypothesis import strategies as st

from core.times import milliseconds
from metrics.models import MetricSeries
from runs import params_tags
from runs.models import DatasetInput, Run
from runs.models.run import ENDS
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory
from tracking import paging
from tracking.columns import RunColumns
from tracking.conditions import where
from tracking.filters import AllOf, Comparison, parse_filter, parse_orders
from tracking.runs import RUNS_IN_FULL
from tracking.vocabulary import STATUS_NAMES, artifact_uri

pytestmark = pytest.mark.django_db

INVALID = (400, "INVALID_PARAMETER_VALUE")
START = datetime(2024, 1, 1, tzinfo=UTC)
NAN, INFINITY = math.nan, math.inf
METRICS = [{}, {"loss": 0.5}, {"loss": 1.5, "a b": 2.0}, {"loss": NAN}, {"loss": -INFINITY}]
PARAMS = [{}, {"lr": "0.1", "0": "x"}, {"lr": 0.1}, {"lr": "It's"}, {"lr": 3e-5}, {"lr": True}]
TAGS = [{}, {"team": "nlp"}, {"team": "NLP%"}, {"team": "a\\b", "mlflow.user": "li"}]


def add_series(run, metrics):
    MetricSeries.objects.bulk_create(
        MetricSeries(
            run=run, key=key, count=1, last_value=value, last_step=1, last_timestamp_ms=1000
        )
        for key, value in metrics.items()
    )


def create_runs():
    """Create runs with distinct combinations of fields."""
    project = ProjectFactory()
    runs = []
    for number in range(24):
        status = RunStatus.values[number % 5]
        run = RunFactory(
            project=project,
            name=f"run-{number % 7}",
            recipe=None,
            status=status,
            finished_at=START + timedelta(microseconds=2900 * number) if status in ENDS else None,
            hyperparameters=PARAMS[number % len(PARAMS)],
            tags=TAGS[number % len(TAGS)],
            started_at=None if number % 6 == 5 else START + timedelta(microseconds=1700 * number),
        )
        add_series(run, METRICS[number % len(METRICS)])
        if number % 3 == 0:
            DatasetInput.objects.create(
                run=run,
                name=f"corpus-{number % 2}",
                digest="d",
                tags={"mlflow.data.context": "training"},
            )
        runs.append(run)
    return project, runs


# --- reference implementation ----------------------------------------------------------------


def value_of(run, name):
    """The value of ``name`` in ``run``, or None; a list for datasets."""
    if name.entity == "metric":
        metrics = run.series.filter(key=name.key)
        return metrics[0].last_value if metrics else None
    if name.entity == "param":
        return run.hyperparameters.get(name.key)
    if name.entity == "tag":
        return (run.tags | {"mlflow.runName": run.name}).get(name.key)
    if name.entity == "dataset":
        return [
            {"name": data.name, "digest": data.digest, "context": data.tags["mlflow.data.context"]}[
                name.key
            ]
            for data in run.dataset_inputs.all()
        ]
    return {
        "run_id": lambda: run.pk,
        "run_name": lambda: run.name,
        "status": lambda: STATUS_NAMES[run.status],
        "start_time": lambda: run.started_at and milliseconds(run.started_at),
        "end_time": lambda: run.finished_at and milliseconds(run.finished_at),
        "artifact_uri": lambda: artifact_uri(run.project_id, run.pk),
        "user_id": lambda: run.tags.get("mlflow.user"),
    }[name.key]()


def like(text, pattern, *, ignore_case=False):
    escaped = "".join({"%": ".*", "_": "."}.get(char, re.escape(char)) for char in pattern)
    return bool(re.fullmatch(escaped, text, re.DOTALL | (re.IGNORECASE if ignore_case else 0)))


def satisfies(value, operator, expected):
    if operator in ("IS NULL", "IS NOT NULL"):
        return (value is None) == (operator == "IS NULL")
    if value is None:
        return False
    equal = params_tags.equals_text if isinstance(expected, (str, tuple)) else lambda a, b: a == b
    text = value if isinstance(value, str) else params_tags.text_of(value)
    return {
        "=": lambda: equal(value, expected),
        "!=": lambda: not equal(value, expected),
        "<": lambda: value < expected,
        "<=": lambda: value <= expected,
        ">": lambda: value > expected,
        ">=": lambda: value >= expected,
        "LIKE": lambda: like(text, expected),
        "ILIKE": lambda: like(text, expected, ignore_case=True),
        "IN": lambda: any(equal(value, item) for item in expected),
        "NOT IN": lambda: not any(equal(value, item) for item in expected),
    }[operator]()


def matches(run, node):
    if isinstance(node, Comparison):
        value = value_of(run, node.name)
        if node.name.entity == "dataset":
            return any(satisfies(item, node.operator, node.value) for item in value)
        return satisfies(value, node.operator, node.value)
    return (all if isinstance(node, AllOf) else any)(matches(run, part) for part in node.parts)


# --- generated filters -----------------------------------------------------------------------


def quoted(text):
    return "'" + text.replace("'", "''") + "'"


NUMBERS = st.sampled_from(["0.5", "-1", "1.5", "2", "1e999", "-1e999", "0"])
TIMES = st.sampled_from([str(milliseconds(START) + number) for number in (-1, 0, 1, 3, 17, 40)])
COMPARE_OPERATORS = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
TEXTS = st.sampled_from(
    [
        *(
            "0.1",
            "1e-1",
            "It's",
            "3e-05",
            "0.00003",
            "True",
            "nlp",
            "NLP%",
            "a\\b",
            "x",
            "",
            "run-3",
        ),
        *("RUNNING", "KILLED", "corpus-0", "corpus-1", "training", "li", "%", "_lp", "run-%"),
        "\\%",
    ]
).map(quoted)
TEXT_NAMES = st.sampled_from(
    [
        *("tags.team", "tags.`mlflow.user`", "tags.mlflow.runName", "params.`0`", "attr.run_name"),
        *("status", "run.artifact_uri", "datasets.name", "dataset.context", "attributes.user_id"),
    ]
)
# No patterns for params.lr: LIKE would match PostgreSQL's rendering of numbers.
EQUALS = st.sampled_from(["=", "!="])
LIKES = st.sampled_from(["=", "!=", "LIKE", "ILIKE"])
LISTS = st.lists(TEXTS, min_size=1, max_size=3).map(lambda texts: f"({', '.join(texts)})")
IN = st.sampled_from(["IN", "NOT IN"])
NULL_NAMES = st.sampled_from(["metrics.loss", "params.lr", "tags.team", "start_time", "user_id"])
NULLS = st.sampled_from(["IS NULL", "IS NOT NULL"])


def phrase(*parts):
    return st.tuples(*parts).map(" ".join)


COMPARISONS = st.one_of(
    phrase(
        st.sampled_from(["metrics.loss", "metric.`a b`", "metrics.none"]),
        COMPARE_OPERATORS,
        NUMBERS,
    ),
    phrase(st.sampled_from(["start_time", "attributes.end_time"]), COMPARE_OPERATORS, TIMES),
    phrase(TEXT_NAMES, LIKES, TEXTS),
    phrase(st.just("params.lr"), EQUALS, TEXTS),
    phrase(TEXT_NAMES | st.just("params.lr"), IN, LISTS),
    phrase(NULL_NAMES, NULLS),
)
FILTERS = st.recursive(
    COMPARISONS,
    lambda parts: st.one_of(
        phrase(parts, st.just("AND"), parts),
        phrase(parts, st.just("OR"), parts),
        parts.map(lambda text: f"({text})"),
    ),
    max_leaves=5,
)


def matching_ids(project, text):
    columns = RunColumns()
    condition = where(text, columns)
    return set(columns.prepare(project.runs.all()).filter(condition).values_list("pk", flat=True))


def test_database_agrees_with_reference():
    project, runs = create_runs()

    @given(FILTERS)
    @settings(max_examples=200, deadline=None)
    def check(text):
        node = parse_filter(text)
        assert matching_ids(project, text) == {run.pk for run in runs if matches(run, node)}

    check()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("metrics.loss > 0", 10),
        ("metrics.loss >= 0.5 AND metrics.`a b` = 2", 5),
        ("metrics.loss > 1 OR metrics.`a b` < 0", 5),
        ("params.lr = '0.1'", 8),
        ("params.\"0\" = 'x'", 4),
        ("tags.team ILIKE 'nlp%'", 12),
        ("tags.team LIKE 'a\\b'", 6),
        ("datasets.context = 'training'", 8),
        ("attributes.run_name IN ('run-0', 'run-1')", 8),
    ],
)
def test_filter_matches_expected_count(text, count):
    project, _runs = create_runs()

    assert len(matching_ids(project, text)) == count


# --- sort orders and pages -------------------------------------------------------------------

ORDERS = st.lists(
    phrase(
        st.sampled_from(
            [
                *("metrics.loss", "metrics.`a b`", "params.lr", "tags.team", "start_time"),
                *("end_time", "status", "run_name", "user_id", "metrics.none"),
            ]
        ),
        st.sampled_from(["ASC", "DESC"]),
    ),
    max_size=3,
)


def sort_key(run, order):
    """Key for a stable sort: values first, then NaN, then missing."""
    value = value_of(run, order.name)
    if value is None:
        return (2, 0)
    if isinstance(value, float) and math.isnan(value):
        return (1, 0)
    return (0, value)


def sorted_by(runs, orders):
    runs = sorted(runs, key=lambda run: run.pk)
    for order in reversed(orders):
        present = [run for run in runs if sort_key(run, order)[0] == 0]
        present.sort(key=lambda run, order=order: sort_key(run, order), reverse=False)
        if order.descending:
            keys = sorted({sort_key(run, order) for run in present}, reverse=True)
            present = [run for key in keys for run in present if sort_key(run, order) == key]
        rest = [run for run in runs if sort_key(run, order)[0] > 0]
        runs = present + sorted(rest, key=lambda run, order=order: sort_key(run, order)[0])
    return [run.pk for run in runs]


def pages(project, texts, limit):
    seen, token = [], ""
    while True:
        columns = RunColumns()
        ordering = paging.Ordering(parse_orders(texts), paging.START, columns)
        page = ordering.page(columns.prepare(project.runs.all()), token=token, limit=limit)
        seen.append(page.ids)
        token = page.next_token
        if not token:
            return seen


def test_pages_cover_all_runs_in_requested_order():
    project, runs = create_runs()
    for run in runs:  # params sort by their text in the database
        run.hyperparameters = {
            name: value
            if isinstance(value, str)
            else {0.1: "0.1", 3e-5: "0.00003", 1: "true"}[value]
            for name, value in run.hyperparameters.items()
        }
        run.started_at = Run.objects.get(pk=run.pk).started_at

    @given(ORDERS, st.integers(1, 30))
    @settings(max_examples=100, deadline=None)
    def check(texts, limit):
        orders = parse_orders(texts)
        if "start_time" not in {order.name.key for order in orders}:
            orders = [*orders, paging.START]
        result = pages(project, texts, limit)
        # The reference compares times in milliseconds; these times differ by more.
        assert [id for page in result for id in page] == sorted_by(runs, orders)
        assert all(len(page) == limit for page in result[:-1])

    check()


@given(st.text() | st.binary().map(lambda raw: paging.base64.urlsafe_b64encode(raw).decode()))
@settings(deadline=None)
def test_any_page_token_is_valid_or_rejected(token):
    ordering = paging.Ordering([], paging.START, RunColumns())

    try:
        page = ordering.page(Run.objects.none(), token=token, limit=1)
    except paging.InvalidParameter:
        return
    assert page.ids == []


def test_page_token_of_another_order_is_rejected():
    project, _runs = create_runs()
    first = paging.Ordering(parse_orders(["run_name ASC"]), paging.START, RunColumns())
    token = first.page(project.runs.all(), token="", limit=1).next_token

    other = paging.Ordering(parse_orders(["run_name DESC"]), paging.START, RunColumns())

    with pytest.raises(paging.InvalidParameter):
        other.page(project.runs.all(), token=token, limit=1)


def test_row_added_between_pages_causes_no_duplicates():
    project = ProjectFactory()
    old = [RunFactory(project=project, recipe=None, status=RunStatus.RUNNING) for _ in range(3)]
    ordering = paging.Ordering([], paging.START, RunColumns())
    first = ordering.page(project.runs.all(), token="", limit=2)

    RunFactory(project=project, recipe=None, status=RunStatus.RUNNING)
    second = ordering.page(project.runs.all(), token=first.next_token, limit=2)

    assert [*first.ids, *second.ids] == [run.pk for run in reversed(old)]


# --- the endpoint ----------------------------------------------------------------------------


def ids(response):
    return [run["info"]["run_id"] for run in response["runs"]]


def test_search_returns_complete_runs_newest_first(mlflow):
    project = ProjectFactory()
    runs = [RunFactory(project=project, status=RunStatus.RUNNING) for _ in range(2)]
    add_series(runs[0], {"loss": 0.5})

    response = mlflow.post_ok("runs/search", experiment_ids=[project.pk])

    assert ids(response) == [runs[1].pk, runs[0].pk]
    assert response["runs"][1]["data"]["metrics"] == [
        {"key": "loss", "value": 0.5, "timestamp": 1000, "step": 1}
    ]
    assert response["next_page_token"] == ""


def test_search_pages(mlflow):
    project = ProjectFactory()
    runs = [RunFactory(project=project, status=RunStatus.RUNNING) for _ in range(3)]
    body = {"experiment_ids": [project.pk], "max_results": 2, "order_by": ["start_time ASC"]}

    first = mlflow.post_ok("runs/search", **body)
    second = mlflow.post_ok("runs/search", **body, page_token=first["next_page_token"])

    assert ids(first) + ids(second) == [run.pk for run in runs]


@pytest.mark.parametrize(
    ("view", "expected"),
    [(None, [0]), ("ACTIVE_ONLY", [0]), ("DELETED_ONLY", [1]), ("ALL", [0, 1])],
)
def test_search_by_lifecycle_stage(mlflow, view, expected):
    project = ProjectFactory()
    runs = [RunFactory(project=project, status=RunStatus.FAILED) for _ in range(2)]
    runs[1].move_to_trash(by=None)

    response = mlflow.post_ok(
        "runs/search",
        experiment_ids=[project.pk],
        run_view_type=view,
        order_by=["start_time ASC"],
    )

    assert ids(response) == [runs[number].pk for number in expected]


def test_search_is_limited_to_requested_experiments(mlflow):
    project, other = ProjectFactory(), ProjectFactory()
    RunFactory(project=other)

    assert mlflow.post_ok("runs/search", experiment_ids=[project.pk, "0", "none"])["runs"] == []
    assert mlflow.post_ok("runs/search")["runs"] == []


def test_nested_runs_are_found_by_their_parent(mlflow):
    project = ProjectFactory()
    parent = mlflow.post_ok("runs/create", experiment_id=project.pk)["run"]["info"]["run_id"]
    tags = [{"key": "mlflow.parentRunId", "value": parent}]
    child = mlflow.post_ok("runs/create", experiment_id=project.pk, tags=tags)["run"]["info"][
        "run_id"
    ]

    filter = f"tags.mlflow.parentRunId = '{parent}'"
    response = mlflow.post_ok("runs/search", experiment_ids=[project.pk], filter=filter)

    assert ids(response) == [child]


@pytest.mark.parametrize(
    "body",
    [
        {"filter": "metrics.loss > 'x'"},
        {"filter": "metrics.loss LIKE 'x'"},
        {"filter": "params.x > '1'"},
        {"filter": "params.x = 1"},
        {"filter": "status > 'RUNNING'"},
        {"filter": "start_time = '2024'"},
        {"filter": "start_time = 1.5"},
        {"filter": "start_time = 1e999"},
        {"filter": "attributes.nonsense = 'x'"},
        {"filter": "datasets.nonsense = 'x'"},
        {"filter": "datasets.name IS NULL"},
        {"filter": "tags.a = '\0'"},
        {"filter": 5},
        {"order_by": ["datasets.name"]},
        {"order_by": ["attributes.nonsense"]},
        {"order_by": ["start_time"] * 11},
        {"max_results": 50_001},
        {"max_results": -1},
        {"page_token": "e30="},
        {"run_view_type": "NONE"},
        {"experiment_ids": ["\0"]},
        {"experiment_ids": "x"},
    ],
    ids=lambda body: repr(body)[:50],
)
def test_invalid_search_is_rejected(mlflow, body):
    project = ProjectFactory()

    assert mlflow.error("runs/search", **{"experiment_ids": [project.pk], **body}) == INVALID


@pytest.mark.parametrize("number", ["1" * 64, "9" * 3000, "-1e400", "99999999999999999999"])
def test_very_long_numbers_are_accepted(mlflow, number):
    project = ProjectFactory()

    mlflow.post_ok("runs/search", experiment_ids=[project.pk], filter=f"metrics.a < {number}")


@pytest.mark.parametrize("bound", ["< 9223372036854775807", "> -62135596800001"])
def test_times_out_of_range_are_before_or_after_all_runs(mlflow, bound):
    project, runs = create_runs()
    started = [run.pk for run in runs if run.started_at is not None]

    response = mlflow.post_ok(
        "runs/search", experiment_ids=[project.pk], filter=f"start_time {bound}"
    )

    assert started
    assert {run["info"]["run_id"] for run in response["runs"]} == set(started)


def test_query_count_of_search(mlflow, django_assert_num_queries):
    project, _runs = create_runs()
    body = {"filter": "metrics.loss > 0", "order_by": ["metrics.loss"]}
    mlflow.post_ok("runs/search", experiment_ids=[project.pk], **body)

    # page ids, run rows, metrics, datasets
    with django_assert_num_queries(4):
        mlflow.post_ok("runs/search", experiment_ids=[project.pk], **body)


def plan_of(text, orders):
    project = Run.objects.values_list("project_id", flat=True)[0]
    columns = RunColumns()
    runs = Run.objects.filter(project__in=[project]).kept()
    condition = where(text, columns)
    ordering = paging.Ordering(parse_orders(orders), paging.START, columns)
    runs = columns.prepare(runs).filter(condition)
    sort_keys = [key for term in ordering._terms for key in term.order_by()]
    return runs.order_by(*sort_keys).values_list("pk")[:100].explain()


@pytest.fixture
def many_series():
    """Enough runs with metrics that the planner considers indexes."""
    project = ProjectFactory()
    runs = [
        RunFactory.build(project=project, recipe=None, status=RunStatus.RUNNING) for _ in range(500)
    ]
    Run.objects.bulk_create(runs)
    MetricSeries.objects.bulk_create(
        MetricSeries(run=run, key=f"m{key}", count=1, last_value=key, last_step=1)
        for run in runs
        for key in range(40)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_run, metrics_metricseries")


def test_metric_filter_uses_series_index(many_series):
    plan = plan_of("metrics.m1 > 0.5", ["metrics.m1 ASC"])

    assert "metricseries_key" in plan or "metricseries_run_key" in plan
    assert "Seq Scan on metrics_metricseries" not in plan


def test_default_order_uses_index(many_series):
    with connection.cursor() as cursor:
        # Sorting 500 rows costs about the same, so force the planner to use an index.
        cursor.execute("SET LOCAL enable_sort = off")

    assert "run_of_project_by_start" in plan_of("", [])


def test_long_page_reads_metrics_from_run_rows_only(mlflow, django_assert_num_queries):
    project = ProjectFactory()
    for _number in range(RUNS_IN_FULL + 1):
        RunFactory(project=project, metrics={"loss": "NaN", "a": 0.5})

    mlflow.post_ok("runs/search")

    with django_assert_num_queries(2):  # ids, rows
        response = mlflow.post_ok("runs/search", experiment_ids=[project.pk])

    assert {str(run["data"]["metrics"]) for run in response["runs"]} == {
        "[{'key': 'a', 'value': 0.5}, {'key': 'loss', 'value': 'NaN'}]"
    }


def test_page_that_gets_too_large_ends_early(mlflow, monkeypatch):
    monkeypatch.setattr("tracking.runs.RUNS_PER_BATCH", 2)
    monkeypatch.setattr("tracking.runs.MAX_BYTES", 10)
    project = ProjectFactory()
    for _number in range(5):
        RunFactory(project=project, metrics={"a": 1, "b": 2}, hyperparameters={"c": "3"})

    sizes, seen, token = [], [], ""
    while not sizes or token:
        response = mlflow.post_ok("runs/search", experiment_ids=[project.pk], page_token=token)
        sizes.append(len(response["runs"]))
        seen += ids(response)
        token = response["next_page_token"]

    assert sizes == [2, 2, 1]
    assert len(set(seen)) == 5
