"""Level and rank of a line, and escape sequences."""

import pytest

from execution.executors.log_text import level_of, plain, prefixes, rank_of


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
        ("ERROR CUDA out of memory", "ERROR"),
        ("ERROR:root:boom", "ERROR"),
        ("WARNING:absl:slow", "WARNING"),
        ("trainer - ERROR - boom", "ERROR"),
        ("01/02/2024 10:00:00 - ERROR - __main__ - boom", "ERROR"),
        ("2024-01-02 10:00:00.000 | ERROR    | __main__:main:12 - boom", "ERROR"),
        ("2024-01-02 10:00:00 my.module ERROR boom", "ERROR"),
        ("2024-01-02 10:00:00 [error    ] boom", "ERROR"),
        ("[10:00:00] WARNING  slow   train.py:12", "WARNING"),
        ("[WARNING|trainer.py:804] 2024-01-02 10:00:00,000 >> slow", "WARNING"),
        ("[2024-01-02 10:00:00,123] [WARNING] [logging.py:96:log_dist] slow", "WARNING"),
        ("E1128 13:48:58.260000 12345 file.cpp:632] boom", "ERROR"),
        ("W0102 10:00:00.123456 1234567 train.py:12] slow", "WARNING"),
        ("I0102 10:00:00.123456 1234567 train.py:12] ERROR", "INFO"),
        ("F0102 10:00:00.123456 1234567 train.py:12] gone", "CRITICAL"),
        ("[W socket.cpp:663] [c10d] slow", "WARNING"),
        ("[rank1]:[E1128 13:48:58.260 ProcessGroupNCCL.cpp:632] watchdog", "ERROR"),
        ("[default0]:[rank0]:[W1128 13:48:58.260 socket.cpp:632] slow", "WARNING"),
        ("[default3]:2024-01-02 10:00:00,000 ERROR boom", "ERROR"),
        ("node1:1234:5678 [2] NCCL WARN Cuda failure", "WARNING"),
        ("node1:1234:5678 [2] NCCL INFO ERROR", "INFO"),
        ("/lib/train.py:12: UserWarning: slow", "WARNING"),
        ("UserWarning: slow", "WARNING"),
        ("[E] boom", "ERROR"),
        ("【警告】显存不足", "WARNING"),
        ("错误：磁盘已满", "ERROR"),
        ("[2024-01-02 10:00:00] [错误] 磁盘已满", "ERROR"),
        ("错误: 0.25", "INFO"),
        ("没有错误", "INFO"),
        ("node1: [rank5]: ERROR boom", "ERROR"),
        ("Error: no such file", "ERROR"),
        ("Error: 0.25", "INFO"),
        ("Epoch 1: no ERROR so far", "INFO"),
        ("10:00:00 Epoch 1: no ERROR so far", "INFO"),
        ("note: ERROR handling is on", "INFO"),
        ("INFO: no ERROR", "INFO"),
        (" 0%|          | 0/10 [00:00<?, ?it/s] ERROR", "INFO"),
    ],
)
def test_level_is_read_where_logging_libraries_print_it(text, level):
    assert level_of(text) == level


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        ("[rank1]:[E1128 13:48:58.260 ProcessGroupNCCL.cpp:632] watchdog", 1),
        ("[rank12]: Traceback (most recent call last):", 12),
        ("node-1.local: [rank5]: step 1", 5),
        ("[default3]:step 1", 3),
        ("[default0]:[rank4]: step 1", 0),
        ("[1,3]<stderr>:step 1", 3),
        ("rank2[123][MainThread]: INFO: composer.trainer: step 1", 2),
        ("node1:1234:5678 [2] NCCL WARN Cuda failure", 2),
        ("node1:1234:5678 [2] include/alloc.h:48 NCCL INFO bytes", 2),
        ("[2024-01-02 10:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 5] step=10", 5),
        ("[rank: 1] Seed set to 42", 1),
        ("[E ProcessGroupNCCL.cpp:475] [Rank 6] Watchdog caught", 6),
        ("[rank99999999999]: x", None),
        ("step 1 of rank 3", None),
        ("[1] step", None),
    ],
)
def test_rank_is_read_from_what_launchers_and_libraries_print(text, rank):
    assert rank_of(text) == rank


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[1;31mERROR\x1b[0m boom", "ERROR boom"),
        ("\x1b[38;2;1;2;3mtrue color\x1b[39m", "true color"),
        ("\x1b]8;id=1;https://x.org\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;a title\x07text", "text"),
        ("\x1b[2K\x1b[1Aabove", "above"),
        ("\x1b(Btext\x1b", "text"),
        ("\x9b31mred", "red"),
        ("[31m is no sequence", "[31m is no sequence"),
    ],
    ids=ascii,
)
def test_escape_sequences_are_stripped(text, shown):
    assert plain(text) == shown


def test_prefixes_are_those_of_launchers():
    assert prefixes("[default0]:[rank0]: text") == "[default0]:[rank0]: "
    assert prefixes("[1] text") == ""
