import pytest
from django.test import Client

from artifacts.models import TagValue
from artifacts.registry import ModelVersion, RegisteredModel
from tests.admin import page_of, queries_of, rows_in, signed_in, superuser
from tests.artifacts.test_registry import registered, version_of
from tests.factories import RunFactory, checkpoint

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> Client:
    return signed_in(superuser())


def released(name: str) -> ModelVersion:
    artifact = checkpoint(RunFactory())
    version = version_of(registered(name), artifact)
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    return version


def test_lists_do_not_ask_more_for_more_rows(operator: Client):
    counts = []
    for name in ("a", "b"):
        released(name)
        asked = [queries_of(operator, model) for model in (RegisteredModel, ModelVersion)]
        counts.append([len(queries) for queries in asked])

    assert counts[0] == counts[1]


def test_pages_show_what_a_model_is(operator: Client):
    version = released("summarizer")

    for row in (version, version.model):
        page = operator.get(page_of(row)).content.decode()
        assert "summarizer" in page
        assert "Production" in page
        assert "released" in page
        assert 'name="_save"' not in page


@pytest.mark.parametrize("of", ["model_id", "run_id", "checkpoint_id"])
def test_version_is_found_by_what_it_is_made_of(operator: Client, of: str):
    version = released("a")
    released("b")

    assert rows_in(operator, ModelVersion, q=getattr(version, of)) == [version]


def test_model_is_found_by_the_beginning_of_its_name(operator: Client):
    version = released("summarizer")
    released("writer")

    assert rows_in(operator, RegisteredModel, q="summ") == [version.model]
