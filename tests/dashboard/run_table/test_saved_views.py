"""Saved views of the table: private, shared, opened first."""

import pytest
from django.contrib.auth.models import User

from accounts.roles import Role
from dashboard.models import SavedView
from tests.dashboard.run_table.pages import page, told

pytestmark = pytest.mark.django_db


@pytest.fixture
def others(client, settings, project):
    """Sign in as a viewer of the project, by name."""
    settings.OPEN_MODE = False

    def sign_in(name: str) -> User:
        user, _created = User.objects.get_or_create(username=name)
        project.roles.get_or_create(user=user, defaults={"role": Role.VIEWER})
        client.force_login(user)
        return user

    return sign_in


def save(client, url, **fields):
    return client.post(f"{url}/views", {"query": "sort=name&name=a", **fields}, follow=True)


def test_saved_view_is_the_address(client, url, others):
    others("ada")

    response = save(client, url, name="mine")

    view = SavedView.objects.get()
    assert (view.name, view.query, view.is_shared) == ("mine", "sort=name&name=a", False)
    assert response.redirect_chain[-1][0] == f"{url}?sort=name&name=a&view={view.pk}"


def test_view_is_shared_or_private(client, url, others):
    others("ada")
    save(client, url, name="of-all", is_shared="on")
    save(client, url, name="of-ada")
    others("bob")

    text = page(client, url)

    assert "of-all" in text
    assert "of-ada" not in text


def test_address_of_a_view_alone_shows_it_in_full(client, url, others):
    others("ada")
    save(client, url, name="mine")
    view = SavedView.objects.get()

    response = client.get(f"{url}?view={view.pk}")

    assert response["Location"] == f"{url}?view={view.pk}&sort=name&name=a"


def test_project_opens_with_the_view_that_the_user_chose(client, url, others):
    others("ada")
    save(client, url, name="mine")
    view = SavedView.objects.get()
    client.post(f"{url}/views/{view.pk}", {"action": "default"})

    opened = client.get(url)
    without = client.get(f"{url}?view=")
    client.post(f"{url}/views/{view.pk}", {"action": "undefault"})

    assert opened["Location"] == f"{url}?view={view.pk}&sort=name&name=a"
    assert without.status_code == 200
    assert client.get(url).status_code == 200


def test_view_is_renamed_changed_and_deleted_by_its_owner(client, url, others):
    others("ada")
    save(client, url, name="before")
    view = SavedView.objects.get()
    address = f"{url}/views/{view.pk}"

    client.post(address, {"action": "rename", "name": "after", "is_shared": "on"})
    client.post(address, {"action": "save", "query": "sort=-step&page=2"})
    view.refresh_from_db()
    client.post(address, {"action": "delete"})

    assert (view.name, view.is_shared, view.query) == ("after", True, "sort=-step")
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("action", ["rename", "save", "delete"])
def test_view_of_somebody_else_cannot_be_changed(client, url, others, action):
    others("ada")
    save(client, url, name="shared", is_shared="on")
    view = SavedView.objects.get()
    others("bob")

    response = client.post(
        f"{url}/views/{view.pk}", {"action": action, "name": "x", "query": ""}, follow=True
    )

    view.refresh_from_db()
    assert (view.name, view.query) == ("shared", "sort=name&name=a")
    assert "Only who has saved a view can change it." in told(response)


def test_private_view_of_somebody_else_is_not_found(client, url, others):
    others("ada")
    save(client, url, name="private")
    view = SavedView.objects.get()
    others("bob")

    assert client.post(f"{url}/views/{view.pk}", {"action": "default"}).status_code == 404


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_view_needs_a_name(client, url, others, name):
    others("ada")

    response = save(client, url, name=name)

    assert not SavedView.objects.exists()
    assert told(response)


def test_name_of_a_view_is_not_taken_twice(client, url, others):
    others("ada")
    save(client, url, name="mine")

    response = save(client, url, name="mine")

    assert "You have a view with this name already." in told(response)
    assert SavedView.objects.count() == 1
