"""Clients where sign-in is needed: an API token opens, and a refusal is told at once."""

import pytest
from knox.models import AuthToken

from tests.factories import UserFactory
from tests.tracking.clients.conftest import Hub
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(serialized_rollback=True)

# What the client's own attempts would take, were a refusal something to try again: minutes.
AT_ONCE_SECONDS = 30


@pytest.fixture(scope="package")
def token(server, django_db_blocker):
    """Of a user called li. ``server`` takes it away with everything else."""
    with django_db_blocker.unblock():
        _stored, token = AuthToken.objects.create(UserFactory(username="li"))
    return token


@pytest.fixture(scope="package")
def locked(version, token, tmp_path_factory):
    """A server in production."""
    folder = tmp_path_factory.mktemp(f"locked-{version}")
    with web_server(folder, TRAINHUB_PRODUCTION=True, TRAINHUB_SECRET_KEY="x" * 64) as server:
        server.api.headers["Authorization"] = f"Bearer {token}"
        yield server


@pytest.fixture(scope="package")
def signing_in(client, locked, token):
    environment = {"MLFLOW_TRACKING_URI": locked.url, "MLFLOW_EXPERIMENT_NAME": "登录"}
    return client.run("signing_in", TOKEN=token, **environment)


def test_token_opens_as_token_and_as_password(signing_in, locked):
    runs = Hub(locked.api).runs("登录")

    for name in ("token", "password"):
        run = runs[f"by {name}"]
        assert run["id"] == signing_in[name]["run"]
        assert (run["status"], run["metrics"]) == ("已完成", {"loss": 0.5})
    assert "never" not in runs


@pytest.mark.parametrize("shown", ["wrong token", "wrong password", "nobody"])
def test_refusal_is_told_at_once(signing_in, shown):
    refused = signing_in[shown]

    assert refused["code"] == "UNAUTHENTICATED"
    assert "UNAUTHENTICATED: " in refused["message"]
    assert refused["seconds"] < AT_ONCE_SECONDS
