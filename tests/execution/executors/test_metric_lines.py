"""Lines of metrics.jsonl."""

import json
import math
import re

import pytest

from execution.executors.metric_lines import metric_report


def report(*rows):
    return metric_report([json.dumps(row).encode() for row in rows])


def test_numbers_of_a_line_are_points_with_its_step_and_time():
    metrics = report({"step": 3, "timestamp": 1_700_000_000.25, "loss": 1.5, "lr": 1})

    assert [(p.key, p.step, p.value, p.timestamp_ms) for p in metrics.points] == [
        ("loss", 3, 1.5, 1_700_000_000_250),
        ("lr", 3, 1.0, 1_700_000_000_250),
    ]


def test_last_line_determines_the_progress():
    metrics = report({"step": 3, "total_steps": 9}, {"step": 4, "total_steps": 10})

    assert (metrics.step, metrics.total_steps) == (4, 10)


def test_values_that_are_not_numbers_are_said_once_each_kind_with_line_and_key():
    metrics = report(
        {"step": 1, "note": "text", "none": None, "list": [1]}, {"step": 2, "other": "text"}
    )

    assert metrics.points == []
    assert [problem.kind for problem in metrics.problems] == ["text", "list"]
    assert re.search(r"\b1\b.*\bnote\b", metrics.problems[0].text)


def test_kind_that_was_said_before_is_not_said_again():
    metrics = metric_report([b"{", b"[]"], first_line=41, said=["json"])

    assert [problem.kind for problem in metrics.problems] == ["object"]
    assert re.search(r"\b42\b", metrics.problems[0].text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("2.5", 2.5),
        (" 1e-3 ", 1e-3),
        ("-7", -7.0),
        ("inf", math.inf),
        ("-Infinity", -math.inf),
        (True, 1.0),
        (False, 0.0),
    ],
)
def test_numbers_in_text_and_truth_values_are_numbers(value, number):
    assert [point.value for point in report({"step": 1, "loss": value}).points] == [number]


def test_nan_in_text_is_a_number():
    assert math.isnan(report({"step": 1, "loss": "NaN"}).points[0].value)


@pytest.mark.parametrize("text", ["1_000", "0x10", "", "1,5", "0:00:10", "\u0661"])
def test_other_text_is_no_number(text):
    metrics = report({"step": 1, "loss": text})

    assert (metrics.points, [item.kind for item in metrics.problems]) == ([], ["text"])


@pytest.mark.parametrize("step", [7, 7.0, "7", "7.0"])
def test_step_may_be_a_whole_number_of_any_form(step):
    assert [point.step for point in report({"step": step, "loss": 1.0}).points] == [7]


@pytest.mark.parametrize("name", ["step", "global_step", "current_steps", "_step"])
def test_step_has_the_names_of_known_libraries(name):
    metrics = report({name: 7, "loss": 1.0})

    assert [(point.key, point.step) for point in metrics.points] == [("loss", 7)]


def test_step_counts_before_its_other_names_which_are_metrics_then():
    metrics = report({"global_step": 9, "step": 7})

    assert [(point.key, point.step) for point in metrics.points] == [("global_step", 7)]


@pytest.mark.parametrize("name", ["total_steps", "max_steps"])
def test_total_has_two_names(name):
    assert report({"step": 7, name: 100.0}).total_steps == 100


@pytest.mark.parametrize("total", ["many", [1], 1.5, True, 2**63, {"a": 1}])
def test_total_that_is_no_whole_number_is_said_and_the_line_counts(total):
    metrics = report({"step": 7, "total_steps": total, "loss": 1.0})

    assert [point.key for point in metrics.points if point.key == "loss"] == ["loss"]
    assert metrics.total_steps is None
    assert "total" in [problem.kind for problem in metrics.problems]


@pytest.mark.parametrize("total", [0, -1])
def test_training_without_a_limit_has_no_total(total):
    metrics = report({"step": 7, "max_steps": total})

    assert (metrics.total_steps, metrics.problems) == (None, [])


def test_nested_objects_are_flattened_with_dots():
    metrics = report({"step": 1, "eval": {"loss": 1, "rouge": {"l": 2}}})

    assert [(point.key, point.value) for point in metrics.points] == [
        ("eval.loss", 1.0),
        ("eval.rouge.l", 2.0),
    ]
    assert [(item.kind, item.level) for item in metrics.problems] == [("nested", "INFO")]


def test_objects_nested_too_deeply_are_said():
    deep = {"x": 1.0}
    for _ in range(20):
        deep = {"x": deep}

    assert [item.kind for item in report({"step": 1, "x": deep}).problems] == ["nested", "depth"]


def test_declared_checkpoint_is_no_metric_and_no_problem():
    metrics = report({"step": 300, "checkpoint": "step-300/"})

    assert (metrics.points, metrics.problems) == ([], [])


def test_later_of_two_values_of_a_step_is_the_latest():
    first, second = report({"step": 10, "loss": 0.9}, {"step": 10, "loss": 0.8}).points

    assert (first.value, second.value) == (0.9, 0.8)
    assert second.timestamp_ms == first.timestamp_ms + 1


def test_values_with_equal_given_times_are_a_millisecond_apart():
    rows = [{"step": 10, "timestamp": 1000, "loss": loss} for loss in (0.9, 0.8, 0.9)]

    assert [point.timestamp_ms for point in report(*rows).points] == [
        1_000_000,
        1_000_001,
        1_000_002,
    ]


def test_value_with_an_earlier_given_time_keeps_it():
    rows = [{"step": 10, "timestamp": time, "loss": time} for time in (1000, 999)]

    assert [point.timestamp_ms for point in report(*rows).points] == [1_000_000, 999_000]


def test_repeated_line_is_one_point():
    row = {"step": 10, "timestamp": 1000, "loss": 0.9}

    assert len(report(row, row).points) == 1


@pytest.mark.parametrize("timestamp", [9.9e11, -1, 253_402_300_800, 10**400])
def test_timestamp_outside_the_years_1970_to_9999_is_refused(timestamp):
    metrics = report({"step": 1, "timestamp": timestamp, "loss": 1.0})

    assert metrics.points == []
    assert [problem.kind for problem in metrics.problems] == ["timestamp"]


def test_gpu_utilization_above_one_is_percent_from_then_on():
    metrics = report(*({"step": step, "gpu_utilization": 85 - step} for step in (0, 84, 85)))

    assert [point.value for point in metrics.points] == [0.85, 0.01, 0.0]
    assert [problem.kind for problem in metrics.problems] == ["gpu_percent"]


def test_gpu_utilization_above_a_hundred_is_refused():
    metrics = report({"step": 1, "gpu_utilization": 850})

    assert (metrics.points, [item.kind for item in metrics.problems]) == ([], ["gpu_range"])


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b"7",
        b"null",
        b'{"loss": 1}',
        b'{"step": 1.5, "loss": 1}',
        b'{"step": true, "loss": 1}',
        b'{"step": 99999999999999999999, "loss": 1}',
        b'{"step": 1, "timestamp": NaN}',
        b'{"step": 1, "timestamp": "now"}',
        b'{"step": 1, "loss": 1' + b"0" * 400 + b"}",
        b'{"step": 1' + b"0" * 5000 + b"}",
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
    ids=lambda line: line[:24].decode("latin-1"),
)
def test_invalid_line_is_a_problem_and_the_others_count(line):
    metrics = metric_report([line, b'{"step": 2, "loss": 1.0}'])

    assert len(metrics.problems) == 1
    assert [point.step for point in metrics.points] == [2]


@pytest.mark.parametrize("key", ["", "x" * 251, "a\x00b", "half \ud83d"], ids=ascii)
def test_invalid_key_is_said_and_the_others_count(key):
    metrics = report({"step": 1, key: 1.0, "loss": 2.0})

    assert [point.key for point in metrics.points] == ["loss"]
    assert [problem.kind for problem in metrics.problems] == ["key"]


def test_blank_lines_are_not_problems():
    assert metric_report([b"", b"  "]).problems == []
