"""The admin of artifacts."""

import io

import pytest
from django.test import Client

from artifacts import storing
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from tests.admin import act, list_of, page_of, queries_of, rows_in, signed_in, staff, superuser
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def checkpoint(step: int = 1) -> Artifact:
    run = RunFactory()
    return storing.store_checkpoint(run, io.BytesIO(b"x"), step=step, suffix=".bin")


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("tag_candidate", TagValue.CANDIDATE),
        ("tag_released", TagValue.RELEASED),
        ("tag_archived", TagValue.ARCHIVED),
    ],
)
def test_tag_action_sets_notes_and_author_on_each_artifact(
    operator: Client, action: str, value: TagValue
):
    artifacts = [checkpoint(), checkpoint()]

    act(operator, action, *artifacts, notes="通过复核")

    for artifact in artifacts:
        tag = artifact.tags.get()
        assert (tag.value, tag.notes) == (value, "通过复核")
        assert tag.applied_by is not None
        assert tag.applied_by.username == "operator"


def test_tag_again_without_notes_keeps_existing_notes(operator: Client):
    artifact = checkpoint()
    artifact.tag(TagValue.RELEASED, notes="通过复核", by=None)

    act(operator, "tag_released", artifact)

    assert artifact.tags.get().notes == "通过复核"


def test_tag_action_reports_artifacts_that_are_not_checkpoints(operator: Client):
    good = checkpoint()
    run = RunFactory()
    config = storing.store_config(run, io.BytesIO(b"{}"))

    messages = act(operator, "tag_released", good, config)

    assert messages[0] == "Released: 1."
    assert config.pk in messages[1]
    assert "Only checkpoints can be tagged." in messages[1]
    assert good.tags.count() == 1
    assert config.tags.count() == 0


def test_tag_action_reports_damaged_checkpoints(operator: Client):
    damaged = checkpoint()
    damaged.set_damage("it is cut off")
    damaged.save()

    [message] = act(operator, "tag_released", damaged)

    assert f"{damaged.pk} is damaged and cannot be tagged: it is cut off." in message
    assert damaged.tags.count() == 0


def test_tag_action_requires_change_permission():
    artifact = checkpoint()

    act(signed_in(staff("view_artifact")), "tag_released", artifact)

    assert not artifact.tags.exists()


def test_artifact_page_shows_tags_and_is_read_only(operator: Client):
    artifact = checkpoint()
    artifact.tag(TagValue.CANDIDATE, notes="看起来不错", by=None)

    page = operator.get(page_of(artifact)).content.decode()

    assert artifact.path in page
    assert artifact.sha256 in page
    assert "看起来不错" in page
    assert "_save" not in page


def test_search_by_artifact_run_and_project_id(operator: Client):
    artifact = checkpoint()
    checkpoint()

    for text in (artifact.pk, artifact.pk[:10], artifact.run_id, artifact.run.project_id):
        assert rows_in(operator, Artifact, q=text) == [artifact], text
    assert rows_in(operator, Artifact, run__id__exact=artifact.run_id) == [artifact]


def test_filter_by_tag(operator: Client):
    released, _other = checkpoint(), checkpoint()
    released.tag(TagValue.RELEASED, notes="", by=None)

    assert rows_in(operator, Artifact, tag=TagValue.RELEASED) == [released]
    assert len(rows_in(operator, Artifact, tag="nonsense")) == 2


def test_query_count_does_not_grow_with_rows(operator: Client):
    for _ in range(2):
        checkpoint().tag(TagValue.CANDIDATE, notes="", by=None)
    expected = len(queries_of(operator, Artifact))
    for _ in range(10):
        checkpoint().tag(TagValue.CANDIDATE, notes="", by=None)

    assert len(queries_of(operator, Artifact)) == expected


def test_list_shows_tags_in_the_readers_language(operator: Client):
    checkpoint().tag(TagValue.CANDIDATE, notes="", by=None)

    page = operator.get(list_of(Artifact)).content.decode()

    assert '<td class="field-tagged">Candidate</td>' in page
