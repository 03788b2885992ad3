"""Registry searches: filters and sort orders against PostgreSQL."""

import contextlib

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st

from registry.logged_models import LoggedModel
from registry.models import ModelVersion, RegisteredModel
from tracking import paging
from tracking.columns import LoggedModelColumns, ModelVersionColumns, RegisteredModelColumns
from tracking.conditions import where
from tracking.errors import InvalidParameter
from tracking.filters import parse_orders

pytestmark = pytest.mark.django_db


def search(text):
    columns = RegisteredModelColumns()
    condition = where(text, columns)
    return columns.prepare(RegisteredModel.objects.all()).filter(condition)


def ordering(text):
    return paging.Ordering(parse_orders([text]), paging.NAME, RegisteredModelColumns())


@pytest.mark.parametrize(
    "text",
    [
        "name",
        "name =",
        "= 'a'",
        "name = a",
        "name = 'a",
        "name = 'a' AND",
        "name = 'a' OR name = 'b'",
        "name = 'a' AND (name = 'b' OR name = 'c')",
        "name = 'a' name = 'b'",
        "name = 'a';",
        "name IN 'a'",
        "name IN ('a'",
        "name NOT 'a'",
        "name = 'a\x00'",
        "🙂",
    ],
)
def test_malformed_filter_is_rejected(text):
    with pytest.raises(InvalidParameter):
        search(text)


@pytest.mark.parametrize(
    "text",
    [
        "size = 'a'",
        "name > 'a'",
        "name = 3",
        "name RLIKE 'a'",
        "metrics.loss > 1",
        "params.lr = 'x'",
        "creation_timestamp = 'a'",
        "creation_timestamp IN ('1')",
    ],
)
def test_invalid_comparison_is_rejected(text):
    with pytest.raises(InvalidParameter):
        search(text)


@pytest.mark.parametrize("text", ["", "size", "name DOWN", "name ASC DESC", "tags.a", "name;"])
def test_invalid_sort_order_is_rejected(text):
    with pytest.raises(InvalidParameter):
        ordering(text)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_tag_value_is_matched_exactly(value):
    RegisteredModel.objects.all().delete()
    quoted = value.replace("'", "''")
    model = RegisteredModel.objects.create(name="a", tags={"5": value})

    matches = search(f"tags.`5` = '{quoted}'")

    assert list(matches) == [model]


TOKENS = st.sampled_from(
    [
        *("=", "!", "<", ">", "(", ")", ",", "'", "`", "\\", "%", "3", "1e999", "\x00", "🙂"),
        *("name", "tags.a", "tags.`b c`", "metrics.a", "params.a", "version", "creation_timestamp"),
        *("LIKE", "IN", "NOT", "IS", "NULL", "AND", "OR", "'a'", '"b"'),
    ]
)


@pytest.mark.parametrize(
    ("model", "columns"),
    [
        (RegisteredModel, RegisteredModelColumns()),
        (ModelVersion, ModelVersionColumns()),
        (LoggedModel, LoggedModelColumns(Q())),
    ],
)
def test_any_text_is_a_filter_or_rejected(model, columns):
    @given(st.lists(TOKENS).map(" ".join) | st.text(max_size=40))
    def check(text):
        with contextlib.suppress(InvalidParameter):
            list(model.objects.filter(where(text, columns)))

    check()


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("name LIKE 'a%'", ["ab", "abc"]),
        ("name LIKE 'a_'", ["ab"]),
        ("name LIKE 'A%'", []),
        ("name ILIKE 'A%'", ["ab", "abc"]),
        ("name LIKE '%\\'", ["\\"]),
        ("name NOT IN ('ab', 'abc')", ["\\"]),
        ("name != 'ab' AND name != '\\'", ["abc"]),
        ("creation_timestamp > 0 AND creation_timestamp < 99999999999999", ["\\", "ab", "abc"]),
        (
            "creation_timestamp > -99999999999999 AND creation_timestamp < 1e300",
            ["\\", "ab", "abc"],
        ),
        ("creation_timestamp > 1e300", []),
        ("creation_timestamp <= 0", []),
        ("tags.k != 'x'", ["abc"]),
        ("tags.k IS NULL", ["\\"]),
        ("(name = 'ab')", ["ab"]),
    ],
)
def test_filter_matches_expected_models(pattern, names):
    for name, tags in {"ab": {"k": "x"}, "abc": {"k": "y"}, "\\": {}}.items():
        RegisteredModel.objects.create(name=name, tags=tags)

    matches = search(pattern)

    assert sorted(model.name for model in matches) == sorted(names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tags.`mlflow.prompt.is_prompt` = 'false'", ["model"]),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", ["model"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["prompt"]),
    ],
)
def test_model_without_prompt_tag_is_not_a_prompt(text, names):
    RegisteredModel.objects.create(name="model")
    RegisteredModel.objects.create(name="prompt", tags={"mlflow.prompt.is_prompt": "true"})

    matches = search(text)

    assert [model.name for model in matches] == names


@pytest.mark.parametrize("text", ["", "name LIKE '%'"])
def test_prompt_is_not_found_unless_the_filter_names_its_tag(text):
    RegisteredModel.objects.create(name="model")
    RegisteredModel.objects.create(name="prompt", tags={"mlflow.prompt.is_prompt": "true"})

    matches = search(text)

    assert [model.name for model in matches] == ["model"]
