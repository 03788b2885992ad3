"""Answers to pages that ask for what has changed."""

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.http import Http404, HttpResponse
from django.test import RequestFactory
from django.utils.translation import override

from dashboard.live import live, moment


class Source:
    """A live view of ``state``, which counts how often it is rendered."""

    def __init__(self):
        self.state = "first"
        self.rendered = 0

    def ask(self, etag="", user=None):
        @live(lambda _request, name: f"{name} {self.state}")
        def view(_request, name):
            self.rendered += 1
            return HttpResponse(f"{name} {self.state}")

        headers = {"If-None-Match": etag} if etag else {}
        request = RequestFactory().get("/", headers=headers)
        request.user = user or AnonymousUser()
        return view(request, name="run")


@pytest.fixture
def source():
    return Source()


def test_first_answer_has_everything_and_its_etag(source):
    response = source.ask()

    assert (response.status_code, response.content) == (200, b"run first")
    assert response.headers["ETag"].startswith('W/"')


def test_same_version_is_not_rendered_again(source):
    response = source.ask(source.ask().headers["ETag"])

    assert (response.status_code, response.content) == (304, b"")
    assert source.rendered == 1


def test_changed_version_is_rendered(source):
    etag = source.ask().headers["ETag"]
    source.state = "second"

    assert source.ask(etag).content == b"run second"


def test_other_language_is_another_version(source):
    with override("en"):
        etag = source.ask().headers["ETag"]

    with override("zh-hans"):
        assert source.ask(etag).status_code == 200


def test_other_user_gets_another_version(source):
    etag = source.ask(user=User(pk=1)).headers["ETag"]

    assert source.ask(etag, user=User(pk=2)).status_code == 200


def test_version_of_nothing_is_not_found():
    def gone(_request):
        raise Http404

    request = RequestFactory().get("/")
    request.user = AnonymousUser()
    with pytest.raises(Http404):
        live(gone)(lambda _request: HttpResponse())(request)


@pytest.mark.parametrize(("second", "number"), [(0.0, 0), (59.9, 0), (60.0, 1), (125.0, 2)])
def test_moment_changes_once_in_each_interval(monkeypatch, second, number):
    monkeypatch.setattr("dashboard.live.clock", lambda: second)

    assert moment(60) == number
