"""The page of the audit."""

import pytest

from audit.models import Entry
from dashboard.templatetags.audit_pages import subject_name

pytestmark = pytest.mark.usefixtures("english")


@pytest.mark.parametrize(
    ("kind", "name", "shown"),
    [
        ("checkpoint_tag", "发布", "Released"),
        ("project", "发布", "发布"),
        ("run", "", "run_000000000000"),
    ],
    ids=["tag", "project", "no name"],
)
def test_subject_has_its_own_name_and_a_tag_the_readers_word(kind, name, shown):
    entry = Entry(kind=kind, name=name, subject_id="run_000000000000")

    assert subject_name(entry) == shown
