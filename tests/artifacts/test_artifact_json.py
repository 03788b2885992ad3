"""The fast path for artifact JSON returns the same output as the serializer."""

import io
from datetime import UTC, datetime

import orjson
import pytest

from artifacts import storing, uploads
from artifacts.artifact_json import artifact_list
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from artifacts.serializers import ArtifactSerializer
from tests.clients import ApiClient
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    return RunFactory()


def listed(run, ids):
    return orjson.loads(orjson.dumps(artifact_list(run, ids)))


def serialized(artifact):
    return ArtifactSerializer(Artifact.objects.get(pk=artifact.pk)).data


def uploaded(run, path="plots/损失.png", **fields):
    artifact = uploads.store(run, path, io.BytesIO(b"content"))[0]
    Artifact.objects.filter(pk=artifact.pk).update(**fields)
    return artifact


def own_checkpoint(run):
    return checkpoint(run, step=2000)


def without_step(run):
    return storing.store_config(run, io.BytesIO(b"{}"))


def with_full_metadata(run):
    metadata = {"aliases": ["latest", "最佳"], "score": 0.25, "monitor": "val_loss", "mode": "min"}
    return uploaded(run, "step=1/step=1.ckpt", metadata=metadata)


def with_huge_score(run):
    return uploaded(run, "step=1.ckpt", metadata={"score": 1e25})


def tagged(run):
    artifact = checkpoint(run)
    artifact.tag(TagValue.RELEASED, notes="通过“复核”", by=None)
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    artifact.tags.filter(value=TagValue.RELEASED).update(
        applied_at=datetime(2124, 1, 2, tzinfo=UTC)
    )
    return artifact


def created_at_whole_second(run):
    artifact = checkpoint(run)
    Artifact.objects.filter(pk=artifact.pk).update(created_at=datetime(2024, 1, 2, 11, tzinfo=UTC))
    return artifact


@pytest.mark.parametrize(
    "make",
    [
        uploaded,
        own_checkpoint,
        without_step,
        with_full_metadata,
        with_huge_score,
        tagged,
        created_at_whole_second,
    ],
)
def test_output_equals_serializer(run, make):
    artifact = make(run)

    [item] = listed(run, [artifact.pk])

    assert item == serialized(artifact)
    assert list(item) == list(serialized(artifact))


def test_order_of_ids_is_preserved(run):
    ids = [uploaded(run, f"{number}.txt").pk for number in range(3)]
    requested = [ids[1], ids[2], ids[0]]

    assert [item["id"] for item in listed(run, requested)] == requested


def test_each_artifact_has_its_own_tags(run):
    released, candidate, plain = (checkpoint(run, step=step) for step in (1, 2, 3))
    released.tag(TagValue.RELEASED, notes="", by=None)
    candidate.tag(TagValue.CANDIDATE, notes="", by=None)

    items = listed(run, [released.pk, candidate.pk, plain.pk])

    assert [[tag["value"] for tag in item["tags"]] for item in items] == [["发布"], ["候选"], []]


def test_no_ids_return_empty_list(run):
    assert listed(run, []) == []


@pytest.mark.parametrize("count", [1, 60])
@pytest.mark.parametrize(
    ("query", "queries"),
    [
        ("", 4),  # run, artifact ids, tags, artifacts
        ("?page=1&page_size=50", 5),  # and the count
    ],
)
def test_query_count_does_not_grow_with_list(run, django_assert_num_queries, count, query, queries):
    for step in range(count):
        checkpoint(run, step=step).tag(TagValue.CANDIDATE, notes="", by=None)

    with django_assert_num_queries(queries):
        ApiClient().get(f"/projects/{run.project_id}/runs/{run.pk}/artifacts{query}")
