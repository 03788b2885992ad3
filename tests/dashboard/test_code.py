"""The pages of a run's code."""

import pytest
from django.test import Client

from runs.models import RunCode
from tests.code_bundles.bundles import bundle
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
EVIL = "<script>alert(1)</script>\n"


@pytest.fixture
def browser():
    return Client(SERVER_NAME="localhost", headers={"accept-language": "en"})


def run_with(files, project=None, **fields):
    run = RunFactory(project=project or ProjectFactory())
    RunCode.objects.create(run=run, bundle=bundle(files), **fields)
    return run


def page(browser, run, **query):
    return browser.get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}/code", query)


def test_files_are_listed_with_where_they_came_from(browser):
    origin = {"commit": "a" * 40, "branch": "main", "dirty": True, "untracked": ["new.txt"]}
    run = run_with({"train.py": "x", "a b#.py": "y"}, origin=origin, patch="+added\n-gone\n")

    text = page(browser, run).content.decode()

    for part in ("train.py", "?file=a%20b%23.py", "a" * 40, "changed since", "new.txt"):
        assert part in text
    assert '<span class="added">+added' in text


def test_file_is_shown_as_text(browser):
    run = run_with({"train.py": EVIL})

    text = page(browser, run, file="train.py").content.decode()

    assert "&lt;script&gt;alert(1)" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize(
    ("content", "status"), [(b"\x00", 200), (b"x" * 600_000, 200)], ids=["binary", "large"]
)
def test_what_is_no_text_is_not_shown(browser, content, status):
    response = page(browser, run_with({"data": content}), file="data")

    assert response.status_code == status
    assert "It is large, or no text." in response.content.decode()


def test_unknown_file_is_not_found(browser):
    assert page(browser, run_with({"a": "x"}), file="b").status_code == 404


def test_difference_from_another_run_is_shown_escaped(browser):
    before = run_with({"train.py": "same\n", "gone.py": "x"})
    after = run_with({"train.py": f"same\n{EVIL}"}, before.project)

    text = page(browser, after, against=before.pk).content.decode()

    assert '<span class="added">+&lt;script&gt;' in text
    assert "gone.py" in text
    assert "<script>alert" not in text


@pytest.mark.parametrize("against", ["run_none", "", "\x00"])
def test_difference_from_an_unknown_run_is_not_found(browser, against):
    assert page(browser, run_with({"a": "x"}), against=against).status_code == 404


def test_run_without_code_says_so(browser):
    assert "has brought no code" in page(browser, RunFactory()).content.decode()


def test_code_that_is_not_fetched_yet_says_so(browser):
    run = RunFactory()
    RunCode.objects.create(run=run, origin={"git_url": "https://x.y/z", "revision": "main"})

    text = page(browser, run).content.decode()

    assert "https://x.y/z" in text
    assert "A worker fetches the files" in text


def test_archive_is_downloaded(browser):
    run = run_with({"a": "x"})

    response = browser.get(f"/dashboard/projects/{run.project_id}/runs/{run.pk}/code.zip")

    assert b"".join(response)[:2] == b"PK"


def test_comparison_links_to_the_difference(browser):
    before = run_with({"a": "x"})
    after = run_with({"a": "y"}, before.project)

    text = browser.get(f"/dashboard/compare?runs={before.pk},{after.pk}&tab=code").content.decode()

    assert f"/runs/{after.pk}/code?against={before.pk}" in text


def test_configuration_links_to_the_code(browser):
    run = run_with({"a": "x"})

    text = browser.get(
        f"/dashboard/projects/{run.project_id}/runs/{run.pk}/configuration"
    ).content.decode()

    assert f"/runs/{run.pk}/code" in text
