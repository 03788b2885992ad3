"""Commands and environments of recipes, as they are pasted and as they are shown again."""

import pytest
from django.core.exceptions import ValidationError
from django.utils.translation import override
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs.commands import (
    MAX_ARGUMENT_LENGTH,
    check_command,
    check_environment,
    format_command,
    format_environment,
    parse_command,
    parse_environment,
)

NO_CONTROL = st.characters(blacklist_categories=("Cs", "Cc"))
ARGUMENT = st.text(NO_CONTROL | st.sampled_from("\n\t\\'\"[]{} "), min_size=1, max_size=12)
NAME = st.from_regex(r"\A[A-Z][A-Z0-9_]{0,8}\Z")


# The machine may be busy.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True, scope="module")
def english():
    with override("en"):
        yield


@pytest.mark.parametrize(
    "text",
    [
        "{python}\ntrain.py\n--text=a, b",
        "{python}\r\ntrain.py\r\n--text=a, b\r\n",
        '["{python}", "train.py", "--text=a, b"]',
        "['{python}', 'train.py', '--text=a, b']",
        "[\n  '{python}',\n  'train.py',\n  '--text=a, b',\n]",
        "{python} train.py '--text=a, b'",
        "{python} train.py \\\n  '--text=a, b'",
    ],
)
def test_command_is_understood_in_each_form(text):
    assert parse_command(text) == ["{python}", "train.py", "--text=a, b"]


@pytest.mark.parametrize("text", ["", "\n", "  \n "])
def test_no_command_is_empty(text):
    assert parse_command(text) == []


def test_lines_keep_their_spaces():
    assert parse_command("a\n b, c \n--d") == ["a", " b, c ", "--d"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "must be a text"),
        ('["a"', "none of JSON or Python"),
        ("[__import__('os')]", "none of JSON or Python"),
        ("[" * 5000, "none of JSON or Python"),
        ("train.py 'a", "not closed"),
        ("train.py | tee log", "no shell to understand |"),
        ("cd /data && train.py", "no shell to understand &&"),
        ("CUDA_VISIBLE_DEVICES=0 train.py", "write CUDA_VISIBLE_DEVICES=0 into the environment"),
        ("x" * 200_000, "at most 100000"),
    ],
)
def test_command_that_is_not_understood_is_refused(text, words):
    with pytest.raises(ValidationError) as error:
        parse_command(text)

    assert words in error.value.messages[0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([" "], "The program is empty."),
        (["a", ""], "Argument 2 is empty."),
        (["a", "b\0"], "Argument 2 contains a null character."),
        (["a" * (MAX_ARGUMENT_LENGTH + 1)], "Argument 1 has 1001 characters"),
        (["{pyhton}", "a"], "{pyhton} is unknown. There are {python}, {repository}, {code}."),
        (["a", "{repo}/train.py"], "Argument 2: {repo} is unknown."),
        (["a"] * 501, "501 arguments"),
    ],
)
def test_command_that_cannot_be_started_is_refused(arguments, words):
    with pytest.raises(ValidationError) as error:
        check_command(arguments)

    assert words in error.value.messages[0]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["{python}", "{repository}/train.py"],
        ["{python}", "-c", "print(f'{x}')"],
        ["awk", "{print}; {next}"],
        ["bash", "-c", "echo ${HOME}"],
        ["train", '--json={"a":1}'],
    ],
)
def test_command_that_can_be_started_passes(arguments):
    check_command(arguments)


@patiently
@given(st.lists(ARGUMENT, max_size=5))
def test_shown_command_is_read_as_it_was(arguments):
    assert parse_command(format_command(arguments)) == arguments


@patiently
@given(st.dictionaries(NAME, st.text(NO_CONTROL | st.sampled_from('\n\t"\\ '), max_size=12)))
def test_shown_environment_is_read_as_it_was(variables):
    assert parse_environment(format_environment(variables)) == variables


@pytest.mark.parametrize(
    "text",
    [
        "A=1\nB=x = y",
        "# a comment\n\nexport A=1\r\n  B = x = y ",
        '{"A": "1", "B": "x = y"}',
    ],
)
def test_environment_is_understood_in_each_form(text):
    assert parse_environment(text) == {"A": "1", "B": "x = y"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("A", "Line 1 is not of the form NAME=value."),
        ("A=1\n=2", "Line 2 is not of the form NAME=value."),
        ("A=1\nA=2", "Line 2 sets A again."),
        ('{"A"', "none"),
        ('{"A": 1}', "JSON object of strings"),
    ],
)
def test_environment_that_is_not_understood_is_refused(text, words):
    with pytest.raises(ValidationError) as error:
        parse_environment(text)

    assert words in error.value.messages[0]


@pytest.mark.parametrize(
    "variables",
    [
        {"TRAINHUB_URL": "x"},
        {"A B": "x"},
        {"": "x"},
        {"A": "\0"},
        {"A": 1},
        [],
        {"A": "x" * 10_001},
    ],
)
def test_environment_that_no_process_can_have_is_refused(variables):
    with pytest.raises(ValidationError):
        check_environment(variables)
