"""What blocks of log lines say of themselves, and the searches that go by it."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runs import log_blocks, log_search, logs
from runs.ingestion import Line, append_log
from runs.log_blocks import BLOCK_LINES, bits_of
from runs.logs import LogFilter
from runs.models import LogBlock, LogLevel, Run
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of eight lines."""
    for module in (log_blocks, log_search, logs):
        monkeypatch.setattr(module, "BLOCK_LINES", 8)


def lines(count, first=1, **fields):
    return [
        Line(f"Step {n}", timestamp=START + timedelta(minutes=n), **fields)
        for n in range(first, first + count)
    ]


def blocks_of(run):
    return list(LogBlock.objects.filter(run=run).order_by("number"))


# --- written ---------------------------------------------------------------------------------


def test_block_is_there_when_its_last_line_is(small_blocks):
    run = RunFactory()

    append_log(run, lines(7))
    before = len(blocks_of(run))
    append_log(run, lines(1, 8))

    assert (before, len(blocks_of(run))) == (0, 1)


def test_batch_completes_every_block_that_it_fills(small_blocks):
    run = RunFactory()
    append_log(run, lines(3))

    append_log(run, lines(30, 4))

    assert [block.number for block in blocks_of(run)] == [0, 1, 2, 3]


def test_block_of_many_small_batches_sums_them_all_up(small_blocks):
    run = RunFactory()

    append_log(run, lines(4, level="INFO", source="stdout", rank=0))
    append_log(run, lines(3, 5, level="ERROR", source="stderr", rank=1))
    append_log(run, lines(1, 8, level="ERROR", source="stderr"))

    block = blocks_of(run)[0]
    assert block.tallies == {
        "level": {"INFO": 4, "ERROR": 4},
        "source": {"stdout": 4, "stderr": 4},
        "rank": {"0": 4, "1": 3},
    }
    assert block.first_time == START + timedelta(minutes=1)
    assert block.last_time == START + timedelta(minutes=8)


def test_blocks_are_the_same_however_the_lines_came(small_blocks):
    at_once, one_by_one = RunFactory(), RunFactory()

    append_log(at_once, lines(25))
    for line in lines(25):
        append_log(one_by_one, [line])

    def content(run):
        return [(block.tallies, bytes(block.trigrams)) for block in blocks_of(run)]

    assert content(at_once) == content(one_by_one)


def test_blocks_keep_their_size():
    """What is stored depends on it."""
    assert BLOCK_LINES == 1024


def test_search_finds_the_bits_where_blocks_have_set_them():
    """Stored filters are read for ever: neither the hash nor the order of bits may change."""
    assert bits_of("OOM") == [28783]
    assert log_blocks._filter("x oom x")[28783 // 8] >> (28783 % 8) & 1


@pytest.mark.parametrize("text", ["", "a", "ab", "é"])
def test_text_too_short_for_a_trigram_rules_nothing_out(text):
    assert bits_of(text) == []


def test_text_looked_at_in_pieces_loses_nothing_between_them(monkeypatch):
    text = "checkpoint saved: 第 500 步"
    whole = log_blocks._filter(text)

    monkeypatch.setattr(log_blocks, "PIECE_BYTES", 5)

    assert log_blocks._filter(text) == whole


# --- searched --------------------------------------------------------------------------------


def test_search_reads_the_blocks_alone_that_may_hold_the_text(small_blocks):
    run = RunFactory()
    append_log(run, [*lines(80), Line("CUDA error: out of memory"), *lines(80, 82)])
    within = log_search.Range(1, run.log_count)

    found = log_search.blocks(run.pk, within, LogFilter(q="cuda ERROR"))

    assert [block.number for block in found if block.number < 20] == [10]
    assert [block.number for block in found][-1] == 20  # not complete: it has no summary


def test_level_is_counted_from_the_blocks(small_blocks):
    run = RunFactory()
    append_log(run, [*lines(15), *lines(9, 16, level="ERROR")])
    within = log_search.Range(1, run.log_count)

    found = log_search.blocks(run.pk, within, LogFilter(level="ERROR"))

    assert [tuple(block) for block in found] == [(1, 1), (2, 8)]


def test_search_does_without_blocks_that_are_not_there(small_blocks):
    run = RunFactory()
    append_log(run, lines(40))
    LogBlock.objects.filter(run=run, number__in=[1, 3]).delete()

    page = logs.page(run, 1, 50, LogFilter(q="step 1"))

    assert [line.seq for line in page.items] == [1, *range(10, 20)]


def test_rare_text_in_a_long_log_is_looked_up_by_the_key(small_blocks):
    """Not by reading the whole log once for all blocks, as PostgreSQL would rather do."""
    run = RunFactory()
    wanted = {100, 900, 1700}
    append_log(run, [Line("needle" if n in wanted else f"straw {n}") for n in range(1, 2001)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE runs_logline")
    plans = []

    def explained(execute, sql, params, many, context):
        if "runs_logline" in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute("EXPLAIN " + sql, params)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        page = logs.page(run, 1, 50, LogFilter(q="needle"))

    assert {line.seq for line in page.items} == wanted
    assert plans
    assert all("Index Cond" in plan and "seq >= wanted.first" in plan for plan in plans)


# Few words and few of everything else, so that filters find something; text that differs in case,
# needs more than a byte a character, or means something to LIKE, regular expressions and COPY.
WORDS = ["loss", "LOSS", "nan", "训练", "训", "É", "é", "%", "_", "\\", "a.b", "(x)", "\t", "1.5"]
messages = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
levels = st.sampled_from(LogLevel.values)
sources = st.sampled_from(["", "stdout", "stderr"])
ranks = st.sampled_from([None, 0, 1, 2])
times = st.integers(0, 12).map(lambda minutes: START + timedelta(minutes=minutes))
batches = st.lists(
    st.lists(st.builds(Line, messages, levels, sources, times, ranks), max_size=20), max_size=6
)
# What Python's re and PostgreSQL read alike.
patterns = st.lists(
    st.sampled_from(
        [
            "loss",
            "nan",
            "训练",
            "n",
            "o",
            ".",
            " ",
            "s?",
            "s*",
            "o+",
            "[ln]",
            "[^a-z]",
            r"\d",
            r"\.",
            r"\(",
            "(nan|loss)",
            "(lo)?",
            "a{2}",
            "o{0,1}",
            "(n|N)*",
            "|",
            "^",
            "$",
        ]
    ),
    min_size=1,
    max_size=5,
).map("".join)
filters = st.builds(
    LogFilter,
    start_time=st.none() | times,
    end_time=st.none() | times,
    level=st.just("") | levels,
    source=sources,
    rank=ranks,
    q=st.just("") | messages,
    regex=st.just("") | patterns,
)


def passes(line, only):
    """What LogFilter promises, in Python."""
    return (
        (only.start_time is None or line.timestamp >= only.start_time)
        and (only.end_time is None or line.timestamp < only.end_time)
        and (not only.level or line.level == only.level)
        and (not only.source or line.source == only.source)
        and (only.rank is None or line.rank == only.rank)
        and only.q.encode().lower() in line.message.encode().lower()
        and (not only.regex or matches(only.regex, line.message))
    )


def matches(pattern, message):
    """By PostgreSQL, which knows best."""
    with connection.cursor() as cursor:
        cursor.execute('SELECT %s COLLATE "C" ~ %s', [message, pattern])
        return cursor.fetchone()[0]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=batches,
    only=filters,
    page=st.integers(1, 4),
    page_size=st.sampled_from([1, 5, 20, 100]),
    after_seq=st.sampled_from([0, 0, 3, 8, 17, 1000]),
    newest_first=st.booleans(),
)
def test_any_search_finds_what_a_plain_look_at_every_line_finds(
    small_blocks, batches, only, page, page_size, after_seq, newest_first
):
    run = RunFactory()
    for batch in batches:
        append_log(run, batch)
    printed = [line for batch in batches for line in batch]
    expected = [
        seq for seq, line in enumerate(printed, 1) if seq > after_seq and passes(line, only)
    ]

    found = logs.page(run, page, page_size, only, after_seq=after_seq, newest_first=newest_first)

    ordered = expected[::-1] if newest_first else expected
    assert found.total == len(expected)
    assert [row.seq for row in found.items] == ordered[(page - 1) * page_size :][:page_size]
    assert [row.message for row in found.items] == [
        printed[row.seq - 1].message for row in found.items
    ]
    assert [row.seq for row in logs.after(run, after_seq, page_size, only)] == expected[:page_size]
    if not after_seq:
        assert [row.seq for row in logs.tail(run, page_size, only)] == expected[-page_size:]
        assert [row.seq for rows in logs.download(run, only) for row in rows] == expected


def test_run_deleted_takes_its_lines_and_blocks_along(small_blocks):
    run = RunFactory()
    append_log(run, lines(20))

    Run.objects.get(pk=run.pk).delete()

    assert not LogBlock.objects.exists()
