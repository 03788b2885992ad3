import io

import pytest
from django.test import Client

from artifacts.models import Artifact, TagValue
from tests.admin import act, page_of, queries_of, rows_in, signed_in, staff, superuser
from tests.factories import RunFactory, UserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def checkpoint(step: int = 1) -> Artifact:
    run = RunFactory()
    return run.artifacts.store_checkpoint(run, io.BytesIO(b"x"), step=step, suffix=".bin")


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("tag_candidate", TagValue.CANDIDATE),
        ("tag_released", TagValue.RELEASED),
        ("tag_archived", TagValue.ARCHIVED),
    ],
)
def test_tag_marks_each_with_notes_and_author(operator: Client, action: str, value: TagValue):
    artifacts = [checkpoint(), checkpoint()]

    act(operator, action, *artifacts, notes="通过复核")

    for artifact in artifacts:
        tag = artifact.tags.get()
        assert (tag.value, tag.notes) == (value, "通过复核")
        assert tag.applied_by is not None
        assert tag.applied_by.username == "operator"


def test_tag_again_without_notes_keeps_those_that_are_there(operator: Client):
    artifact = checkpoint()
    artifact.tag(TagValue.RELEASED, notes="通过复核", by=UserFactory())

    act(operator, "tag_released", artifact)

    assert artifact.tags.get().notes == "通过复核"


def test_only_checkpoints_are_tagged_and_the_others_are_named(operator: Client):
    good = checkpoint()
    run = RunFactory()
    config = run.artifacts.store_config(run, io.BytesIO(b"{}"))

    messages = act(operator, "tag_released", good, config)

    assert messages[0] == "Released: 1."
    assert config.pk in messages[1]
    assert "Only checkpoints can be tagged." in messages[1]
    assert good.tags.count() == 1
    assert config.tags.count() == 0


def test_tagging_needs_the_permission_to_change():
    artifact = checkpoint()

    act(signed_in(staff("view_artifact")), "tag_released", artifact)

    assert not artifact.tags.exists()


def test_artifact_is_shown_with_its_tags_and_nothing_to_edit(operator: Client):
    artifact = checkpoint()
    artifact.tag(TagValue.CANDIDATE, notes="看起来不错", by=None)

    page = operator.get(page_of(artifact)).content.decode()

    assert artifact.path in page
    assert artifact.sha256 in page
    assert "看起来不错" in page
    assert "_save" not in page


def test_search_finds_ids_of_artifact_run_and_project(operator: Client):
    wanted = checkpoint()
    checkpoint()

    for text in (wanted.pk, wanted.pk[:10], wanted.run_id, wanted.run.project_id):
        assert rows_in(operator, Artifact, q=text) == [wanted], text
    assert rows_in(operator, Artifact, run__id__exact=wanted.run_id) == [wanted]


def test_filter_by_tag(operator: Client):
    released, _other = checkpoint(), checkpoint()
    released.tag(TagValue.RELEASED, notes="", by=None)

    assert rows_in(operator, Artifact, tag=TagValue.RELEASED) == [released]
    assert len(rows_in(operator, Artifact, tag="nonsense")) == 2


def test_queries_do_not_grow_with_rows(operator: Client):
    for _ in range(2):
        checkpoint().tag(TagValue.CANDIDATE, notes="", by=None)
    few = len(queries_of(operator, Artifact))
    for _ in range(10):
        checkpoint().tag(TagValue.CANDIDATE, notes="", by=None)

    assert len(queries_of(operator, Artifact)) == few
