"""Reading and decoding the text files of a process."""

import os
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from execution.executors.log_entries import shown
from execution.executors.text_lines import (
    CHUNK_BYTES,
    LINE_LIMIT_BYTES,
    MAX_LINE_BYTES,
    decode,
    last_written,
    read_whole_lines,
)


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


def test_file_that_has_become_shorter_is_read_from_its_start(path):
    path.write_bytes(b"one\ntwo\n")

    first = read_whole_lines(path, 8, ended=False)
    second = read_whole_lines(path, 9, ended=False)

    assert (first.lines, first.is_replaced) == ([], False)
    assert (second.lines, second.offset, second.is_replaced) == ([b"one", b"two"], 8, True)
    assert second.offset_of(1) == 4


def test_file_that_was_written_anew_and_is_longer_is_read_from_its_start(path):
    path.write_bytes(b"one\ntwo\n")
    first = read_whole_lines(path, 0, ended=False)
    path.unlink()
    path.write_bytes(b"other\nlines\nmore\n")

    second = read_whole_lines(path, first.offset, ended=False, mark=first.mark)

    assert (first.is_replaced, second.is_replaced) == (False, True)
    assert second.lines == [b"other", b"lines", b"more"]


def test_file_that_was_moved_into_its_place_with_what_it_had_is_read_on(path):
    path.write_bytes(b"one\n" * 100)
    first = read_whole_lines(path, 0, ended=False)
    path.unlink()
    path.write_bytes(b"one\n" * 100 + b"two\n")

    second = read_whole_lines(path, first.offset, ended=False, mark=first.mark)
    third = read_whole_lines(path, second.offset, ended=False, mark=second.mark)

    assert (second.lines, second.is_replaced) == ([b"two"], False)
    assert (third.lines, third.is_replaced) == ([], False)


def test_offset_of_an_earlier_version_has_no_mark(path):
    path.write_bytes(b"one\ntwo\n")

    reading = read_whole_lines(path, 4, ended=False)

    assert (reading.lines, reading.is_replaced) == ([b"two"], False)


# --- times ---


def test_lines_have_the_modification_time_of_the_file(path):
    path.write_text("x\n")
    os.utime(path, (1_700_000_000, 1_700_000_000))

    assert last_written(path) == datetime.fromtimestamp(1_700_000_000, UTC)


def test_modification_time_in_the_future_is_replaced_by_now(path):
    path.write_text("x\n")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).timestamp()
    os.utime(path, (tomorrow, tomorrow))

    assert last_written(path) <= datetime.now(UTC)


# --- long lines and bars ---------------------------------------------------------------------


def test_long_line_is_whole_once_its_newline_is_there(path):
    path.write_bytes(b"x" * (3 * CHUNK_BYTES) + b"\nafter\n")

    lines, _offset = read_all(path)

    assert [len(line) for line in lines] == [3 * CHUNK_BYTES, 5]


def test_long_line_that_is_being_written_is_left_for_later(path):
    path.write_bytes(b"before\n" + b"x" * (2 * CHUNK_BYTES))

    first = read_whole_lines(path, 0, ended=False, quiet=False)
    second = read_whole_lines(path, first.offset, ended=False, quiet=False)

    assert first.lines == [b"before"]
    assert (second.lines, second.offset) == ([], first.offset)


def test_line_past_the_limit_is_split_even_while_it_is_written(path):
    path.write_bytes(b"x" * (MAX_LINE_BYTES + 1))

    reading = read_whole_lines(path, 0, ended=False, quiet=False)

    assert reading.offset > LINE_LIMIT_BYTES


def test_long_bar_is_read_on_from_its_last_state(path):
    states = [b"\r%4d" % number for number in range(100_000)]
    path.write_bytes(b"".join(states))

    reading = read_whole_lines(path, 0, ended=False)

    assert reading.lines == []
    assert reading.rest == b"99999"
    assert reading.offset == path.stat().st_size - 5


def test_bar_longer_than_a_chunk_leaves_no_fragment(path):
    path.write_bytes(b"".join(b"\r%30d" % number for number in range(40_000)) + b"\nafter\n")

    lines, _offset = read_all(path)

    assert [shown(line).strip() for line in lines] == ["39999", "after"]


# --- decoding --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "encoding", "text"),
    [
        ("训练开始".encode(), "utf-8", "训练开始"),
        ("训练开始".encode("gbk"), "utf-8", "训练开始"),
        ("第 3 步，损失 0.5".encode("gbk"), "utf-8", "第 3 步，损失 0.5"),
        ("café à côté".encode("latin-1"), "utf-8", "café à côté"),
        ("训练开始".encode("gbk"), "gbk", "训练开始"),
        ("训练开始".encode(), "gbk", "训练开始"),
        ("トレーニング".encode("shift_jis"), "shift_jis", "トレーニング"),
        (b"\xff\xfe", "utf-8", "��"),
        (b"a\x00\xff\xfeb", "utf-8", "a\x00��b"),
        ("训练".encode() + b"\xff", "utf-8", "训练�"),
        ("训练开始".encode()[1:], "utf-8", "��练开始"),
        ("训练开始".encode()[:-1], "utf-8", "训练开�"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_text_is_decoded_in_its_encoding_or_a_plausible_one(raw, encoding, text):
    assert decode(raw, encoding) == text
