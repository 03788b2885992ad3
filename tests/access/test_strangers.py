"""Whoever is in another team learns nothing of a project, and changes nothing of it.

Every address of the server is asked for, by token and by session, with the ids of what is hidden
wherever they fit: no answer holds an id, name or text of the hidden side that the request has not
sent itself. An address that is new is asked for, too, or fails these tests until
tests/access/asking.py says what its arguments are.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client

from accounts.models import Token
from tests.access.asking import (
    Ask,
    addresses,
    creations,
    mlflow,
    queries,
    reads,
    routes,
    writes,
)
from tests.access.sides import (
    Rows,
    Side,
    all_rows,
    bearer,
    filled,
    rows_since,
    secrets_of,
    state_of,
)
from tests.factories import GpuPoolFactory, RecipeFactory

pytestmark = pytest.mark.django_db
MARKER = "kestrel"


@dataclass
class World:
    """``said``: by earlier requests that made rows of the stranger's own, which may repeat it."""

    hidden: Side
    own: Side
    rows: Rows  # of the hidden side
    secrets: set[str]
    client: Client
    problems: list[str] = field(default_factory=list)
    said: str = ""
    asked: int = 0

    def ask(self, ask: Ask) -> set[str]:
        """The secrets that the answer tells."""
        response = ask.send(self.client)
        self.asked += 1
        content = b"".join(response) if response.streaming else response.content
        headers = " ".join(f"{name}: {text}" for name, text in response.items())
        answer = unquote(f"{headers} {content.decode(errors='replace')}")
        said = ask.said + self.said
        told = {secret for secret in self.secrets if secret in answer and secret not in said}
        if told:
            self.problems.append(f"{ask} -> {response.status_code} tells {sorted(told)[:4]}")
        if response.status_code >= 500 and response.status_code != 501:
            self.problems.append(f"{ask} -> {response.status_code}")
        if ask.method != "GET" and response.status_code < 300:
            self.said += ask.said
        return told


@pytest.fixture
def world(settings) -> World:
    settings.OPEN_MODE = False
    settings.CANCEL_WAIT_SECONDS = 0
    GpuPoolFactory(capacity=1)  # so that there is a queue
    RecipeFactory(name="with-code", code="optional", code_from="members")
    own = filled("sparrow")
    before = all_rows()
    hidden = filled(MARKER)
    rows = rows_since(before)
    return World(hidden, own, rows, secrets_of(rows, MARKER), Client())


def by_session(user: User) -> Client:
    client = Client(
        SERVER_NAME="localhost", headers={"accept-language": "en"}, raise_request_exception=False
    )
    client.force_login(user)
    return client


def by_token(user: User) -> Client:
    return bearer(Token.issue(user)[1])


def check(world: World, asks: Iterable[Ask]) -> None:
    """Ask for all, and see that nothing is told and nothing has changed."""
    before = state_of(world.rows)

    for ask in asks:
        world.ask(ask)

    assert not world.problems, "\n".join(world.problems)
    assert state_of(world.rows) == before


def test_members_are_told_what_strangers_are_not(world):
    """Otherwise the other tests would prove nothing."""
    world.client = by_token(world.hidden.member)
    told = set()

    for route in routes():
        if "project_id" in route.arguments and not route.is_page:
            path, _names_hidden = next(addresses(route, world.hidden, world.own))
            told |= world.ask(Ask("GET", path))

    kinds = {secret.partition("_")[0] for secret in told}
    assert {"ckpt", "eval", "run", "sweep", "team"} <= kinds
    assert len(told) > len(world.secrets) / 2


def of_the_api(world: World) -> Iterator[Ask]:
    """Requests to all but pages, with hidden ids wherever they fit."""
    protocol = mlflow(world.hidden, world.own)
    api = [route for route in routes() if not (route.is_page or route.protocol_path in protocol)]
    new = {route.text for route in api if "mlflow/" in route.text and not route.arguments}
    assert not new, "say in tests/access/asking.py what is asked of them"
    for route in api:
        yield from reads(route, world.hidden, world.own)
    yield from queries(world.hidden, world.own)
    for route in api:
        yield from writes(route, world.hidden, world.own)
    yield from creations(world.hidden, world.own)
    for asks in protocol.values():
        yield from asks


def test_token_of_a_stranger_finds_and_changes_nothing(world):
    world.client = by_token(world.own.owner)

    check(world, of_the_api(world))


def test_token_of_one_project_finds_and_changes_nothing_of_another(world):
    user = world.own.owner
    user.is_superuser = user.is_staff = True  # who sees both
    user.save()
    world.client = bearer(Token.issue(user, project_id=world.own.project.pk)[1])

    check(world, of_the_api(world))


def test_session_of_a_stranger_finds_and_changes_nothing(world):
    world.client = by_session(world.own.owner)
    pages = [route for route in routes() if route.is_page]

    check(world, [
        *(ask for route in pages for ask in reads(route, world.hidden, world.own)),
        *queries(world.hidden, world.own),
        *(ask for route in pages for ask in writes(route, world.hidden, world.own)),
    ])  # fmt: skip


# --- whether there is something hidden -----------------------------------------------------------

# Names of registered models are unique on the whole server: docs/teams.md.
TELLS_OF_NAMES = "/api/2.0/mlflow/registered-models/create"
ID = re.compile(r"[a-z]+_\w{12}|m-[0-9a-f]{32}|[0-9a-f]{64}")


def others(world: World) -> dict[str, str]:
    """The ids of the hidden side and the name of its model: to some of the same form that nothing
    has."""
    keys = {key for found in world.rows.values() for key in found if isinstance(key, str)}
    ids = sorted(key for key in keys if ID.fullmatch(key))
    found = {key: f"{key[:-6]}{number:06}" for number, key in enumerate(ids)}
    return {**found, world.hidden.model: f"{MARKER}-other"}


def renamed(text: str, names: dict[str, str]) -> str:
    for name, other in names.items():
        text = text.replace(name, other)
    return text


def answer(world: World, ask: Ask) -> tuple[int, str]:
    """Its status and text, that of a change only if it is refused. Nothing that it does is kept."""
    with transaction.atomic():
        response = ask.send(world.client)
        content = b"".join(response) if response.streaming else response.content
        transaction.set_rollback(True)
    is_told = ask.method == "GET" or response.status_code >= 400
    return response.status_code, content.decode(errors="replace") if is_told else ""


def test_what_is_hidden_is_answered_as_if_it_were_not_there(world):
    world.client = by_token(world.own.owner)
    names = others(world)
    different = []

    for ask in of_the_api(world):
        parts = json.loads(renamed(json.dumps([ask.path, ask.query, ask.body]), names))
        other = Ask(ask.method, *parts)
        if ask in (other, Ask("POST", TELLS_OF_NAMES, {}, ask.body)):
            continue
        status, text = answer(world, ask)
        expected = answer(world, other)
        if (status, renamed(text, names)) != expected:
            different.append(f"{ask} -> {status} {text[:300]}\n  not there: {expected}")

    assert not different, "\n".join(different)
