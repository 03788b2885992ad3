"""The numbers that an evaluation's JSON tells."""

import json

import pytest

from artifacts.evaluation_numbers import MAX_BYTES, MAX_NUMBERS, read_evaluation
from core.messages import in_english


def numbers_of(value):
    return read_evaluation(json.dumps(value).encode()).numbers


@pytest.mark.parametrize(
    ("content", "numbers"),
    [
        ({"bleu": 32.5, "loss": 2}, {"bleu": 32.5, "loss": 2.0}),
        ({"results": {"mmlu": {"acc,none": 0.61}}}, {"results/mmlu/acc,none": 0.61}),
        ({"step": 400, "global_step": 400, "acc": 1}, {"acc": 1.0}),
        ({"a": {"step": 3}}, {"a/step": 3.0}),
        (
            [{"task": "mmlu", "acc": 0.6}, {"name": "arc", "acc": 0.5}],
            {"mmlu/acc": 0.6, "arc/acc": 0.5},
        ),
        ({"samples": [0.1, 0.2], "acc": 0.5}, {"acc": 0.5}),
        ({"ok": True, "name": "x", "none": None, "acc": 0.5}, {"acc": 0.5}),
        ({"loss": "NaN", "acc": 0.5}, {"acc": 0.5}),
        ({"huge": 10**400, "acc": 0.5}, {"acc": 0.5}),
        ({"x" * 251: 1, "a\x00b": 2, "": 3, "acc": 0.5}, {"acc": 0.5}),
        ({"准确率": 0.5}, {"准确率": 0.5}),
    ],
)
def test_numbers_are_named_by_the_path_to_them(content, numbers):
    assert numbers_of(content) == numbers


def test_numbers_that_are_not_finite_are_left_out():
    assert read_evaluation(b'{"a": NaN, "b": Infinity, "c": 1}').numbers == {"c": 1.0}


@pytest.mark.parametrize(
    ("content", "step"),
    [
        ({"step": 400}, 400),
        ({"global_step": 7}, 7),
        ({"step": "x", "global_step": 7}, 7),
        ({"step": -1}, None),
        ({"step": True}, None),
        ({"step": 2**63}, None),
        ([{"step": 4}], None),
    ],
)
def test_step_is_the_one_that_the_file_tells(content, step):
    assert read_evaluation(json.dumps(content).encode()).step == step


@pytest.mark.parametrize(
    ("content", "checkpoint"),
    [
        ({"checkpoint": "out/checkpoint-500/"}, "out/checkpoint-500"),
        ({"checkpoint_path": "best.pt"}, "best.pt"),
        ({"checkpoint": {"a": 1}}, ""),
        ({"checkpoint": "a\x00"}, ""),
        ({"checkpoint": "x" * 501}, ""),
    ],
)
def test_checkpoint_is_the_one_that_the_file_names(content, checkpoint):
    assert read_evaluation(json.dumps(content).encode()).checkpoint == checkpoint


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"bleu": 3', "it is not valid JSON"),
        (b"\xff\xfe", "it is not valid JSON"),
        (b"[" * 100_000, "it is not valid JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it is not valid JSON"),
        (b"{}", "it has no numbers"),
        (b" " * (MAX_BYTES + 1), f"it has more than {MAX_BYTES} bytes"),
    ],
)
def test_unreadable_file_has_no_numbers_and_a_reason(content, problem):
    evaluation = read_evaluation(content)

    assert evaluation.numbers == {}
    assert in_english(evaluation.problem) == problem


def test_numbers_beyond_the_limit_are_left_out_with_a_reason():
    evaluation = read_evaluation(
        json.dumps({f"task-{n}": n for n in range(MAX_NUMBERS + 1)}).encode()
    )

    assert len(evaluation.numbers) == MAX_NUMBERS
    assert in_english(evaluation.problem) == f"it has more than {MAX_NUMBERS} numbers"
