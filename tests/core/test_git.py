"""Addresses and revisions of repositories, as requests and recipes name them."""

import pytest

from core import git


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/org/model.git",
        "https://git@example.com:8443/org/model",
        "ssh://git@example.com/model.git",
        "git@example.com:org/model.git",
        "git://127.0.0.1:9418/model",
    ],
)
def test_address_of_a_server_is_accepted(url):
    assert git.is_remote_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/srv/model",
        "../model",
        "model",
        "file:///srv/model",
        "ext::sh -c id",
        "fd::17",
        "https://user:password@example.com/model",
        "https:///model",
        "https://-oProxyCommand=id/model",
        "ssh://-oProxyCommand=id/model",
        "-oProxyCommand=id@example.com:model",
        "git@-example.com:model",
        "https://example.com/a b",
        "https://example.com/a\nb",
        "ftp://example.com/model",
        "https://[bad/model",
    ],
)
def test_other_address_is_refused(url):
    assert not git.is_remote_url(url)


@pytest.mark.parametrize("text", ["main", "v1.2", "feature/大", "a" * 40, "HEAD"])
def test_revision_is_accepted_or_refused_by_its_characters(text):
    assert git.is_revision(text) is text.isascii()


@pytest.mark.parametrize("text", ["", "--upload-pack=id", "a..b", "a@{1}", "x.lock", "a b", "/a"])
def test_what_is_no_revision_is_refused(text):
    assert not git.is_revision(text)


def test_credentials_are_taken_out():
    assert git.without_credentials("https://me:secret@example.com/x") == "https://example.com/x"
