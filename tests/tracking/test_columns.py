"""What the registry's searches know of the language, as PostgreSQL answers them."""

import contextlib

import pytest
from django.db.models import Q
from hypothesis import given
from hypothesis import strategies as st

from artifacts.logged_models import LoggedModel
from artifacts.registry import ModelVersion, RegisteredModel
from tracking import paging
from tracking.columns import LoggedModelColumns, ModelVersionColumns, RegisteredModelColumns
from tracking.conditions import where
from tracking.errors import InvalidParameter
from tracking.filters import parse_orders

pytestmark = pytest.mark.django_db


def found_by(text):
    return RegisteredModel.objects.filter(where(text, RegisteredModelColumns()))


def ordered_by(text):
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
def test_what_is_no_filter_is_refused(text):
    with pytest.raises(InvalidParameter):
        found_by(text)


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
def test_what_cannot_be_compared_is_refused(text):
    with pytest.raises(InvalidParameter):
        found_by(text)


@pytest.mark.parametrize("text", ["", "size", "name DOWN", "name ASC DESC", "tags.a", "name;"])
def test_what_is_no_order_is_refused(text):
    with pytest.raises(InvalidParameter):
        ordered_by(text)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_value_is_found_as_it_is(value):
    RegisteredModel.objects.all().delete()
    quoted = value.replace("'", "''")
    model = RegisteredModel.objects.create(name="a", tags={"5": value})

    found = found_by(f"tags.`5` = '{quoted}'")

    assert list(found) == [model]


WORDS = st.sampled_from(
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
def test_any_text_is_a_filter_or_refused(model, columns):
    @given(st.lists(WORDS).map(" ".join) | st.text(max_size=40))
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
def test_search_finds(pattern, names):
    for name, tags in {"ab": {"k": "x"}, "abc": {"k": "y"}, "\\": {}}.items():
        RegisteredModel.objects.create(name=name, tags=tags)

    found = found_by(pattern)

    assert sorted(model.name for model in found) == sorted(names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tags.`mlflow.prompt.is_prompt` = 'false'", ["model"]),
        ("tags.`mlflow.prompt.is_prompt` != 'true'", ["model"]),
        ("tags.`mlflow.prompt.is_prompt` = 'true'", ["prompt"]),
    ],
)
def test_what_does_not_say_that_it_is_a_prompt_is_none(text, names):
    RegisteredModel.objects.create(name="model")
    RegisteredModel.objects.create(name="prompt", tags={"mlflow.prompt.is_prompt": "true"})

    found = found_by(text)

    assert [model.name for model in found] == names
