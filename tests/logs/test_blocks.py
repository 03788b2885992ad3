"""Summaries of blocks of log lines, and searches that use them."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from logs import blocks, reading, search
from logs.appending import append_log
from logs.blocks import BLOCK_LINES, bits_of
from logs.lines import Line
from logs.models import LogBlock, LogLevel
from logs.reading import LogFilter
from runs.models import Run
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

START = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of eight lines."""
    for module in (blocks, search, reading):
        monkeypatch.setattr(module, "BLOCK_LINES", 8)


def lines(count, first=1, **fields):
    return [
        Line.new(f"Step {n}", timestamp=START + timedelta(minutes=n), **fields)
        for n in range(first, first + count)
    ]


def blocks_of(run):
    return list(LogBlock.objects.filter(run=run).order_by("number"))


# --- written ---------------------------------------------------------------------------------


def test_block_is_written_with_its_last_line(small_blocks):
    run = RunFactory()

    append_log(run, lines(7))
    before = len(blocks_of(run))
    append_log(run, lines(1, 8))

    assert (before, len(blocks_of(run))) == (0, 1)


def test_batch_writes_every_block_that_it_completes(small_blocks):
    run = RunFactory()
    append_log(run, lines(3))

    append_log(run, lines(30, 4))

    assert [block.number for block in blocks_of(run)] == [0, 1, 2, 3]


def test_block_of_many_small_batches_summarizes_all_of_them(small_blocks):
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


def test_blocks_do_not_depend_on_the_batches(small_blocks):
    at_once, one_by_one = RunFactory(), RunFactory()

    append_log(at_once, lines(25))
    for line in lines(25):
        append_log(one_by_one, [line])

    def content(run):
        return [(block.tallies, bytes(block.trigrams)) for block in blocks_of(run)]

    assert content(at_once) == content(one_by_one)


def test_block_size_is_unchanged():
    """Stored blocks depend on it."""
    assert BLOCK_LINES == 1024


def test_bits_of_stored_filters_are_unchanged():
    """Stored filters stay in use: neither the hash nor the order of bits may change."""
    assert bits_of("OOM") == [28783]
    assert blocks._bloom_filter("x oom x")[28783 // 8] >> (28783 % 8) & 1


@pytest.mark.parametrize("text", ["", "a", "ab", "é"])
def test_text_too_short_for_a_trigram_has_no_bits(text):
    assert bits_of(text) == []


def test_text_hashed_in_chunks_has_every_trigram(monkeypatch):
    text = "checkpoint saved: 第 500 步"
    whole = blocks._bloom_filter(text)

    monkeypatch.setattr(blocks, "CHUNK_BYTES", 5)

    assert blocks._bloom_filter(text) == whole


# --- searched --------------------------------------------------------------------------------


def test_search_reads_only_blocks_that_may_contain_the_text(small_blocks):
    run = RunFactory()
    append_log(run, [*lines(80), Line.new("CUDA error: out of memory"), *lines(80, 82)])
    within = search.Range(1, run.log_count)

    candidates = search.candidate_blocks(run.pk, within, LogFilter(q="cuda ERROR"))

    assert [block.number for block in candidates if block.number < 20] == [10]
    assert [block.number for block in candidates][-1] == 20  # incomplete: it has no summary


def test_lines_of_a_level_are_counted_from_the_blocks(small_blocks):
    run = RunFactory()
    append_log(run, [*lines(15), *lines(9, 16, level="ERROR")])
    within = search.Range(1, run.log_count)

    candidates = search.candidate_blocks(run.pk, within, LogFilter(level="ERROR"))

    assert [tuple(block) for block in candidates] == [(1, 1), (2, 8)]


def test_search_reads_lines_of_missing_blocks(small_blocks):
    run = RunFactory()
    append_log(run, lines(40))
    LogBlock.objects.filter(run=run, number__in=[1, 3]).delete()

    page = reading.page(run, 1, 50, LogFilter(q="step 1"))

    assert [line.seq for line in page.items] == [1, *range(10, 20)]


def test_rare_text_in_a_long_log_uses_the_primary_key(small_blocks):
    """PostgreSQL must not read the whole log once for all blocks, which it prefers to do."""
    run = RunFactory()
    needles = {100, 900, 1700}
    append_log(run, [Line.new("needle" if n in needles else f"straw {n}") for n in range(1, 2001)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE logs_logline")
    plans = []

    def explained(execute, sql, params, many, context):
        if "logs_logline" in sql:
            with connection.cursor() as cursor:
                cursor.cursor.execute("EXPLAIN " + sql, params)
                plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        page = reading.page(run, 1, 50, LogFilter(q="needle"))

    assert {line.seq for line in page.items} == needles
    assert plans
    assert all("Index Cond" in plan and "seq >= requested.first" in plan for plan in plans)


# Few different values, so that filters match; texts that differ in case, have multi-byte
# characters, or have a meaning in LIKE, regular expressions and COPY.
WORDS = ["loss", "LOSS", "nan", "训练", "训", "É", "é", "%", "_", "\\", "a.b", "(x)", "\t", "1.5"]
messages = st.lists(st.sampled_from(WORDS), max_size=5).map(" ".join)
levels = st.sampled_from(LogLevel.values)
sources = st.sampled_from(["", "stdout", "stderr"])
ranks = st.sampled_from([None, 0, 1, 2])
times = st.integers(0, 12).map(lambda minutes: START + timedelta(minutes=minutes))
batches = st.lists(
    st.lists(st.builds(Line.new, messages, levels, sources, times, ranks), max_size=20), max_size=6
)
# Valid in PostgreSQL in any sequence.
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


def passes(line, log_filter):
    """LogFilter implemented in Python."""
    return (
        (log_filter.start_time is None or line.timestamp >= log_filter.start_time)
        and (log_filter.end_time is None or line.timestamp < log_filter.end_time)
        and (not log_filter.level or line.level == log_filter.level)
        and (not log_filter.source or line.source == log_filter.source)
        and (log_filter.rank is None or line.rank == log_filter.rank)
        and log_filter.q.encode().lower() in line.message.encode().lower()
        and (not log_filter.regex or matches(log_filter.regex, line.message))
    )


def matches(pattern, message):
    """Whether PostgreSQL matches ``pattern``, whose syntax Python's re does not share."""
    with connection.cursor() as cursor:
        cursor.execute('SELECT %s COLLATE "C" ~ %s', [message, pattern])
        return cursor.fetchone()[0]


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=batches,
    log_filter=filters,
    page=st.integers(1, 4),
    page_size=st.sampled_from([1, 5, 20, 100]),
    after_seq=st.sampled_from([0, 0, 3, 8, 17, 1000]),
    newest_first=st.booleans(),
)
def test_any_search_finds_the_lines_that_a_full_scan_finds(
    small_blocks, batches, log_filter, page, page_size, after_seq, newest_first
):
    run = RunFactory()
    for batch in batches:
        append_log(run, batch)
    printed = [line for batch in batches for line in batch]
    expected = [
        seq for seq, line in enumerate(printed, 1) if seq > after_seq and passes(line, log_filter)
    ]

    result = reading.page(
        run, page, page_size, log_filter, after_seq=after_seq, newest_first=newest_first
    )

    ordered = expected[::-1] if newest_first else expected
    assert result.total == len(expected)
    assert [line.seq for line in result.items] == ordered[(page - 1) * page_size :][:page_size]
    assert [line.message for line in result.items] == [
        printed[line.seq - 1].message for line in result.items
    ]
    next_lines = reading.after(run, after_seq, page_size, log_filter)
    assert [line.seq for line in next_lines] == expected[:page_size]
    if not after_seq:
        newest = reading.tail(run, page_size, log_filter)
        assert [line.seq for line in newest] == expected[-page_size:]
        downloaded = reading.download(run, log_filter)
        assert [line.seq for batch in downloaded for line in batch] == expected


def test_deleting_a_run_deletes_its_lines_and_blocks(small_blocks):
    run = RunFactory()
    append_log(run, lines(20))

    Run.objects.get(pk=run.pk).delete()

    assert not LogBlock.objects.exists()
