"""Parsing of filters and sort orders."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracking.errors import InvalidParameter
from tracking.filters import (
    MAX_COMPARISONS,
    MAX_DEPTH,
    AllOf,
    AnyOf,
    Comparison,
    parse_filter,
    parse_orders,
)


def parse_comparison(text):
    node = parse_filter(text)
    assert isinstance(node, Comparison)
    return node.name.entity, node.name.key, node.operator, node.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss < 0.5", ("metric", "loss", "<", 0.5)),
        ("metric.loss<-1e-3", ("metric", "loss", "<", -1e-3)),
        ("metrics.train/loss >= 3", ("metric", "train/loss", ">=", 3)),
        ('metrics."a b" != 1.', ("metric", "a b", "!=", 1.0)),
        ("METRICS.`a b` = .5", ("metric", "a b", "=", 0.5)),
        ("metrics.中文 = 1", ("metric", "中文", "=", 1)),
        ("params.lr = '3e-5'", ("param", "lr", "=", "3e-5")),
        ('param.lr = "x"', ("param", "lr", "=", "x")),
        (
            "tags.mlflow.source.name LIKE '%train%'",
            ("tag", "mlflow.source.name", "LIKE", "%train%"),
        ),
        ("tag.a ilike 'It''s'", ("tag", "a", "ILIKE", "It's")),
        ("attributes.status = 'RUNNING'", ("attribute", "status", "=", "RUNNING")),
        ("attr.run_name = 'x'", ("attribute", "run_name", "=", "x")),
        ("run.status <> 'x'", ("attribute", "status", "!=", "x")),
        ("status == 'x'", ("attribute", "status", "=", "x")),
        ("`Run name` = 'x'", ("attribute", "Run name", "=", "x")),
        ("\"Run name\" = 'x'", ("attribute", "Run name", "=", "x")),
        ("start_time > 1664067852747", ("attribute", "start_time", ">", 1664067852747)),
        ("run_id IN ('a', 'b')", ("attribute", "run_id", "IN", ("a", "b"))),
        ("run_id IN ('a',)", ("attribute", "run_id", "IN", ("a",))),
        ("run_id not in ('a')", ("attribute", "run_id", "NOT IN", ("a",))),
        ("datasets.name = 'x'", ("dataset", "name", "=", "x")),
        ("tags.a IS NULL", ("tag", "a", "IS NULL", None)),
        ("tags.a is not null", ("tag", "a", "IS NOT NULL", None)),
        ("name='a b'", ("attribute", "name", "=", "a b")),
        ("tag.`a b.c` = 'x'", ("tag", "a b.c", "=", "x")),
        ("tags.a = 'AND OR ('", ("tag", "a", "=", "AND OR (")),
    ],
)
def test_comparison_is_parsed(text, expected):
    assert parse_comparison(text) == expected
    assert parse_comparison(f"  ( ({text}) ) ") == expected


@pytest.mark.parametrize("text", ["", "  ", "\n"])
def test_empty_filter_is_none(text):
    assert parse_filter(text) is None


def test_operator_precedence():
    a, b, c = (f"metrics.{key} > 0" for key in "abc")

    without_parentheses = parse_filter(f"{a} OR {b} AND {c}")
    with_parentheses = parse_filter(f"({a} OR {b}) AND {c}")

    assert isinstance(without_parentheses, AnyOf)
    assert isinstance(without_parentheses.parts[1], AllOf)
    assert isinstance(with_parentheses, AllOf)
    assert isinstance(with_parentheses.parts[0], AnyOf)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("metrics.loss", 13),
        ("metrics.loss <", 15),
        ("metrics.loss < 'x' AND", 23),
        ("metrics.loss < 1 metrics.x > 1", 18),
        ("models.loss < 1", 1),
        ("metrics. < 1", 8),
        ("params.x = abc", 12),
        ("params.x = 'abc", 12),
        ("params.x IN ()", 14),
        ("params.x IN (,)", 14),
        ("params.x IN ('a',,)", 18),
        ("params.x IN 'a'", 13),
        ("params.x NOT LIKE 'a'", 14),
        ("params.x IS 'a'", 13),
        ("(params.x = 'a'", 16),
        ("params.x = 'a')", 15),
        ("params.x ~ 'a'", 10),
        ("AND", 1),
        ("1 = 1", 1),
        ("; DROP TABLE runs_run", 1),
    ],
)
def test_error_names_the_position(text, position):
    with pytest.raises(InvalidParameter, match=rf"\b{position}\b"):
        parse_filter(text)


@pytest.mark.parametrize(
    "text",
    [
        "(" * (MAX_DEPTH + 2) + "a = 'x'" + ")" * (MAX_DEPTH + 2),
        "(" * 15_000,
        " AND ".join(["a = 'x'"] * (MAX_COMPARISONS + 1)),
        "a = '" + "x" * 20_000 + "'",
        "a IN (" + ",".join(["'x'"] * 1001) + ")",
        "a = '\0'",
    ],
    ids=lambda text: text[:20],
)
def test_filter_over_a_limit_is_rejected(text):
    with pytest.raises(InvalidParameter):
        parse_filter(text)


TOKENS = st.sampled_from(
    [
        *("metrics.", "params.", "tags.", "attributes.", "loss", "`a ", "`", '"', "'", "(", ")"),
        *(",", "=", "!=", "<", ">=", "AND", "OR", "NOT", "IN", "LIKE", "IS", "NULL", "1", "1e999"),
        *("-2.5e3", "'x'", ".", "/", "-", ":", "中", "\\", "%", ";", "--", "\ud800", "٣"),
    ]
)


@given(st.one_of(st.text(), st.lists(TOKENS).map(" ".join), st.lists(TOKENS).map("".join)))
def test_any_text_parses_or_raises_invalid_parameter(text):
    for parse in (parse_filter, lambda text: parse_orders([text])):
        with contextlib.suppress(InvalidParameter):
            parse(text)


# --- sort orders -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("metrics.loss ASC", ("metric", "loss", False)),
        ("metrics.`a b` desc", ("metric", "a b", True)),
        ("start_time DESC", ("attribute", "start_time", True)),
        ("attributes.end_time", ("attribute", "end_time", False)),
        ('params."x"', ("param", "x", False)),
        ("tags.a.b ASC", ("tag", "a.b", False)),
    ],
)
def test_sort_order_is_parsed(text, expected):
    [order] = parse_orders([text])

    assert (order.name.entity, order.name.key, order.descending) == expected


@pytest.mark.parametrize("text", ["", "metrics.a UP", "metrics.a ASC, metrics.b", "1", "a = 'x'"])
def test_invalid_sort_order_is_rejected(text):
    with pytest.raises(InvalidParameter):
        parse_orders([text])
