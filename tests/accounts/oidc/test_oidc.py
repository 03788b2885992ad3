"""Sign-in through a real provider: who gets in, and as whom."""

import pytest
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.models import User
from django.test import Client
from django.urls import NoReverseMatch, reverse
from pytest_django import Settings

from accounts.oidc.claims import is_of_one_person, operator_status, verified_email
from tests.accounts.guessing import PASSWORD
from tests.accounts.oidc.provider import Provider, asked, path_of

pytestmark = [
    pytest.mark.django_db,
    # Of the provider, which is told of changes in the library that it is built with.
    pytest.mark.filterwarnings("ignore:get_jwt_config:DeprecationWarning"),
]

ENGLISH = {"Accept-Language": "en"}
LI = {
    "email": "li@example.org",
    "email_verified": True,
    "preferred_username": "xiaoli",
    "groups": ["research"],
}


def sign_in(client: Client, provider: Provider, sub: str, **form: str):
    """Go through the flow as ``sub``; the answer to the return from the provider."""
    begun = client.post("/login/oidc", form)
    back = provider.authorize(begun.headers["Location"], sub)
    return client.get(path_of(back), headers=ENGLISH)


def refusal(client: Client, provider: Provider, sub: str, **form: str) -> str:
    """What the sign-in page says after it."""
    sign_in(client, provider, sub, **form)
    return client.get("/login", headers=ENGLISH).content.decode()


def is_signed_in(client: Client) -> bool:
    return client.get("/projects").status_code == 200


def test_first_sign_in_makes_an_account(client: Client, provider: Provider):
    provider.know("1", **LI)

    response = sign_in(client, provider, "1", next="/dashboard/recipes")

    assert response.headers["Location"] == "/dashboard/recipes"
    assert is_signed_in(client)
    user = User.objects.get()
    assert (user.username, user.email, user.is_staff) == ("xiaoli", "li@example.org", False)
    assert not user.has_usable_password()


def test_person_whose_name_and_address_have_changed_is_the_same(client: Client, provider: Provider):
    provider.know("1", **LI)
    sign_in(client, provider, "1")
    provider.know("1", email="new@example.org", email_verified=True, preferred_username="li2")

    sign_in(Client(), provider, "1")

    assert User.objects.count() == 1


def test_request_proves_its_origin_and_is_bound_to_the_browser(client: Client, provider: Provider):
    address = client.post("/login/oidc").headers["Location"]

    query = asked(address)
    assert (query["code_challenge_method"], query["response_type"]) == ("S256", "code")
    assert query["state"]
    assert query["redirect_uri"] == "http://testserver/login/oidc/callback"


def test_answer_for_another_browser_signs_nobody_in(client: Client, provider: Provider):
    provider.know("1", **LI)
    begun = client.post("/login/oidc").headers["Location"]
    back = provider.authorize(begun, "1")
    victim = Client()

    victim.get(path_of(back))

    assert not is_signed_in(victim)


def test_sign_out_ends_the_session(client: Client, provider: Provider):
    provider.know("1", **LI)
    sign_in(client, provider, "1")

    client.post("/logout")

    assert not is_signed_in(client)


# --- no account is taken over ----------------------------------------------------------------


@pytest.mark.parametrize("is_verified", [True, False])
def test_address_of_another_account_does_not_lead_to_it(
    client: Client, provider: Provider, *, is_verified: bool
):
    owner = User.objects.create_superuser("owner", "li@example.org", PASSWORD)
    provider.know("attacker", **LI | {"email_verified": is_verified})

    sign_in(client, provider, "attacker")

    assert [link.user.username for link in SocialAccount.objects.all()] == ["xiaoli"]
    owner.refresh_from_db()
    assert owner.check_password(PASSWORD)


def test_name_of_another_account_does_not_lead_to_it(client: Client, provider: Provider):
    User.objects.create_superuser("xiaoli", password=PASSWORD)
    provider.know("attacker", **LI)

    sign_in(client, provider, "attacker")

    user = SocialAccount.objects.get().user
    assert user.username != "xiaoli"
    assert not user.is_superuser


def test_name_of_open_modes_administrator_is_not_given_away(client: Client, provider: Provider):
    provider.know("attacker", **LI | {"preferred_username": "admin"})

    sign_in(client, provider, "attacker")

    assert not User.objects.filter(username="admin").exists()


def test_address_that_is_not_verified_is_not_kept(client: Client, provider: Provider):
    provider.know("1", **LI | {"email_verified": False})

    sign_in(client, provider, "1")

    assert User.objects.get().email == ""


def test_member_links_the_account_while_signed_in(client: Client, provider: Provider):
    member = User.objects.create_user("member", password=PASSWORD)
    client.force_login(member)
    provider.know("1", **LI)

    response = sign_in(client, provider, "1", process="connect")

    assert response.headers["Location"] == "/login/password"
    again = Client()
    sign_in(again, provider, "1")
    assert again.get("/login/password", headers=ENGLISH).context["user"] == member
    assert User.objects.count() == 1


def test_person_who_has_an_account_cannot_be_linked_to_another(client: Client, provider: Provider):
    provider.know("1", **LI)
    sign_in(Client(), provider, "1")
    client.force_login(User.objects.create_user("member", password=PASSWORD))

    sign_in(client, provider, "1", process="connect")

    assert SocialAccount.objects.get().user.username == "xiaoli"


# --- who gets in -----------------------------------------------------------------------------


def test_stranger_is_told_what_to_do_where_no_accounts_are_made(
    client: Client, provider: Provider, settings: Settings
):
    settings.OIDC_CREATE_USERS = False
    provider.know("1", **LI)

    assert "You have no account here yet." in refusal(client, provider, "1")
    assert not User.objects.exists()


@pytest.mark.parametrize(
    "claims",
    [
        {"email": "li@elsewhere.org"},
        {"email": "li@sub.example.org"},
        {"email": "li@example.org@elsewhere.org"},
        {"email_verified": False},
        {"email": ""},
    ],
    ids=str,
)
def test_only_verified_addresses_of_the_domains_get_in(
    client: Client, provider: Provider, settings: Settings, claims: dict[str, object]
):
    settings.OIDC_DOMAINS = ["Example.org"]
    provider.know("1", **LI | claims)

    assert "not of a domain that may sign in here" in refusal(client, provider, "1")
    assert not is_signed_in(client)


def test_address_of_a_domain_gets_in(client: Client, provider: Provider, settings: Settings):
    settings.OIDC_DOMAINS = ["Example.org"]
    provider.know("1", **LI)

    sign_in(client, provider, "1")

    assert is_signed_in(client)


def test_deactivated_account_does_not_get_in(client: Client, provider: Provider):
    provider.know("1", **LI)
    sign_in(Client(), provider, "1")
    User.objects.update(is_active=False)

    assert "This account has been deactivated." in refusal(client, provider, "1")
    assert not is_signed_in(client)


def test_whoever_declines_at_the_provider_is_told_so(client: Client, provider: Provider):
    begun = client.post("/login/oidc").headers["Location"]

    client.get(path_of(provider.deny(begun)), headers=ENGLISH)

    page = client.get("/login", headers=ENGLISH).content.decode()
    assert "Signing in was cancelled, or has failed." in page


def test_provider_that_is_away_is_told_of(client: Client, provider: Provider, settings: Settings):
    [app] = settings.SOCIALACCOUNT_PROVIDERS["openid_connect"]["APPS"]
    app["settings"]["server_url"] = "http://localhost:9"

    client.post("/login/oidc", headers=ENGLISH)

    page = client.get("/login", headers=ENGLISH).content.decode()
    assert "The sign-in provider cannot be reached." in page


def test_claim_makes_operators_and_unmakes_them(
    client: Client, provider: Provider, settings: Settings
):
    settings.OIDC_OPERATORS = "groups=trainhub-operators"
    provider.know("1", **LI | {"groups": ["trainhub-operators"]})
    sign_in(client, provider, "1")
    assert User.objects.get().is_staff

    provider.know("1", **LI)
    sign_in(Client(), provider, "1")

    user = User.objects.get()
    assert (user.is_staff, user.is_superuser) == (False, False)


# --- where it is not configured --------------------------------------------------------------


def test_without_a_provider_there_are_no_urls_of_it(client: Client, settings: Settings):
    settings.OPEN_MODE = False
    client.force_login(User.objects.create_user("member"))

    assert client.post("/login/oidc").status_code == 404
    assert client.get("/login/oidc/callback?code=1").status_code == 404
    with pytest.raises(NoReverseMatch):
        reverse("openid_connect_login", kwargs={"provider_id": "oidc"})
    assert "OpenID" not in Client().get("/login").content.decode()


def test_sign_in_page_offers_the_provider(client: Client, provider: Provider):
    page = client.get("/login", headers=ENGLISH).content.decode()

    assert "Sign in with Example SSO" in page


def test_sign_in_does_not_begin_by_a_link(client: Client, provider: Provider):
    assert client.get("/login/oidc").status_code == 405
    assert Client(enforce_csrf_checks=True).post("/login/oidc").status_code == 403


# --- claims ----------------------------------------------------------------------------------


def test_two_answers_about_different_people_are_not_used():
    assert is_of_one_person({"id_token": {"sub": "1"}, "userinfo": {"sub": "1"}})
    assert not is_of_one_person({"id_token": {"sub": "1"}, "userinfo": {"sub": "2"}})


@pytest.mark.parametrize(
    ("said", "email"), [(True, "a@b.c"), ("true", "a@b.c"), (None, ""), ("false", "")]
)
def test_address_counts_if_the_provider_has_verified_it(said: object, email: str):
    assert verified_email({"email": "a@b.c", "email_verified": said}) == email


@pytest.mark.parametrize(
    ("claims", "is_operator"),
    [
        ({"role": "admin"}, True),
        ({"role": ["x", "admin"]}, True),
        ({"role": "admins"}, False),
        ({}, False),
    ],
)
def test_operator_has_the_value_of_the_claim(
    settings: Settings, claims: dict[str, object], *, is_operator: bool
):
    settings.OIDC_OPERATORS = "role=admin"

    assert operator_status(claims) is is_operator
