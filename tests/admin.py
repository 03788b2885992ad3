"""Helpers for the admin tests of every app."""

from typing import Any

from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from tests.factories import UserFactory


def superuser() -> User:
    return UserFactory(username="operator", is_staff=True, is_superuser=True)


def staff(*permissions: str) -> User:
    """A staff user with only these permissions (``codename``)."""
    user = UserFactory(is_staff=True)
    granted = Permission.objects.filter(codename__in=permissions)
    assert granted.count() == len(permissions)
    user.user_permissions.set(granted)
    return user


def signed_in(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def list_of(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def page_of(row: Any) -> str:
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(name, args=[quote(row.pk)])


def add_page_of(model: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_add")


def act(client: Client, action: str, *rows: Any, **fields: str) -> list[str]:
    """Run ``action`` on ``rows`` in their list and return the messages shown."""
    data = {"action": action, "_selected_action": [row.pk for row in rows], **fields}
    response = client.post(list_of(type(rows[0])), data, follow=True)
    assert response.status_code == 200
    return [str(message) for message in response.context["messages"]]


def rows_in(client: Client, model: Any, **query: str) -> list[Any]:
    response = client.get(list_of(model), query)
    assert response.status_code == 200, response.headers.get("Location")
    return list(response.context["cl"].result_list)


def queries_of(client: Client, model: Any, **query: str) -> list[str]:
    """The SQL queries of a list page."""
    with CaptureQueriesContext(connection) as context:
        rows_in(client, model, **query)
    return [captured["sql"] for captured in context.captured_queries]


def assert_counts_no_whole_table(queries: list[str]) -> None:
    counts = [sql for sql in queries if sql.startswith("SELECT COUNT(")]
    assert counts, "the list counts nothing: has the paginator changed?"
    for sql in counts:
        assert "LIMIT 10001" in sql, sql
