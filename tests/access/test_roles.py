"""Who may call what: every address and method, by role. A new address must be added to the table.

A request is let in unless its answer is 403, 404 or 405. Nothing that it does is kept: each runs
in a transaction that is rolled back.
"""

import json

import pytest
from django.db import transaction
from django.test import Client

from accounts.models import Token
from accounts.roles import Role
from tests.access.addresses import METHODS, addresses, world
from tests.access.role_table import TABLE
from tests.factories import UserFactory, member_of

pytestmark = pytest.mark.django_db

ROLES = ["anyone", *(role.slug for role in Role), "operator"]
PARTS = 4


@pytest.fixture(autouse=True)
def require_sign_in(settings):
    settings.OPEN_MODE = False


@pytest.fixture
def here():
    return world()


@pytest.fixture
def clients(here) -> dict[str, Client]:
    users = {"anyone": UserFactory()}
    users |= {role.slug: member_of(here.project, role) for role in Role}
    users["operator"] = UserFactory(is_staff=True, is_superuser=True)
    users["owner"].team_memberships.create(team_id=here.arguments["team_id"], role=Role.OWNER)
    return {name: signed_in(user) for name, user in users.items()}


def signed_in(user) -> Client:
    """Pages ask for the session, the API for the token."""
    client = Client(raise_request_exception=False)
    client.defaults["HTTP_AUTHORIZATION"] = f"Bearer {Token.issue(user)[1]}"
    client.force_login(user)
    return client


def status(client: Client, here, method: str, template: str) -> int:
    path, message = here.path(template), here.message(method, template)
    with transaction.atomic():
        if method == "GET" or template.startswith("/dashboard"):
            answer = getattr(client, method.lower())(path, message)
        else:
            body = json.dumps(message)
            answer = client.generic(method, path, body, content_type="application/json")
        if answer.streaming:
            list(answer.streaming_content)
        transaction.set_rollback(True)
    assert answer.status_code < 500 or answer.status_code == 501
    # Every answer has a policy; one that allows inline styles is for a sandbox without scripts.
    policy = answer.headers["Content-Security-Policy"]
    assert "unsafe" not in policy or policy.startswith("sandbox; default-src 'none'"), path
    return answer.status_code


def lowest_role(clients: dict[str, Client], here, method: str, template: str) -> str:
    """The first in the order of roles whom the address lets in."""
    for name in ROLES:
        if status(clients[name], here, method, template) not in {403, 404, 405}:
            return name
    return "nobody"


def test_table_has_every_address():
    assert {path for _methods, path, _role in TABLE} == set(addresses())


@pytest.mark.parametrize("part", range(PARTS))
def test_address_lets_in_the_roles_of_the_table(here, clients, part):
    rows = [(method, path, role) for methods, path, role in TABLE for method in methods]

    observed = [
        (method, path, lowest_role(clients, here, method, path))
        for method, path, _role in rows[part::PARTS]
    ]

    assert observed == rows[part::PARTS]


def test_addresses_have_no_other_methods(here, clients):
    known = {(method, path) for methods, path, _role in TABLE for method in methods}
    # Redirects and Django's forms, which take any, and change nothing by others than POST.
    any_method = {"/", "/favicon.ico", "/dashboard/", "/admin", "/signed-in", "/dashboard/language"}
    any_method |= {path for path in addresses() if path.startswith(("/login", "/logout"))}

    others = [
        (method, path)
        for path in addresses()
        for method in METHODS
        if (method, path) not in known and path not in any_method
    ]

    assert {status(clients["operator"], here, *other) for other in others} <= {404, 405}
