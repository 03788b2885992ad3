"""Runs by their values: the same answers as a plain computation, whichever runs are indexed."""

import math
import operator
import re
from urllib.parse import quote

import pytest
from django.db import transaction
from django.http import QueryDict
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dashboard.run_table import query
from dashboard.run_table.address import Address
from dashboard.run_table.columns import parse_column
from dashboard.run_table.matching import Matching
from metrics import recording
from metrics.points import Point, Points
from metrics.recording import record_points
from metrics.run_index import index_runs
from runs import params_tags
from runs.models import Run
from runs.param_values import MAX_TEXT
from runs.status import RunStatus
from tests.concurrency import transaction_elsewhere
from tests.dashboard.run_table.indexing import index
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)

NAN, INF = math.nan, math.inf
LONG = "x" * (MAX_TEXT + 50)
OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}
TEXTS = [
    "3e-4",
    "0.0003",
    "1",
    "1.0",
    "adamw",
    "True",
    "true",
    "9007199254740993",
    LONG,
    LONG + "y",
]

params = st.sampled_from(
    [None, *TEXTS, 0.0003, 1, 1.0, True, False, 9007199254740993, 9007199254740992, 1e300, [1, 2]]
)
values = st.none() | st.lists(st.sampled_from([NAN, INF, -INF, -1.5, 0.0, 2.0, 7.0]), min_size=1)
specs = st.lists(st.tuples(params, values, st.booleans()), max_size=8)
comparisons = st.one_of(
    st.tuples(st.sampled_from(["last", "min", "max"]), st.sampled_from(sorted(OPERATORS)),
              st.sampled_from([-1.5, 0.0, 2.0, 5.0])),
    st.tuples(st.just("param"), st.sampled_from(["=", "!="]), st.sampled_from(TEXTS)),
    st.tuples(st.just("param"), st.sampled_from(["<", ">="]), st.sampled_from([0.0003, 1.0, 50.0])),
    st.tuples(st.just("param"), st.just("LIKE"), st.sampled_from(["%y", "x%", "%0%"])),
    st.tuples(st.just("param"), st.sampled_from(["IS NULL", "IS NOT NULL"]), st.none()),
)  # fmt: skip
filters = st.lists(comparisons, max_size=3)


def searched(runs, text):
    return Matching(runs, Address.of(QueryDict(text)))


def text_of_filter(parts, word):
    def text(part):
        name, sign, value = part
        if name == "param":
            given = "" if value is None else f"'{value}'" if isinstance(value, str) else value
            return f"params.p {sign} {given}"
        return f"{name}.loss {sign} {value}"

    return f" {word} ".join(text(part) for part in parts)


def text_of_param(value):
    return None if value is None else params_tags.text_of(value)


def number_of(value):
    text = text_of_json(value)
    is_number = text is not None and re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d{1,2})?", text)
    return float(text) if is_number and len(text) <= MAX_TEXT else None


def text_of_json(value):
    """As PostgreSQL writes it."""
    return str(10**300) if value == 1e300 else text_of_param(value)


def summary(values):
    """Last, minimum, maximum, as of a series."""
    numbers = [value for value in values if not math.isnan(value)]
    return {
        "last": values[-1],
        "min": min(numbers, default=None),
        "max": max(numbers, default=None),
    }


def is_true(part, param, values):
    name, sign, value = part
    if name != "param":
        own = summary(values)[name] if values else None
        return own is not None and OPERATORS[sign](own, value)
    if sign in ("IS NULL", "IS NOT NULL"):
        return (param is None) == (sign == "IS NULL")
    if param is None:
        return False
    if sign == "LIKE":
        pattern = re.escape(value).replace("%", ".*")
        return re.fullmatch(pattern, text_of_json(param)) is not None
    if isinstance(value, str):
        return equals(param, value) == (sign == "=")
    number = number_of(param)
    return number is not None and OPERATORS[sign](number, value)


def equals(param, text):
    if isinstance(param, bool):
        return text in (str(param), str(param).lower())
    if isinstance(param, (int, float)):
        exact = int(text) if text.isdigit() else number_of(text)
        return exact == param
    return text_of_param(param) == text


def in_order(rows, sort, descending):
    """``rows``: id -> (param, values); newest first before that."""

    def place(pk):
        param, values = rows[pk]
        if sort == "p":
            number = number_of(param)
            text = text_of_json(param)
            return (0, number) if number is not None else (2, "") if text is None else (1, text)
        own = summary(values)[sort] if values else None
        return (2, 0.0) if own is None else (1, 0.0) if math.isnan(own) else (0, own)

    ids = sorted(rows, reverse=descending) if sort == "p" else list(rows)
    by_rank = [[pk for pk in ids if place(pk)[0] == rank] for rank in range(3)]
    return [
        pk for group in by_rank for pk in sorted_stably(group, lambda pk: place(pk)[1], descending)
    ]


def sorted_stably(ids, value, descending):
    """Equal ones stay in their order, in either direction."""

    def key(pk):
        return value(pk)[:MAX_TEXT] if isinstance(value(pk), str) else value(pk)

    if not descending:
        return sorted(ids, key=key)
    ids = ids[::-1]
    return sorted(ids, key=key)[::-1]


@given(
    specs=specs,
    parts=filters,
    word=st.sampled_from(["and", "or"]),
    sort=st.sampled_from(["", "params.p", "metrics.loss", "min.loss", "max.loss"]),
    descending=st.booleans(),
)
@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_runs_match_as_computed_plainly(db, specs, parts, word, sort, descending):
    with transaction.atomic():
        check(specs, parts, word, sort, descending)
        transaction.set_rollback(True)


def check(specs, parts, word, sort, descending):
    project = ProjectFactory()
    rows = {}
    indexed = []
    for param, values, is_indexed in specs:
        hyperparameters = {} if param is None else {"p": param}
        run = RunFactory(project=project, hyperparameters=hyperparameters)
        if values:
            points = [Point("loss", step, value, step) for step, value in enumerate(values)]
            record_points(run.pk, Points.of(points))
        rows[run.pk] = (param, values)
        if is_indexed:
            indexed.append(run)
    index(indexed)
    newest_first = dict(reversed(rows.items()))
    holds = all if word == "and" else any
    expected = {
        pk: row
        for pk, row in newest_first.items()
        if not parts or holds(is_true(part, *row) for part in parts)
    }
    column = {"params.p": "p", "metrics.loss": "last", "min.loss": "min", "max.loss": "max"}
    ids = in_order(expected, column[sort], descending) if sort else list(expected)

    sign = "-" if sort and descending else ""
    text = f"sort={sign}{sort}&filter={quote(text_of_filter(parts, word))}"
    found = searched(Run.objects.filter(project=project).kept(), text)

    assert found.ids() == ids
    assert found.count() == len(ids)
    assert [found.page(number, 3)[0] for number in (1, 2)] == [
        ids[:3],
        ids[3:6] if len(ids) > 3 else ids[:3],
    ]


# --- changes after the end -------------------------------------------------------------------


@pytest.fixture
def ended(project):
    run = RunFactory(
        project=project, status=RunStatus.COMPLETED, recipe=None, hyperparameters={"lr": "1"}
    )
    record_points(run.pk, Points.of([Point("loss", 1, 5.0, 0), Point("loss", 2, 4.0, 1)]))
    index_runs()
    return run


def matches(project, text):
    return searched(Run.objects.filter(project=project).kept(), f"filter={quote(text)}").count()


def test_late_point_is_seen_at_once(project, ended):
    assert matches(project, "metrics.loss < 2") == 0

    record_points(ended.pk, Points.of([Point("loss", 3, 1.0, 2)]))

    assert matches(project, "metrics.loss < 2") == 1


def test_new_param_is_seen_at_once(project, ended):
    params_tags.log_params(ended.pk, {"seed": "7"})

    assert matches(project, "params.seed = '7'") == 1


def test_rewind_is_seen_at_once(project, ended):
    with transaction.atomic():
        recording.rewind(Run.objects.lock(ended.pk), 1)

    assert matches(project, "metrics.loss = 5") == 1


def test_run_in_the_trash_is_not_found(project, ended):
    ended.move_to_trash(by=None)

    assert matches(project, "metrics.loss < 9") == 0


@with_two_connections
def test_run_that_is_being_indexed_is_found_once():
    project = ProjectFactory()
    run = RunFactory(project=project, status=RunStatus.COMPLETED, hyperparameters={"lr": "1"})

    with transaction_elsewhere(index_runs):
        assert matches(project, "params.lr = '1'") == 1
        assert not Run.objects.get(pk=run.pk).is_indexed
    assert Run.objects.get(pk=run.pk).is_indexed
    assert matches(project, "params.lr = '1'") == 1


# --- groups and names ------------------------------------------------------------------------


def test_groups_are_of_indexed_runs_and_of_others(project):
    for lr, loss, is_indexed in (("1", 1.0, True), ("1", 3.0, False), ("2", NAN, True)):
        run = RunFactory(project=project, hyperparameters={"lr": lr})
        record_points(run.pk, Points.of([Point("loss", 1, loss, 0)]))
        if is_indexed:
            index([run])
    loss = parse_column("metrics.loss")
    asked = Address.of(QueryDict("group=params.lr"))

    found = query.groups(Run.objects.filter(project=project).kept(), asked, asked.group, [loss])

    assert [(group.value, group.count) for group in found] == [(1.0, 2), (2.0, 1)]
    assert found[0].metrics[loss] == query.Spread(2.0, pytest.approx(math.sqrt(2)), 1.0, 3.0)
    assert found[1].metrics[loss] == query.Spread(None, None, None, None)


def test_names_are_also_those_of_older_indexed_runs(project, monkeypatch):
    monkeypatch.setattr(query, "NAMED_RUNS", 1)
    old = [RunFactory(project=project, hyperparameters={"lr": n, "seed": 1}) for n in (1, 2)]
    record_points(old[0].pk, Points.of([Point("loss", 1, 1.0, 0)]))
    index(old)
    RunFactory(project=project, hyperparameters={"warmup": 5})

    known = query.known_columns(project)

    assert known.params == ("lr", "seed", "warmup")
    assert "lr" in known.differing
    assert known.metrics == {"loss": 0}
