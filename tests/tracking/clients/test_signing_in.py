"""Clients against a server that requires sign-in: tokens work, rejections are not retried."""

import pytest
from knox.models import AuthToken

from tests.factories import UserFactory
from tests.tracking.clients.conftest import Hub
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(serialized_rollback=True)

# If clients retried a rejection, they would take minutes.
MAX_REJECTION_SECONDS = 30


@pytest.fixture(scope="package")
def token(server, django_db_blocker):
    """A token of user li, whom ``server`` deletes on teardown."""
    with django_db_blocker.unblock():
        _stored, token = AuthToken.objects.create(UserFactory(username="li"))
    return token


@pytest.fixture(scope="package")
def secured(version, token, tmp_path_factory):
    """A server in production mode, which requires sign-in."""
    folder = tmp_path_factory.mktemp(f"secured-{version}")
    with web_server(folder, TRAINHUB_PRODUCTION=True, TRAINHUB_SECRET_KEY="x" * 64) as server:
        server.api.headers["Authorization"] = f"Bearer {token}"
        yield server


@pytest.fixture(scope="package")
def signing_in(client, secured, token):
    environment = {"MLFLOW_TRACKING_URI": secured.url, "MLFLOW_EXPERIMENT_NAME": "登录"}
    return client.run("signing_in", TOKEN=token, **environment)


def test_token_is_accepted_as_token_and_as_password(signing_in, secured):
    runs = Hub(secured.api).runs("登录")

    for name in ("token", "password"):
        run = runs[f"by {name}"]
        assert run["id"] == signing_in[name]["run"]
        assert (run["status"], run["metrics"]) == ("已完成", {"loss": 0.5})
    assert "never" not in runs


@pytest.mark.parametrize("credentials", ["wrong token", "wrong password", "none"])
def test_rejection_is_immediate(signing_in, credentials):
    error = signing_in[credentials]

    assert error["code"] == "UNAUTHENTICATED"
    assert "UNAUTHENTICATED: " in error["message"]
    assert error["seconds"] < MAX_REJECTION_SECONDS
