"""Reading the output of a process."""

import json
import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from execution.executors.output import (
    CHUNK_BYTES,
    LINE_LIMIT_BYTES,
    last_written,
    level_of,
    log_lines,
    metric_report,
    read_whole_lines,
)

NOW = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "stdout.log"


def read_all(path, offset=0):
    """Read as a worker does after the process has ended."""
    lines, at_end = [], False
    while not at_end:
        reading = read_whole_lines(path, offset, ended=True)
        lines += reading.lines
        offset, at_end = reading.offset, reading.at_end
    return lines, offset


def texts(raw):
    return [line.message for line in log_lines(raw, "stdout", NOW)]


# --- whole lines -----------------------------------------------------------------------------


def test_missing_file_has_no_lines(path):
    reading = read_whole_lines(path, 0, ended=True)

    assert (reading.lines, reading.offset, reading.at_end) == ([], 0, True)


def test_incomplete_line_is_left_for_later(path):
    path.write_bytes(b"one\ntw")

    first = read_whole_lines(path, 0, ended=False)
    path.write_bytes(b"one\ntwo\n")
    second = read_whole_lines(path, first.offset, ended=False)

    assert first.lines == [b"one"]
    assert second.lines == [b"two"]


def test_incomplete_line_is_read_after_the_end_of_the_process(path):
    path.write_bytes(b"one\ntw")

    assert read_all(path) == ([b"one", b"tw"], 6)


def test_line_without_a_newline_is_split_at_the_limit(path):
    path.write_bytes(b"x" * (LINE_LIMIT_BYTES + 1))

    reading = read_whole_lines(path, 0, ended=False)

    assert len(reading.lines) == 1
    assert reading.offset == LINE_LIMIT_BYTES + 1


def test_large_file_is_read_in_chunks(path):
    path.write_bytes(b"line of text\n" * (CHUNK_BYTES // 5))

    first = read_whole_lines(path, 0, ended=False)
    lines, offset = read_all(path)

    assert not first.at_end
    assert first.offset <= CHUNK_BYTES
    assert len(lines) == CHUNK_BYTES // 5
    assert offset == path.stat().st_size


pieces = st.lists(
    st.one_of(st.binary(max_size=40), st.just(b"\n"), st.just(b"\r")), min_size=1, max_size=20
)


@given(pieces=pieces)
@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_lines_are_the_same_however_they_arrive(path, pieces):
    path.write_bytes(b"")
    lines, offset = [], 0
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        reading = read_whole_lines(path, offset, ended=False)
        lines += reading.lines
        offset = reading.offset
    rest, offset = read_all(path, offset)

    whole = b"".join(pieces)
    expected = whole.split(b"\n")
    assert lines + rest == (expected if expected[-1] else expected[:-1])
    assert offset == len(whole)


# --- text ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"10%\r20%\r30%", ["30%"]),
        (b"\r  5%|#   | 1/20\r 10%|##  | 2/20\r", ["10%|##  | 2/20".rjust(16)]),
        (b"a windows line\r", ["a windows line"]),
        (b"   ", []),
        ("第 500 步".encode(), ["第 500 步"]),
        (b"\xff\xfe", ["��"]),
        (b"  indented stays  ", ["  indented stays"]),
    ],
)
def test_progress_bar_keeps_only_its_last_state(raw, text):
    assert [item.strip() for item in texts([raw])] == [item.strip() for item in text]


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("step 3 - loss=1.2", "INFO"),
        ("2024-01-02 10:00:00,000 WARNING trainer: slow", "WARNING"),
        ("WARN slow", "WARNING"),
        ("[ERROR] no space", "ERROR"),
        ("FATAL: gone", "CRITICAL"),
        ("DEBUG x", "DEBUG"),
        ("x" * 70 + " ERROR", "INFO"),
        ("ERRORS: 0", "INFO"),
    ],
)
def test_level_is_read_near_the_start_of_the_line(text, level):
    assert level_of(text) == level


def test_lines_have_the_modification_time_of_the_file(path):
    path.write_text("x\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))

    assert last_written(path) == datetime.fromtimestamp(1_700_000_000, UTC)


def test_modification_time_in_the_future_is_replaced_by_now(path):
    path.write_text("x\n")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(path, (tomorrow, tomorrow))

    assert last_written(path) <= datetime.now(UTC)


# --- metrics ---------------------------------------------------------------------------------


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


def test_values_that_are_not_numbers_are_ignored():
    metrics = report({"step": 1, "note": "text", "on": True, "none": None, "list": [1]})

    assert metrics.points == []
    assert metrics.problems == []


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
def test_invalid_key_is_ignored(key):
    assert report({"step": 1, key: 1.0, "loss": 2.0}).points[0].key == "loss"


def test_blank_lines_are_not_problems():
    assert metric_report([b"", b"  "]).problems == []
