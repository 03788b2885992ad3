"""Pages offer nobody what they may not do: no form, button or link of a page answers 403 or 404.

The pages of the role table are opened as each role, that of a run for several states. Of each
project, every address to which a form or a link leads is tried once, in a transaction that is
rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest
from django.db import transaction
from django.http import HttpResponseBase
from django.test import Client
from django.urls import Resolver404, resolve

from accounts.roles import Role
from runs.actions import create_run
from runs.status import RunStatus
from tests.access.addresses import world
from tests.access.role_table import TABLE
from tests.factories import ProjectFactory, RunFactory, member_of

pytestmark = pytest.mark.django_db

PAGES = [
    path
    for methods, path, _role in TABLE
    if "GET" in methods and path.startswith("/dashboard") and "." not in path  # files
]
# They end the session; or are the whole server's, whatever the role.
LEFT_OUT = re.compile(r"/(logout|static|admin|docs|redoc)\b")


@dataclass
class Form:
    """``fields``: hidden ones, and the first of each checkbox; ``buttons``: name and value."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: list[tuple[str, str, str]] = field(default_factory=list)

    def requests(self) -> Iterator[tuple[str, dict[str, str]]]:
        for action, name, value in self.buttons or [("", "", "")]:
            yield action or self.action, self.fields | ({name: value} if name else {})


class Offers(HTMLParser):
    """The forms and links of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self._by_id: dict[str, Form] = {}
        self._open: Form | None = None
        self._loose: list[tuple[str, str, dict[str, str]]] = []
        self.feed(html)
        for form_id, tag, attributes in self._loose:
            if form_id in self._by_id:
                self._add(self._by_id[form_id], tag, attributes)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        if tag == "a" and attributes.get("href"):
            self.links.append(attributes["href"])
        if "hx-post" in attributes:
            self.forms.append(Form(attributes["hx-post"]))
        if tag == "form":
            self._open = Form(attributes.get("action", ""))
            if attributes.get("method", "").lower() == "post":
                self.forms.append(self._open)
            if attributes.get("id"):
                self._by_id[attributes["id"]] = self._open
        if tag in {"input", "button"}:
            if attributes.get("form"):
                self._loose.append((attributes["form"], tag, attributes))
            elif self._open is not None:
                self._add(self._open, tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._open = None

    def _add(self, form: Form, tag: str, attributes: dict[str, str]) -> None:
        name, value = attributes.get("name", ""), attributes.get("value", "")
        kind = attributes.get("type", "submit" if tag == "button" else "text")
        if kind == "submit":
            form.buttons.append((attributes.get("formaction", ""), name, value))
        elif kind in {"hidden", "checkbox"} and name != "csrfmiddlewaretoken":
            form.fields.setdefault(name, value)


@pytest.fixture
def here(settings):
    settings.OPEN_MODE = False
    here = world()
    owner = here.run.created_by
    states = [
        here.run,
        create_run(here.project, by=owner, hyperparameters={"max_steps": 30}),
        RunFactory(project=here.project, status=RunStatus.COMPLETED, created_by=owner),
        RunFactory(project=here.project, status=RunStatus.FAILED, created_by=owner),
    ]
    trashed = RunFactory(project=here.project, status=RunStatus.CANCELLED, created_by=owner)
    trashed.move_to_trash(by=owner)
    here.runs = [*states, trashed]
    return here


def pages(here) -> Iterator[str]:
    for template in PAGES:
        if "{run_id}" not in template:
            yield here.path(template)
            continue
        for run in here.runs if template.endswith("/runs/{run_id}") else here.runs[:1]:
            yield here.path(template).replace(here.run.pk, run.pk)


def close_files(answer: HttpResponseBase) -> None:
    """answer.close() would also close the connection that holds the test's transaction."""
    for close in answer._resource_closers:
        close()


def status(client: Client, method: str, url: str, fields: dict[str, str] | None = None) -> int:
    with transaction.atomic():
        answer = getattr(client, method)(url, fields) if fields else getattr(client, method)(url)
        if answer.streaming:
            list(answer.streaming_content)
        close_files(answer)
        transaction.set_rollback(True)
    return answer.status_code


def address_of(url: str) -> tuple[str, str] | None:
    """Which address it is, and of which project; None if it is none of ours."""
    parts = urlsplit(url)
    if parts.netloc or parts.scheme or LEFT_OUT.search(parts.path):
        return None
    try:
        match = resolve(parts.path)
    except Resolver404:
        return None
    return match.route, match.kwargs.get("project_id", "")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.MEMBER, Role.MAINTAINER])
def test_page_offers_what_its_reader_may_do(here, role):
    user = member_of(here.project, role)
    elsewhere = create_run(ProjectFactory(), by=None).project
    elsewhere.roles.create(user=user, role=Role.OWNER)
    client = Client(raise_request_exception=False)
    client.force_login(user)
    refused: list[str] = []
    known: set[tuple] = set()

    for page in dict.fromkeys(pages(here)):
        answer = client.get(page)
        if answer.status_code != 200 or "html" not in answer["Content-Type"]:
            close_files(answer)
            continue
        offers = Offers(answer.content.decode())
        asked = [
            ("post", urljoin(page, action), fields)
            for form in offers.forms
            for action, fields in form.requests()
        ]
        asked += [("get", urljoin(page, link), {}) for link in offers.links]
        for method, url, fields in asked:
            address = address_of(url)
            sent = tuple(sorted(fields)) if method == "post" else ()
            if address is None or (method, address, sent) in known:
                continue
            known.add((method, address, sent))
            code = status(client, method, url.partition("#")[0], fields)
            if code in {403, 404} or code >= 500:
                refused.append(f"{page}: {method} {url} {fields} -> {code}")

    assert len(known) > 10
    assert not refused, "\n".join(refused)
