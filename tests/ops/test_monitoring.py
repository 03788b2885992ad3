"""The alerts and the board that operators get are of series that there are."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from django.test import Client
from django.utils import timezone

from goodput.parts import Part
from tests.factories import GpuPoolFactory, ProjectFactory, WorkerFactory, running
from tests.goodput.accounts import accounted

OPS = Path(__file__).parents[2] / "ops"
RULES = [
    rule
    for group in yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
BOARD = json.loads((OPS / "grafana" / "trainhub.json").read_text())
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]
OF_PROMETHEUS = {"up"}


def selectors(query: str) -> Iterator[Any]:
    """The series that a query reads. Raises ValueError where it is not PromQL."""
    waiting = [promql_parser.parse(query)]
    while waiting:
        part = waiting.pop()
        if isinstance(part, promql_parser.VectorSelector):
            yield part
        elif isinstance(part, promql_parser.MatrixSelector):
            yield part.vector_selector
        elif isinstance(part, promql_parser.BinaryExpr):
            waiting += [part.lhs, part.rhs]
        elif isinstance(part, promql_parser.Call):
            waiting += part.args
        elif isinstance(part, promql_parser.AggregateExpr | promql_parser.ParenExpr):
            waiting.append(part.expr)
        else:
            assert isinstance(part, promql_parser.NumberLiteral), part


@pytest.fixture
def exposed(db) -> str:
    """What is shown of an installation that has something of everything."""
    GpuPoolFactory(gpu_type="A100", capacity=8)
    running(gpu_type="A100", gpu_count=1)
    today = timezone.now().date()
    accounted(day=today, project=ProjectFactory(), gpu_count=2, gpu_type="A100",
              hours={Part.TRAINING: 3})  # fmt: skip
    WorkerFactory(name="w1")
    return Client(SERVER_NAME="localhost").get("/metrics").content.decode()


@pytest.mark.parametrize("query", [*(rule["expr"] for rule in RULES), *QUERIES])
def test_query_is_of_series_with_labels_that_there_are(exposed: str, query: str):
    lines = [line for line in exposed.splitlines() if not line.startswith("#")]
    found = list(selectors(query))

    assert found
    for selector in found:
        if selector.name in OF_PROMETHEUS:
            continue
        of_series = [line for line in lines if line.partition("{")[0].split()[0] == selector.name]
        assert of_series, f"{selector.name} is not shown"
        for matcher in selector.matchers.matchers:
            label = f'{matcher.name}="{matcher.value}"'
            assert any(label in line for line in of_series), f"{selector.name} has no {label}"


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_alert_says_what_is_wrong_and_how_bad_it_is(rule: dict[str, Any]):
    assert rule["labels"]["severity"] in {"warning", "critical"}
    assert rule["for"]
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]


def test_board_has_a_place_for_each_panel():
    cells = [
        (x, y)
        for panel in BOARD["panels"]
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert len(cells) == len(set(cells))
    assert max(x for x, _y in cells) < 24
