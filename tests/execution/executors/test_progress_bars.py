"""Progress bars that move."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from execution.executors import streams
from execution.executors.progress_bars import (
    SHOW_EVERY_SECONDS,
    bar_line,
    without_shown,
    without_states,
)
from logs.lines import Line

NOW = datetime(2024, 1, 2, tzinfo=UTC)


def state(rest, note, now, *, quiet=False):
    line, note = bar_line(rest, note, "stderr", NOW, now=now, quiet=quiet)
    return line and line.message.strip(), note


def test_bar_that_has_just_begun_is_not_shown():
    text, note = state(b"\r 1%\r 2%", None, 100.0)

    assert text is None
    assert note == {"shown_at": 100.0, "text": ""}


def test_moving_bar_is_shown_every_few_seconds():
    _text, note = state(b"\r 1%\r 2%", None, 100.0)

    early, note = state(b"\r 3%\r 4%", note, 100.0 + SHOW_EVERY_SECONDS / 2)
    shown, note = state(b"\r 5%\r 6%", note, 100.0 + SHOW_EVERY_SECONDS)
    again, _note = state(b"\r 7%\r 8%", note, 101.0 + SHOW_EVERY_SECONDS)

    assert (early, shown, again) == (None, "5%", None)


def test_last_state_is_shown_once_nothing_is_written():
    note = {"shown_at": 0.0, "text": ""}

    assert state(b"\r 5%\r 6", note, 100.0)[0] == "5%"
    assert state(b"\r 5%\r 6%", note, 100.0, quiet=True)[0] == "6%"


def test_state_that_was_shown_is_not_shown_again():
    text, note = state(b"\r 6%", {"shown_at": 0.0, "text": " 6%"}, 100.0, quiet=True)

    assert text is None
    assert note == {"shown_at": 0.0, "text": " 6%"}


def test_last_state_of_a_bar_whose_other_states_were_skipped_is_shown():
    note = {"shown_at": 0.0, "text": "5%"}

    assert state(b" 6%", note, 100.0) == (None, note)
    assert state(b" 6%", note, 100.0, quiet=True)[0] == "6%"


def test_unfinished_line_without_redrawing_is_no_bar():
    assert state(b"loading ...", None, 100.0, quiet=True) == (None, None)


def test_final_state_that_was_shown_is_not_repeated():
    lines = [Line.new("100%"), Line.new("after")]

    assert without_shown(lines, {"shown_at": 0.0, "text": "100%"}) == lines[1:]
    assert without_shown(lines, {"shown_at": 0.0, "text": "90%"}) == lines
    assert without_shown(lines, None) == lines


# --- nested bars -----------------------------------------------------------------------------

UP = b"\x1b[A"
STATES = [b"\r %d%%" % percent + UP for percent in range(5)]


def kept(raw, note=None, now=100.0, *, complete=False):
    lines, note = without_states(raw, note, now=now, complete=complete)
    return [line.strip() for line in lines if line], note


def test_states_of_an_inner_bar_are_left_for_later():
    raw = [b"before", *STATES]

    lines, note = without_states(raw, None, now=100.0, complete=False)

    assert lines == [b"before", b"", b"", b"", b""]
    assert note == {"shown_at": 100.0, "text": ""}


def test_state_of_an_inner_bar_is_kept_every_few_seconds():
    _early, note = kept(STATES)

    due, note = kept(STATES, note, 100.0 + SHOW_EVERY_SECONDS)
    again, _note = kept(STATES[:2], note, 101.0 + SHOW_EVERY_SECONDS)

    assert (due, again) == ([b"4%" + UP], [])
    assert note["text"].strip() == "4%"


def test_last_state_before_other_text_is_kept_once():
    assert kept([*STATES, b"", b"done"])[0] == [b"4%" + UP, b"done"]
    shown = {"shown_at": 100.0, "text": " 4%"}
    assert kept([*STATES, b"done"], shown) == ([b"done"], None)


def test_last_state_of_all_is_kept():
    assert kept(STATES, complete=True)[0] == [b"4%" + UP]


def test_state_of_the_outer_bar_is_one_too():
    raw = [b"\r outer 0%", STATES[0], STATES[1] + b"\r outer 50%", STATES[2], b"\r outer 100%"]

    assert kept(raw)[0] == [b"2%" + UP, b"outer 100%"]


@pytest.mark.parametrize(
    "line",
    [STATES[0] + b"hello", b"\r    \r" + UP + b"hello", STATES[0] + b"\r      \rhello"],
    ids=["print", "tqdm.write", "tqdm.write below"],
)
def test_text_that_is_printed_between_states_is_kept(line):
    lines, note = kept([STATES[0], line, STATES[1]])

    assert [text.split(b"\r")[-1] for text in lines] == [b"hello"]
    assert note is not None


@pytest.mark.parametrize("size", [None, 100], ids=["at once", "piece by piece"])
def test_nested_bars_of_tqdm_are_a_few_lines(tmp_path, monkeypatch, size):
    monkeypatch.setattr(streams, "is_quiet", lambda path: False)
    whole = Path(__file__).with_name("data").joinpath("tqdm_nested.txt").read_bytes()
    notes, messages = {}, []
    for end in range(size or len(whole), len(whole) + (size or 1), size or len(whole)):
        (tmp_path / "stderr.log").write_bytes(whole[:end])
        for ended in (False, end >= len(whole)):
            lines, _at_end = streams.next_entries(
                tmp_path, "stderr", notes, encoding="utf-8", ended=ended
            )
            messages += [line.message for line in lines]

    assert len(messages) <= 5
    assert messages[-1] == "done"
    assert messages[-2].startswith("epochs: 100%")
    assert messages[-3].startswith("steps: 100%")
