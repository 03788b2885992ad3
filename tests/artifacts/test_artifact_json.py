"""The quick way to the JSON of artifacts says what the serializer says."""

import io
from datetime import UTC, datetime

import orjson
import pytest

from artifacts import uploads
from artifacts.artifact_json import artifact_list
from artifacts.models import Artifact, TagValue
from artifacts.serializers import ArtifactSerializer
from tests.clients import ApiClient
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    return RunFactory()


def listed(run, ids):
    return orjson.loads(orjson.dumps(artifact_list(run, ids)))


def by_the_serializer(artifact):
    return ArtifactSerializer(Artifact.objects.get(pk=artifact.pk)).data


def uploaded(run, path="plots/损失.png", **fields):
    artifact = uploads.store(run, path, io.BytesIO(b"content"))[0]
    Artifact.objects.filter(pk=artifact.pk).update(**fields)
    return artifact


def own(run):
    return checkpoint(run, step=2000)


def without_a_step(run):
    return run.artifacts.store_config(run, io.BytesIO(b"{}"))


def with_all_that_a_logger_says(run):
    said = {"aliases": ["latest", "最佳"], "score": 0.25, "monitor": "val_loss", "mode": "min"}
    return uploaded(run, "step=1/step=1.ckpt", metadata=said)


def with_a_huge_score(run):
    return uploaded(run, "step=1.ckpt", metadata={"score": 1e25})


def tagged(run):
    artifact = checkpoint(run)
    artifact.tag(TagValue.RELEASED, notes="通过“复核”", by=None)
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    artifact.tags.filter(value=TagValue.RELEASED).update(
        applied_at=datetime(2124, 1, 2, tzinfo=UTC)
    )
    return artifact


def of_a_whole_second(run):
    artifact = checkpoint(run)
    Artifact.objects.filter(pk=artifact.pk).update(created_at=datetime(2024, 1, 2, 11, tzinfo=UTC))
    return artifact


@pytest.mark.parametrize(
    "make",
    [
        uploaded,
        own,
        without_a_step,
        with_all_that_a_logger_says,
        with_a_huge_score,
        tagged,
        of_a_whole_second,
    ],
)
def test_it_says_what_the_serializer_says(run, make):
    artifact = make(run)

    [item] = listed(run, [artifact.pk])

    assert item == by_the_serializer(artifact)
    assert list(item) == list(by_the_serializer(artifact))


def test_it_keeps_the_order_it_is_given(run):
    ids = [uploaded(run, f"{number}.txt").pk for number in range(3)]
    wanted = [ids[1], ids[2], ids[0]]

    assert [item["id"] for item in listed(run, wanted)] == wanted


def test_tags_are_those_of_each_artifact(run):
    released, candidate, plain = (checkpoint(run, step=step) for step in (1, 2, 3))
    released.tag(TagValue.RELEASED, notes="", by=None)
    candidate.tag(TagValue.CANDIDATE, notes="", by=None)

    items = listed(run, [released.pk, candidate.pk, plain.pk])

    assert [[tag["value"] for tag in item["tags"]] for item in items] == [["发布"], ["候选"], []]


def test_nothing_is_an_empty_list(run):
    assert listed(run, []) == []


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize(
    ("query", "queries"),
    [
        ("", 4),  # the run, which artifacts, their tags, what they are
        ("?page=1&page_size=50", 5),  # how many, besides
    ],
)
def test_list_takes_the_same_few_queries_whatever_is_in_it(
    run, django_assert_num_queries, count, query, queries
):
    for step in range(count):
        checkpoint(run, step=step).tag(TagValue.CANDIDATE, notes="", by=None)

    with django_assert_num_queries(queries):
        ApiClient().get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts{query}")
