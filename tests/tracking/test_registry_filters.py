"""The language of the registry's searches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.registry import RegisteredModel
from tracking.errors import InvalidParameter
from tracking.registered_models import FIELDS
from tracking.registry_filters import Condition, parse

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("name = 'a'", Condition("attribute", "name", "=", "a")),
        ("name='a b'", Condition("attribute", "name", "=", "a b")),
        ('name != "a"', Condition("attribute", "name", "!=", "a")),
        ("name <> 'a'", Condition("attribute", "name", "!=", "a")),
        ("name like '%x_'", Condition("attribute", "name", "LIKE", "%x_")),
        ("attributes.name ILIKE 'X'", Condition("attribute", "name", "ILIKE", "X")),
        ("name = 'it''s'", Condition("attribute", "name", "=", "it's")),
        ("tags.stage = 'x'", Condition("tag", "stage", "=", "x")),
        ("tag.`a b.c` = 'x'", Condition("tag", "a b.c", "=", "x")),
        ("tags.\"a b\" = 'x'", Condition("tag", "a b", "=", "x")),
        ("params.lr = '1e-3'", Condition("param", "lr", "=", "1e-3")),
        ("metrics.loss <= -1.5e2", Condition("metric", "loss", "<=", -150.0)),
        ("version_number > 3", Condition("attribute", "version_number", ">", 3.0)),
        ("run_id IN ('a', 'b')", Condition("attribute", "run_id", "IN", ("a", "b"))),
        ("run_id not in ('a',)", Condition("attribute", "run_id", "NOT IN", ("a",))),
    ],
)
def test_comparison_is_read(text, condition):
    assert parse(text) == [condition]


def test_comparisons_are_joined_by_and():
    assert [each.key for each in parse("name = 'a' AND tags.b = 'and' and tags.c='x'")] == [
        "name",
        "b",
        "c",
    ]


@pytest.mark.parametrize("text", ["", " ", "\n"])
def test_nothing_asks_for_nothing(text):
    assert parse(text) == []


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
        parse(text)


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
        "creation_timestamp > 1e300",
        "creation_timestamp IN ('1')",
    ],
)
def test_what_cannot_be_compared_is_refused(text):
    with pytest.raises(InvalidParameter):
        FIELDS.where(text)


@pytest.mark.parametrize("text", ["", "size", "name DOWN", "name ASC DESC", "tags.a", "name;"])
def test_what_is_no_order_is_refused(text):
    with pytest.raises(InvalidParameter):
        FIELDS.order_by(text)


@given(st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_value_is_found_as_it_is(value):
    RegisteredModel.objects.all().delete()
    quoted = value.replace("'", "''")
    model = RegisteredModel.objects.create(name="a", tags={"5": value})

    found = RegisteredModel.objects.filter(FIELDS.where(f"tags.`5` = '{quoted}'"))

    assert list(found) == [model]


WORDS = st.sampled_from(
    [
        *"=!<>(),'`\\%3\x00🙂",
        "name",
        "tags.a",
        "tags.`b c`",
        "LIKE",
        "IN",
        "NOT",
        "AND",
        "'a'",
        '"b"',
    ]
)


@given(st.lists(WORDS).map(" ".join) | st.text(max_size=40))
def test_any_text_is_a_filter_or_refused(text):
    try:
        condition = FIELDS.where(text)
    except InvalidParameter:
        return
    list(RegisteredModel.objects.filter(condition))


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
        ("creation_timestamp <= 0", []),
        ("tags.k != 'x'", ["abc"]),
    ],
)
def test_search_finds(pattern, names):
    for name, tags in {"ab": {"k": "x"}, "abc": {"k": "y"}, "\\": {}}.items():
        RegisteredModel.objects.create(name=name, tags=tags)

    found = RegisteredModel.objects.filter(FIELDS.where(pattern)).order_by("name")

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

    found = RegisteredModel.objects.filter(FIELDS.where(text))

    assert [model.name for model in found] == names
