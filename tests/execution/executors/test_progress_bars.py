"""Progress bars that move."""

from datetime import UTC, datetime

from execution.executors.progress_bars import SHOW_EVERY_SECONDS, bar_line, without_shown
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
