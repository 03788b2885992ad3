"""Log entries: lines, tracebacks and the last states of progress bars."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from execution.executors.log_entries import MAX_FOREIGN_LINES, MAX_TRACEBACK_BYTES, log_entries
from execution.executors.text_lines import read_whole_lines
from logs.appending import MAX_MESSAGE_LENGTH

NOW = datetime(2024, 1, 2, tzinfo=UTC)
DATA = Path(__file__).with_name("data")
TRACEBACK = b"""Traceback (most recent call last):
  File "train.py", line 1, in <module>
    main()
RuntimeError: CUDA out of memory."""


def entries(text, *, complete=True):
    """The entries of whole lines of text, and how many of the lines were used."""
    return log_entries(text.split(b"\n"), "stderr", NOW, complete=complete)


def messages(text, **options):
    return [line.message for line in entries(text, **options)[0]]


def texts(raw):
    return [line.message for line in log_entries(raw, "stdout", NOW)[0]]


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


def test_lines_have_level_and_rank_of_their_text():
    lines, used = entries(b"\x1b[1;31mERROR\x1b[0m boom\n[rank1]:[W1128 13:48:58.260 x.cpp:6] slow")

    assert [(line.message, line.level, line.rank) for line in lines] == [
        ("ERROR boom", "ERROR", None),
        ("[rank1]:[W1128 13:48:58.260 x.cpp:6] slow", "WARNING", 1),
    ]
    assert used == 2


# --- tracebacks ------------------------------------------------------------------------------


def test_traceback_is_one_entry_of_level_error():
    lines, _used = entries(b"before\n" + TRACEBACK + b"\nafter")

    assert [line.message for line in lines] == ["before", TRACEBACK.decode(), "after"]
    assert [line.level for line in lines] == ["INFO", "ERROR", "INFO"]


@pytest.mark.parametrize(
    "bar",
    [
        "  0%|          | 0/1000 [00:00<?, ?it/s]",
        " 12%|█▏        | 120/1000 [00:05<00:36, 24.1it/s, loss=2.1]",
        "[rank1]: Epoch 1:  50%|█████     | 5/10 [00:10<00:10,  2.0s/it]",
    ],
)
def test_traceback_that_begins_on_the_line_of_a_bar_is_an_entry(bar):
    prefix = "[rank1]: " if bar.startswith("[rank1]") else ""
    traceback = "\n".join(prefix + line for line in TRACEBACK.decode().split("\n"))

    lines, _used = entries(bar.encode() + traceback.removeprefix(prefix).encode())

    assert [line.message for line in lines] == [bar.rstrip(), traceback]
    assert lines[-1].level == "ERROR"


def test_traceback_that_may_go_on_is_left_with_what_follows_it():
    text = b"before\n" + TRACEBACK

    assert entries(text, complete=False)[1] == 1
    assert entries(text + b"\n", complete=False)[1] == 1
    assert entries(text + b"\nafter", complete=False)[1] == 6


def test_chained_tracebacks_are_one_entry():
    text = (DATA / "chained_tracebacks.txt").read_bytes()

    saving, traceback = messages(text)

    assert saving.startswith("Saving")
    assert "OSError" in traceback
    assert traceback.endswith("unexpected pos 1024 vs 918")


def test_indented_lines_after_an_exception_belong_to_its_message():
    text = TRACEBACK + b"\n\tMissing key(s): a\n\tUnexpected key(s): b\n  0%|   | 0/10"

    traceback, bar = messages(text)

    assert traceback.endswith("Unexpected key(s): b")
    assert bar == "  0%|   | 0/10"


def test_second_traceback_is_an_entry_of_its_own():
    assert messages(TRACEBACK + b"\n" + TRACEBACK) == [TRACEBACK.decode()] * 2


def test_traceback_of_an_exception_group_is_one_entry():
    text = b"""  + Exception Group Traceback (most recent call last):
  |   File "train.py", line 1, in <module>
  | ExceptionGroup: several (1 sub-exception)
  +-+---------------- 1 ----------------
    | ValueError: one
    +------------------------------------
after"""

    assert [message[-5:] for message in messages(text)] == ["-----", "after"]


def test_traceback_in_a_box_is_one_entry():
    box = "╭─── Traceback (most recent call last) ───╮\n│ train.py:1 in main │\n╰────────╯\n"
    text = box + "ValueError: one\nafter"

    assert messages(text.encode()) == [box + "ValueError: one", "after"]


def test_interleaved_tracebacks_of_ranks_are_kept_apart():
    text = (DATA / "torchrun_out_of_memory.txt").read_bytes()

    tracebacks = [line for line in entries(text)[0] if "Traceback" in line.message]

    assert [line.rank for line in tracebacks] == [0, 1, None]
    assert tracebacks[0].message.count("[rank0]: ") == tracebacks[0].message.count("\n") + 1
    assert "CUDA out of memory" in tracebacks[0].message
    assert tracebacks[1].message.endswith("remote peer node1<41234>")
    assert {line.level for line in tracebacks} == {"ERROR"}


def test_ranks_traceback_is_over_after_many_lines_of_others():
    traceback = b"\n".join(b"[rank1]: " + line for line in TRACEBACK.split(b"\n"))
    others = b"\n".join([b"[rank0]: step"] * (MAX_FOREIGN_LINES + 1))

    lines, used = entries(traceback + b"\n" + others, complete=False)

    assert lines[0].message == traceback.decode()
    assert used == 4 + MAX_FOREIGN_LINES + 1


def test_endless_traceback_is_split():
    frame = b'  File "train.py", line 1, in main\n'
    text = b"Traceback (most recent call last):\n" + frame * (MAX_TRACEBACK_BYTES // len(frame) + 9)

    lines, used = entries(text, complete=False)

    assert used > 0
    assert lines[0].message.startswith("Traceback")
    assert len(lines[0].message) == MAX_MESSAGE_LENGTH


def test_long_traceback_keeps_its_exception():
    text = b"Traceback (most recent call last):\n" + b"    frame\n" * 5000 + b"ValueError: one"

    (message,) = messages(text)

    assert len(message) == MAX_MESSAGE_LENGTH
    assert "characters cut]" in message
    assert message.endswith("ValueError: one")


# --- however the text arrives ----------------------------------------------------------------

pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [
                b"\n",
                b"\n\n",
                b"\r 10%",
                b"\r 20%\n",
                "训练\n".encode("gbk"),
                b"[rank0]: Traceback (most recent call last):\n",
                b'[rank0]:   File "x.py", line 1\n',
                b"[rank0]: ValueError: one\n",
                b"Traceback (most recent call last):\n",
                b'  File "x.py", line 1\n',
                b"ValueError: one\n",
                b"During handling of the above exception, another exception occurred:\n",
                b"\x1b[31mERROR\x1b[0m boom\n",
            ]
        ),
        st.binary(max_size=12),
    ),
    max_size=25,
)


def ingested(path, whole, cuts):
    """The entries of a file that is read whenever it has grown to one of the sizes ``cuts``."""
    lines, offset = [], 0
    for size in [*sorted(cuts), len(whole)]:
        path.write_bytes(whole[:size])
        reading = read_whole_lines(path, offset, ended=False, quiet=False)
        new, used = log_entries(reading.lines, "stderr", NOW, complete=False)
        lines += new
        offset = reading.offset_of(used)
    reading = read_whole_lines(path, offset, ended=True)
    return lines + log_entries(reading.lines, "stderr", NOW)[0]


@given(pieces=pieces, data=st.data())
@hypothesis_settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_entries_are_the_same_however_the_text_arrives(tmp_path, pieces, data):
    whole = b"".join(pieces)
    cuts = data.draw(st.lists(st.integers(0, len(whole)), max_size=6))

    assert ingested(tmp_path / "a", whole, cuts) == ingested(tmp_path / "b", whole, [])


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.glob("*.txt")))
def test_output_of_real_tools_is_the_same_in_chunks(tmp_path, name):
    whole = (DATA / name).read_bytes()

    expected = ingested(tmp_path / "a", whole, [])

    for size in (37, 211):
        assert ingested(tmp_path / "b", whole, range(0, len(whole), size)) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "gbk.txt",
            [
                ("训练开始", "INFO"),
                ("第 100 步，损失 2.31", "INFO"),
                ("错误：找不到数据集", "ERROR"),
            ],
        ),
    ],
)
def test_output_is_read_as_a_terminal_shows_it(name, expected):
    lines, _used = entries((DATA / name).read_bytes())

    assert [(line.message, line.level) for line in lines] == expected


def test_bars_of_a_real_training_leave_one_line_for_each_of_their_lines():
    lines, _used = entries((DATA / "tqdm.txt").read_bytes())

    bars = [line.message.partition("|")[0].strip() for line in lines if "/24 [" in line.message]
    assert bars == ["0%", "25%", "50%", "75%", "100%", "100%"]
    assert {line.level for line in lines} == {"INFO"}


def test_levels_of_glog_are_read():
    lines, _used = entries((DATA / "glog.txt").read_bytes())

    assert [line.level for line in lines] == ["INFO", "WARNING", "ERROR", "CRITICAL"]
