"""The admin of registered models and versions."""

import pytest
from django.test import Client

from artifacts.kinds import TagValue
from registry.models import ModelVersion, RegisteredModel
from tests.admin import page_of, queries_of, rows_in, signed_in, superuser
from tests.factories import RunFactory, checkpoint
from tests.registry.test_models import registered, version_of

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def released(name: str) -> ModelVersion:
    artifact = checkpoint(RunFactory())
    version = version_of(registered(name), artifact)
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    return version


def test_query_count_of_lists_does_not_grow_with_rows(operator: Client):
    counts = []
    for name in ("a", "b"):
        released(name)
        executed = [queries_of(operator, model) for model in (RegisteredModel, ModelVersion)]
        counts.append([len(queries) for queries in executed])

    assert counts[0] == counts[1]


def test_pages_show_model_stage_and_alias_and_are_read_only(operator: Client):
    version = released("summarizer")

    for row in (version, version.model):
        page = operator.get(page_of(row)).content.decode()
        assert "summarizer" in page
        assert "Production" in page
        assert "released" in page
        assert 'name="_save"' not in page


@pytest.mark.parametrize("field", ["model_id", "run_id", "checkpoint_id"])
def test_search_version_by_related_id(operator: Client, field: str):
    version = released("a")
    released("b")

    assert rows_in(operator, ModelVersion, q=getattr(version, field)) == [version]


def test_search_model_by_start_of_name(operator: Client):
    version = released("summarizer")
    released("writer")

    assert rows_in(operator, RegisteredModel, q="summ") == [version.model]
