"""Settings from environment variables, and error messages for invalid values."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from trainhub.environment import Env


@pytest.fixture
def set_variable(monkeypatch: pytest.MonkeyPatch):
    return lambda text: monkeypatch.setenv("TRAINHUB_TEST", text)


@pytest.mark.parametrize("text", ["true", "True", "on", "yes", "1"])
def test_true_has_several_spellings(set_variable, text: str):
    set_variable(text)

    assert Env().bool("TRAINHUB_TEST", default=False) is True


@pytest.mark.parametrize("text", ["false", "off", "no", "0"])
def test_false_has_several_spellings(set_variable, text: str):
    set_variable(text)

    assert Env().bool("TRAINHUB_TEST", default=True) is False


def test_mistyped_boolean_is_an_error_not_false(set_variable):
    set_variable("ture")

    with pytest.raises(ImproperlyConfigured, match="must be true or false, not 'ture'"):
        Env().bool("TRAINHUB_TEST", default=False)


@pytest.mark.parametrize(
    ("kind", "text", "expected"), [("int", "8e3", "a whole number"), ("float", "fast", "a number")]
)
def test_mistyped_number_is_an_error(set_variable, kind: str, text: str, expected: str):
    set_variable(text)

    with pytest.raises(
        ImproperlyConfigured, match=f"TRAINHUB_TEST must be {expected}, not '{text}'"
    ):
        getattr(Env(), kind)("TRAINHUB_TEST", default=1)


@pytest.mark.parametrize(
    ("kind", "default"), [("int", 8), ("float", 0.5), ("bool", True), ("list", ["localhost"])]
)
def test_empty_value_counts_as_unset(set_variable, kind: str, default: object):
    set_variable("")

    assert getattr(Env(), kind)("TRAINHUB_TEST", default=default) == default


def test_empty_string_counts_as_unset(set_variable):
    set_variable("")

    assert Env().str("TRAINHUB_TEST", default="something") == "something"


def test_unknown_log_level_is_an_error(set_variable):
    set_variable("loud")

    with pytest.raises(ImproperlyConfigured, match="TRAINHUB_TEST must be DEBUG"):
        Env().level("TRAINHUB_TEST", "INFO")


def test_database_url_becomes_django_settings():
    config = Env().postgres("postgresql://me:s3cret@db.example:5433/trainhub")

    assert config["ENGINE"] == "django.db.backends.postgresql"
    assert (config["USER"], config["PASSWORD"]) == ("me", "s3cret")
    assert (config["HOST"], config["PORT"], config["NAME"]) == ("db.example", 5433, "trainhub")


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:s3cret@db/trainhub",
        "sqlite:///s3cret.db",
        "postgre://me:s3cret@db/trainhub",
        "postgresql://me:s3cret@db",
        "postgresql://me:s3cret@db:port/trainhub",
        "s3cret",
    ],
)
def test_invalid_database_url_error_omits_the_password(url: str):
    with pytest.raises(ImproperlyConfigured) as caught:
        Env().postgres(url)

    assert str(caught.value).startswith("DATABASE_URL must be postgresql://")
    assert "s3cret" not in str(caught.value)


def test_choice_is_one_of_those_there_are_in_any_case(set_variable):
    set_variable("EN")

    assert Env().choice("TRAINHUB_TEST", ["zh-hans", "en"], default="zh-hans") == "en"


def test_unknown_choice_is_an_error(set_variable):
    set_variable("fr")

    with pytest.raises(ImproperlyConfigured, match="must be zh-hans or en, not 'fr'"):
        Env().choice("TRAINHUB_TEST", ["zh-hans", "en"], default="zh-hans")


def test_networks_are_addresses_and_networks(set_variable):
    set_variable("10.0.0.5, 172.16.0.0/12,2001:db8::/32")

    networks = Env().networks("TRAINHUB_TEST")

    assert networks == ["10.0.0.5/32", "172.16.0.0/12", "2001:db8::/32"]


def test_name_among_networks_is_an_error(set_variable):
    set_variable("proxy.example.org")

    with pytest.raises(ImproperlyConfigured, match="must be IP addresses or networks"):
        Env().networks("TRAINHUB_TEST")


def test_mail_server_is_read_from_its_url(set_variable):
    set_variable("smtp+tls://me%40example.org:p%3Aw@mail.example.org")

    assert Env().smtp("TRAINHUB_TEST") == {
        "host": "mail.example.org",
        "port": 587,
        "user": "me@example.org",
        "password": "p:w",
        "scheme": "smtp+tls",
    }


@pytest.mark.parametrize("url", ["mail.example.org", "smtp://me:s3cret@", "imap://s3cret@host"])
def test_invalid_mail_server_error_omits_the_password(set_variable, url: str):
    set_variable(url)

    with pytest.raises(ImproperlyConfigured) as caught:
        Env().smtp("TRAINHUB_TEST")

    assert "s3cret" not in str(caught.value)
