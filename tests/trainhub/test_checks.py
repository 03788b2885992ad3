"""Contradictory settings are reported before anything runs."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from execution.executors import training_user
from trainhub.checks import (
    data_directory_is_usable,
    links_lead_somewhere,
    open_mode_has_loopback_names,
    open_mode_stays_on_loopback,
    production_has_a_secret_key,
    production_hides_tracebacks,
    production_is_reached_by_https,
    provider_is_complete,
    proxy_is_known,
    refuse_contradictions,
    trainings_have_a_user,
)

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def ids(messages: list) -> list[str]:
    return [message.id for message in messages]


@pytest.fixture(autouse=True)
def open_mode(settings: Settings) -> None:
    settings.OPEN_MODE = True
    settings.PRODUCTION = False
    settings.HOST = "127.0.0.1"
    settings.ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST"]
)
def test_open_mode_on_loopback_is_allowed(settings: Settings, host: str):
    settings.HOST = host

    assert open_mode_stays_on_loopback(None) == []


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "::",
        "[::]",
        "",
        "192.168.1.7",
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "trainhub.example",
        "localhost.example",
        "127.0.0.1.example",
    ],
)
def test_open_mode_on_another_host_is_refused(settings: Settings, host: str):
    settings.HOST = host

    assert ids(open_mode_stays_on_loopback(None)) == ["trainhub.E002"]


def test_open_mode_in_production_is_refused(settings: Settings):
    settings.PRODUCTION = True

    assert ids(open_mode_stays_on_loopback(None)) == ["trainhub.E001"]


@pytest.mark.parametrize("production", [True, False])
def test_sign_in_allows_any_host(settings: Settings, production: bool):
    settings.OPEN_MODE = False
    settings.PRODUCTION = production
    settings.HOST = "0.0.0.0"
    settings.ALLOWED_HOSTS = ["trainhub.example"]

    assert open_mode_stays_on_loopback(None) == []
    assert open_mode_has_loopback_names(None) == []


@pytest.mark.parametrize("name", ["*", ".example", "trainhub.example", "192.168.1.7"])
def test_open_mode_with_a_non_loopback_name_is_refused(settings: Settings, name: str):
    settings.ALLOWED_HOSTS = ["localhost", name]

    assert ids(open_mode_has_loopback_names(None)) == ["trainhub.E004"]


def test_open_mode_with_loopback_names_is_allowed():
    assert open_mode_has_loopback_names(None) == []


def test_debug_in_production_is_refused(settings: Settings):
    settings.OPEN_MODE = False
    settings.PRODUCTION = settings.DEBUG = True

    assert ids(production_hides_tracebacks(None)) == ["trainhub.E003"]


def test_debug_outside_production_is_allowed(settings: Settings):
    settings.DEBUG = True

    assert production_hides_tracebacks(None) == []


@pytest.mark.parametrize(
    ("https", "plain", "problems"),
    [
        (False, False, ["trainhub.E010"]),
        (True, False, []),
        (False, True, []),
        (True, True, ["trainhub.E011"]),
    ],
)
def test_production_over_plain_http_has_to_be_wanted(
    settings: Settings, https: bool, plain: bool, problems: list[str]
):
    settings.PRODUCTION = True
    settings.HTTPS, settings.PLAIN_HTTP = https, plain

    assert ids(production_is_reached_by_https(None)) == problems


def test_plain_http_outside_production_is_allowed(settings: Settings):
    settings.HTTPS = settings.PLAIN_HTTP = False

    assert production_is_reached_by_https(None) == []


@pytest.mark.parametrize(
    ("production", "missing", "key", "problems"),
    [
        (True, False, "k" * 32, []),
        (True, False, "changeme", ["trainhub.E013"]),
        (True, True, "k" * 64, ["trainhub.E012"]),
        (False, False, "changeme", []),
    ],
)
def test_production_needs_a_key_that_nobody_guesses(
    settings: Settings, production: bool, missing: bool, key: str, problems: list[str]
):
    settings.PRODUCTION, settings.SECRET_KEY_MISSING = production, missing
    settings.SECRET_KEY = key

    assert ids(production_has_a_secret_key(None)) == problems


@pytest.mark.parametrize(
    ("url", "problems"),
    [
        ("http://0.0.0.0:8000", ["trainhub.W007"]),
        ("http://[::]:8000", ["trainhub.W007"]),
        ("https://trainhub.example.org", []),
    ],
)
def test_links_that_lead_nowhere_are_warned_of(settings: Settings, url: str, problems: list[str]):
    settings.PUBLIC_URL = url

    assert ids(links_lead_somewhere(None)) == problems


def test_data_directory_that_is_a_file_is_refused(settings: Settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "file"
    settings.DATA_DIR.write_text("")

    messages = data_directory_is_usable(None)

    assert ids(messages) == ["trainhub.E005"]
    assert str(settings.DATA_DIR) in messages[0].msg


def test_data_directory_is_created(settings: Settings, tmp_path: Path):
    settings.DATA_DIR = tmp_path / "new" / "var"

    assert data_directory_is_usable(None) == []
    assert settings.DATA_DIR.is_dir()


def test_other_wsgi_server_is_refused_too(settings: Settings):
    settings.HOST = "0.0.0.0"

    with pytest.raises(ImproperlyConfigured, match=r"refused on 0\.0\.0\.0, which is not loopback"):
        refuse_contradictions()


# --- the user of trainings ------------------------------------------------------------------

AS_ROOT = pytest.mark.skipif(
    bool(training_user.missing_capabilities()), reason="may not become another user"
)


@pytest.fixture
def training_user_setting(settings: Settings) -> Settings:
    settings.OPEN_MODE = False
    settings.DATA_DIR = Path("/usr")  # everyone can reach it
    return settings


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no-such-user", "there is no user no-such-user on this host"),
        ("root", "root is root or the worker's own user"),
        ("0-10", "0-10 is no range of UIDs above 0"),
        ("300000-200000", "300000-200000 is no range of UIDs above 0"),
        ("1-70000", "1-70000 is in use by"),
    ],
)
def test_wrong_user_of_trainings_is_refused(training_user_setting: Settings, name: str, sentence):
    training_user_setting.TRAINING_USER = name

    [error] = trainings_have_a_user(None)
    assert error.id == "trainhub.E007"
    assert sentence in error.msg


def test_worker_that_may_not_switch_users_is_refused(
    training_user_setting: Settings, monkeypatch: pytest.MonkeyPatch
):
    training_user_setting.TRAINING_USER = "nobody"
    monkeypatch.setattr(training_user, "missing_capabilities", lambda: ["CAP_SETUID"])

    [error] = trainings_have_a_user(None)
    assert "may not run trainings as another user: run it as root, or give it CAP_SETUID" in (
        error.msg
    )


@AS_ROOT
def test_place_that_the_user_cannot_reach_is_refused(
    training_user_setting: Settings, tmp_path: Path
):
    training_user_setting.TRAINING_USER = "700000-700009"
    training_user_setting.DATA_DIR = tmp_path / "closed" / "data"
    training_user_setting.DATA_DIR.mkdir(parents=True)
    tmp_path.chmod(0o700)

    [error] = trainings_have_a_user(None)
    assert "cannot reach" in error.msg
    assert "chmod o+x" in error.msg


@AS_ROOT
def test_user_of_trainings_in_open_mode_is_warned_of(
    training_user_setting: Settings, monkeypatch: pytest.MonkeyPatch
):
    training_user_setting.TRAINING_USER = "700000-700009"
    monkeypatch.setattr("sys.executable", "/usr/bin/python3")
    assert trainings_have_a_user(None) == []

    training_user_setting.OPEN_MODE = True

    assert ids(trainings_have_a_user(None)) == ["trainhub.W004"]


@AS_ROOT
def test_interpreter_that_the_user_cannot_reach_is_warned_of(
    training_user_setting: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    training_user_setting.TRAINING_USER = "700000-700009"
    tmp_path.chmod(0o700)
    (tmp_path / "python").touch()
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))

    assert ids(trainings_have_a_user(None)) == ["trainhub.W005"]


def test_trainings_of_the_workers_user_need_nothing(settings: Settings):
    settings.TRAINING_USER = ""

    assert trainings_have_a_user(None) == []


def test_provider_needs_a_client_id(settings: Settings):
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = "https://sso.example.org", ""

    assert ids(provider_is_complete(None)) == ["trainhub.E008"]


@pytest.mark.parametrize(
    ("issuer", "found"),
    [
        ("https://sso.example.org", []),
        ("http://localhost:8080", []),
        ("http://sso.example.org", ["trainhub.E009"]),
        ("sso.example.org", ["trainhub.E009"]),
        ("", []),
    ],
)
def test_provider_is_reached_by_tls(settings: Settings, issuer: str, found: list[str]):
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = issuer, "trainhub"

    assert ids(provider_is_complete(None)) == found


@pytest.mark.parametrize(
    ("operators", "found"),
    [
        ("", []),
        ("groups=operators", []),
        ("groups", ["trainhub.E014"]),
        ("groups=", ["trainhub.E014"]),
        ("=operators", ["trainhub.E014"]),
    ],
)
def test_claim_of_operators_needs_a_value(settings: Settings, operators: str, found: list[str]):
    settings.OIDC_ISSUER, settings.OIDC_CLIENT_ID = "https://sso.example.org", "trainhub"
    settings.OIDC_OPERATORS = operators

    assert ids(provider_is_complete(None)) == found


def test_proxy_that_is_not_named_is_warned_of(settings: Settings):
    settings.HTTPS, settings.TRUSTED_PROXIES = True, []
    assert ids(proxy_is_known(None)) == ["trainhub.W006"]

    settings.TRUSTED_PROXIES = ["10.0.0.5/32"]
    assert proxy_is_known(None) == []
