"""The texts that a regular expression requires."""

import pytest
from django.db import DataError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logs.patterns import required_texts


@pytest.mark.parametrize(
    ("pattern", "texts"),
    [
        ("CUDA error", ["CUDA error"]),
        ("CUDA error: .* memory$", ["CUDA error: ", " memory"]),
        ("^step [0-9]+ loss", ["step ", " loss"]),
        (r"loss=2\.9\d+", ["loss=2.9"]),
        ("(?i)out of memory", ["out of memory"]),
        ("colou?r", ["colo", "r"]),
        ("ab*c", ["a", "c"]),
        ("ab+c", ["ab", "c"]),
        ("ab+?c", ["ab", "c"]),
        ("ab{0,3}c", ["a", "c"]),
        ("rank (1|2) died", ["rank ", " died"]),
        ("x(a(b|c)[)]d)y", ["x", "y"]),
        ("[]abc]x[^]]y[[:alpha:]]z", ["x", "y", "z"]),
        (r"\mNaN\M", ["NaN"]),
        ("第 .* 步", ["第 ", " 步"]),
    ],
)
def test_texts_contained_in_every_match_are_found(pattern, texts):
    assert required_texts(pattern) == texts


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        ".*",
        "a|b",
        "abc|",
        r"(a)\1bc",
        r"\x41bc",
        "\\u0041",
        "(?x)a b",
        "***=a.b",
        "(?#()abc",
        "(",
        "[",
        "[]aa[]",
        "[^]aa[b]?",
    ],
)
def test_unsupported_syntax_requires_no_texts(pattern):
    assert required_texts(pattern) == []


PARTS = [
    *("a", "b", "AB", "-", "训", ".", "*", "+", "?", "{2}", "{0,1}", "{", "}", "(", ")", "|", "]"),
    *("[ab]", "[^b]", "[]", "[)]", "[(]", "[[:alpha:]]", "^", "$"),
    *("\\", "\\.", "\\d", "\\1", "\\m", "(?i)", "(?:", "(?=", "(?!", "(?#"),
]


@pytest.mark.django_db
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    pattern=st.lists(st.sampled_from(PARTS), max_size=7).map("".join),
    text=st.text("aAbB.d1-训 ()", max_size=8),
)
def test_text_without_a_required_text_never_matches(pattern, text):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute('SELECT %s COLLATE "C" ~ %s', [text, pattern])
            matches = cursor.fetchone()[0]
    except DataError:
        return

    if matches:
        folded = text.encode().lower()
        assert [t for t in required_texts(pattern) if t.encode().lower() not in folded] == []
