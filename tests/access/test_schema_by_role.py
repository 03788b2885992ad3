"""Schemathesis as everybody: whatever a request of the OpenAPI schema says, nobody gets a 5xx or an
answer that the schema does not describe, and a stranger is told nothing.

Each generated request is sent by every caller, in a transaction that is rolled back, so that all of
them find the same rows: two projects with something of everything, of which the stranger sees one.
SCHEMA_EXAMPLES in the environment: how many requests of each operation, instead of 2.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import pytest
from django.core.signals import request_finished, request_started
from django.db import close_old_connections, transaction
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from schemathesis.core.failures import FailureGroup

from accounts.models import Token
from accounts.roles import Role, Scope
from tests.access.asking import Route, argument
from tests.access.sides import Side, all_rows, filled, rows_since, secrets_of
from tests.factories import GpuPoolFactory, RecipeFactory, UserFactory
from tests.test_schema import EXCLUDED_CHECKS, keep_connection, negative_data_rejection, schema

__all__ = ["keep_connection"]  # a fixture

pytestmark = pytest.mark.django_db
EXAMPLES = int(os.environ.get("SCHEMA_EXAMPLES", "2"))
PARTS = 2
MARKER = "kestrel"
# Of what no row is made here.
EMPTY_LISTS = {"/projects/{project_id}/runs/{run_id}/artifacts/{id}/gates"}

operations = [result.ok() for result in schema.get_all_operations()]
generated = hypothesis_settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@dataclass
class World:
    """``callers``: their tokens by name. ``secrets``: of the hidden side."""

    hidden: Side
    callers: dict[str, str]
    secrets: set[str]
    told: set[str] = field(default_factory=set)  # of the secrets, to those who may see them
    problems: dict[str, str] = field(default_factory=dict)

    def note(self, operation: Any, caller: str, problem: str, case: Any) -> None:
        """The first of its kind."""
        kind = f"{operation.method.upper()} {operation.path} as {caller}: {problem}"
        self.problems.setdefault(kind, f"{kind}\n  {case.as_curl_command()[:1000]}")


@pytest.fixture
def world(settings) -> World:
    settings.OPEN_MODE = False
    settings.CANCEL_WAIT_SECONDS = 0
    GpuPoolFactory(capacity=1)
    RecipeFactory(name="with-code", code="optional", code_from="members")
    own = filled("sparrow")
    before = all_rows()
    hidden = filled(MARKER)
    secrets = secrets_of(rows_since(before), MARKER)
    callers = {"stranger": Token.issue(own.owner)[1]}
    for role in Role:
        user = UserFactory()
        hidden.project.roles.create(user=user, role=role)
        callers[role.slug] = Token.issue(user)[1]
    callers["owner"] = Token.issue(hidden.owner)[1]
    callers["reader"] = Token.issue(hidden.owner, scope=Scope.READ)[1]
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)  # ApiClient, which fills the sides, connects it
    return World(hidden, callers, secrets)


def with_ids(case: Any, hidden: Side) -> None:
    route = Route(case.path)
    case.path_parameters = {name: argument(name, route, hidden) for name in case.path_parameters}


def said(case: Any) -> str:
    """All that the answer may repeat."""
    return unquote(f"{case.formatted_path} {case.query} {json.dumps(case.body, default=str)}")


def listed(answer: Any) -> list[Any] | None:
    """The rows of a list; None if it is none."""
    content = answer.json() if "json" in answer.headers.get("content-type", [""])[0] else None
    rows = content.get("items") if isinstance(content, dict) else content
    return rows if isinstance(rows, list) else None


def send(world: World, operation: Any, case: Any, caller: str, excluded: list) -> Any:
    with transaction.atomic():
        headers = {"Authorization": f"Bearer {world.callers[caller]}"}
        answer = case.call(headers=headers)
        transaction.set_rollback(True)
    if answer.status_code >= 500 and answer.status_code != 501:
        world.note(operation, caller, str(answer.status_code), case)
    try:
        case.validate_response(answer, excluded_checks=excluded)
    except FailureGroup as failures:
        for failure in failures.exceptions:
            world.note(operation, caller, f"{type(failure).__name__}: {failure}"[:600], case)
    text = unquote(f"{answer.headers} {answer.content.decode(errors='replace')}")
    told = {secret for secret in world.secrets if secret in text and secret not in said(case)}
    if caller == "stranger" and told:
        world.note(operation, caller, f"tells {sorted(told)[:4]}", case)
    elif caller != "stranger":
        world.told |= told
    return answer


def asked_by_all(world: World, operation: Any) -> Callable[[], None]:
    """Send what is generated, with the ids of the hidden side in two of three addresses; the first
    time without a filter."""
    count = 0

    @generated
    @given(operation.as_strategy())
    def ask(case: Any) -> None:
        nonlocal count
        excluded = list(EXCLUDED_CHECKS)
        if count % 3 < 2:
            with_ids(case, world.hidden)
            excluded.append(negative_data_rejection)  # what was generated may have been invalid
        is_plain = count == 0 and operation.method == "get"
        if is_plain:
            case.query = {}
        count += 1
        for caller in world.callers:
            answer = send(world, operation, case, caller, excluded)
            if is_plain and caller == "owner" and operation.path not in EMPTY_LISTS:
                rows = listed(answer) if answer.status_code == 200 else None
                if rows == []:
                    world.note(operation, caller, "the list is empty: make a row of it", case)

    return ask


@pytest.mark.parametrize("part", range(PARTS))
def test_no_role_gets_an_error_or_learns_what_it_may_not_see(world, part):
    for operation in operations[part::PARTS]:
        asked_by_all(world, operation)()

    assert not world.problems, "\n".join(world.problems.values())
    assert len(world.told) > 10  # otherwise the stranger's silence would prove nothing
