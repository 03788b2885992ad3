"""The log API: filters and cursors, appending, downloading."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.db import connection
from django.utils import timezone

from logs import batches
from logs.appending import MAX_MESSAGE_LENGTH, append_log
from logs.batches import SentBatch, SentLine
from logs.lines import Line
from logs.models import LogBatch, LogLine
from runs.models import Run
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.concurrency import in_parallel
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db

NOON = datetime(2024, 1, 2, 12, 0, tzinfo=UTC)
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


@pytest.fixture
def client():
    return ApiClient()


def url(run, rest=""):
    return f"/projects/{run.project_id}/runs/{run.pk}/logs{rest}"


@pytest.fixture
def run():
    """Ten lines, a minute apart, of alternating ranks; the third is an error on stderr."""
    run = RunFactory()
    append_log(
        run,
        [
            Line.new(
                f"step {n}" if n != 3 else "CUDA error: out of memory",
                "ERROR" if n == 3 else "INFO",
                "stderr" if n == 3 else "stdout",
                NOON + timedelta(minutes=n),
                n % 2,
            )
            for n in range(1, 11)
        ],
    )
    return run


def stored(run):
    return list(LogLine.objects.filter(run=run).order_by("seq").values_list("seq", "message"))


def numbers(content):
    return [item["seq"] for item in content["items"]]


class TestRead:
    def test_line_has_every_field(self, client, run):
        content = client.get(url(run, "?page_size=1&page=3")).json()

        assert content["items"] == [
            {
                "seq": 3,
                "timestamp": "2024-01-02T12:03:00Z",
                "level": "ERROR",
                "source": "stderr",
                "rank": 1,
                "message": "CUDA error: out of memory",
            }
        ]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("source=stderr", [3]),
            ("rank=0", [2, 4, 6, 8, 10]),
            ("regex=^step 1", [1, 10]),
            ("regex=(?i)OUT of", [3]),
            ("regex=STEP", []),
            ("q=STEP 1&rank=0", [10]),
            ("after_seq=8", [9, 10]),
            ("after_seq=8&rank=0", [10]),
            ("after_seq=10", []),
            ("after_seq=9223372036854775807", []),
        ],
    )
    def test_filter_selects_lines(self, client, run, query, expected):
        content = client.get(url(run, f"?{query}")).json()

        assert numbers(content) == expected
        assert content["total"] == len(expected)

    def test_newest_first_reverses_the_pages(self, client, run):
        first = client.get(url(run, "?order=desc&page_size=4")).json()
        last = client.get(url(run, "?order=desc&page_size=4&page=3")).json()

        assert (numbers(first), numbers(last)) == ([10, 9, 8, 7], [2, 1])
        assert first["next_after_seq"] is None

    @pytest.mark.parametrize("log_filter", ["", "&q=step"])
    def test_log_can_be_followed_by_its_cursor(self, client, run, log_filter):
        seen, after_seq = [], 0
        for _ in range(4):
            content = client.get(url(run, f"?page_size=4&after_seq={after_seq}{log_filter}")).json()
            seen += numbers(content)
            after_seq = content["next_after_seq"]
        append_log(run, [Line.new("step 11")])
        content = client.get(url(run, f"?after_seq={after_seq}{log_filter}")).json()

        assert seen == [n for n in range(1, 11) if not log_filter or n != 3]
        assert numbers(content) == [11]

    def test_cursor_of_a_filter_skips_lines_that_do_not_match(self, client, run):
        content = client.get(url(run, "?level=ERROR")).json()

        assert content["next_after_seq"] == 10

    @pytest.mark.parametrize(
        ("query", "attr", "code"),
        [
            ("regex=(", "regex", "invalid_regex"),
            ("regex=a**", "regex", "invalid_regex"),
            ("regex=[[:nonsense:]]", "regex", "invalid_regex"),
            ("regex=((((((a{1,200}){1,200}){1,200}){1,200}){1,200}){1,200})", "regex", None),
            ("regex=%00", "regex", None),
            ("rank=-1", "rank", None),
            ("rank=x", "rank", None),
            ("after_seq=-1", "after_seq", None),
            ("order=up", "order", None),
            ("source=%00", "source", None),
        ],
    )
    def test_bad_filter_is_named(self, client, run, query, attr, code):
        response = client.get(url(run, f"?{query}"))

        [error] = response.json()["errors"]
        assert response.status_code == 400
        assert error["attr"] == attr
        assert error["code"] == (code or error["code"])

    def test_bad_regex_on_an_empty_log_is_rejected(self, client):
        assert client.get(url(RunFactory(), "?regex=(")).status_code == 400

    @pytest.mark.parametrize("path", ["", "/download"])
    def test_slow_search_is_cancelled(self, client, settings, path):
        settings.SEARCH_TIMEOUT_SECONDS = 0.05
        run = RunFactory()
        append_log(run, [Line.new("x" * 1001 + "y")])

        regex = r"^(x+)(x+)(x+)\1\2\3y$"
        if path:
            with pytest.raises(batches.InvalidInput):
                b"".join(client.get(url(run, path), {"regex": regex}).streaming_content)
            return
        response = client.get(url(run), {"regex": regex})

        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == "search_too_slow"

    def test_unfiltered_page_reads_one_range_of_the_key(self, client, run):
        queries = []

        def record(execute, sql, params, many, context):
            queries.append(sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(record):
            client.get(url(run, "?page=2&page_size=3"))

        [query] = [sql for sql in queries if "logs_logline" in sql]
        assert "seq BETWEEN" in query
        assert "OFFSET" not in query
        assert not any("count(" in sql.lower() for sql in queries)


class TestAppend:
    def test_lines_are_stored_as_sent(self, client):
        run = RunFactory()

        response = client.post_json(
            url(run),
            {
                "lines": [
                    {"message": "plain"},
                    {
                        "message": "第 500 步",
                        "level": "WARNING",
                        "source": "stderr",
                        "rank": 7,
                        "timestamp": "2024-01-02T20:00:00.5+08:00",
                    },
                ]
            },
        )

        assert response.status_code == 201
        appended = {"first_seq": 1, "last_seq": 2, "repeated": False, "cut": 0}
        assert response.json() == appended
        plain, full = LogLine.objects.filter(run=run).order_by("seq")
        assert (plain.message, plain.level, plain.source, plain.rank) == ("plain", "INFO", "", None)
        assert abs(plain.timestamp - timezone.now()) < timedelta(minutes=1)
        assert (full.message, full.level, full.source, full.rank) == (
            "第 500 步",
            "WARNING",
            "stderr",
            7,
        )
        assert full.timestamp == NOON + timedelta(seconds=0.5)

    def test_appending_updates_the_run(self, client):
        run = RunFactory()

        client.post_json(url(run), {"lines": [{"message": "a"}]})

        run.refresh_from_db()
        assert run.reported_at is not None
        assert run.log_count == 1

    def test_batch_sent_again_under_its_name_is_stored_once(self, client):
        run = RunFactory()
        body = {"lines": [{"message": "a"}, {"message": "b"}], "batch": "w0/1"}
        first = client.post_json(url(run), body)
        client.post_json(url(run), {"lines": [{"message": "c"}]})

        again = client.post_json(url(run), body)

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == {"first_seq": 1, "last_seq": 2, "repeated": True, "cut": 0}
        assert stored(run) == [(1, "a"), (2, "b"), (3, "c")]

    def test_lines_without_a_name_are_stored_as_often_as_they_are_sent(self, client):
        run = RunFactory()
        line = {"message": "a", "timestamp": "2024-01-02T10:00:00Z"}

        for _time in range(2):
            client.post_json(url(run), {"lines": [line]})

        assert stored(run) == [(1, "a"), (2, "a")]

    def test_messages_that_are_cut_are_counted(self, client):
        run = RunFactory()
        lines = [{"message": "a"}, {"message": "x" * 100_000}]

        response = client.post_json(url(run), {"lines": lines})

        assert response.json()["cut"] == 1
        assert "characters cut" in LogLine.objects.get(run=run, seq=2).message

    def test_same_lines_under_another_name_are_stored_again(self, client):
        run = RunFactory()

        for name in ("1", "2"):
            client.post_json(url(run), {"lines": [{"message": "a"}], "batch": name})

        assert stored(run) == [(1, "a"), (2, "a")]

    def test_other_lines_under_the_same_name_are_rejected(self, client):
        run = RunFactory()
        client.post_json(url(run), {"lines": [{"message": "a"}], "batch": "1"})

        response = client.post_json(url(run), {"lines": [{"message": "b"}], "batch": "1"})

        assert response.status_code == 409
        assert response.json()["errors"][0]["code"] == "batch_changed"
        assert stored(run) == [(1, "a")]

    def test_same_name_in_another_run_is_another_batch(self, client):
        runs = [RunFactory(), RunFactory()]

        for run in runs:
            client.post_json(url(run), {"lines": [{"message": "a"}], "batch": "1"})

        assert [len(stored(run)) for run in runs] == [1, 1]

    @pytest.mark.parametrize(
        ("bad", "attr"),
        [
            ({}, "lines.1.message"),
            ({"message": 3}, "lines.1.message"),
            ({"message": None}, "lines.1.message"),
            ({"message": "a", "level": "LOUD"}, "lines.1.level"),
            ({"message": "a", "level": None}, "lines.1.level"),
            ({"message": "a", "rank": -1}, "lines.1.rank"),
            ({"message": "a", "rank": 2**31}, "lines.1.rank"),
            ({"message": "a", "rank": "0"}, "lines.1.rank"),
            ({"message": "a", "source": "s" * 65}, "lines.1.source"),
            ({"message": "a", "timestamp": "yesterday"}, "lines.1.timestamp"),
            ({"message": "a", "timestamp": "2024-01-02T10:00:00"}, "lines.1.timestamp"),
            ({"message": "a", "timestamp": "0001-01-01T00:00:00+23:00"}, "lines.1.timestamp"),
            ({"message": "a", "timestamp": "9999-12-31T23:59:59-23:00"}, "lines.1.timestamp"),
            ({"message": "a", "timestamp": "1969-12-31T23:59:59Z"}, "lines.1.timestamp"),
            ({"message": "a", "timestamp": 1704189600}, "lines.1.timestamp"),
            ("a", "lines.1"),
            (None, "lines.1"),
        ],
    )
    def test_batch_with_a_bad_line_is_rejected_and_the_line_named(self, client, bad, attr):
        run = RunFactory()

        response = client.post_json(url(run), {"lines": [{"message": "good"}, bad]})

        [error] = response.json()["errors"]
        assert response.status_code == 400
        assert error["attr"] == attr
        assert error["detail"]
        assert stored(run) == []

    @pytest.mark.parametrize(
        "body",
        [
            [],
            "lines",
            {"lines": []},
            {"lines": None},
            {"lines": {}},
            {"lines": [{"message": "a"}], "batch": ""},
            {"lines": [{"message": "a"}], "batch": 3},
            {"lines": [{"message": "a"}] * 10_001},
        ],
        ids=lambda body: str(body)[:40],
    )
    def test_malformed_body_is_rejected(self, client, body):
        response = client.post_json(url(RunFactory()), body)

        assert response.status_code == 400
        assert response.json()["errors"][0]["detail"]

    def test_body_over_the_limit_is_rejected(self, client, settings):
        settings.MAX_JSON_BYTES = 1000
        run = RunFactory()

        response = client.post_json(url(run), {"lines": [{"message": "x" * 1000}]})

        assert response.status_code == 413
        assert stored(run) == []

    def test_unstorable_text_is_replaced(self, client):
        run = RunFactory()

        client.post_json(
            url(run),
            {"lines": [{"message": "a\x00b", "source": "\x00"}, {"message": "x" * 40_000}]},
        )

        replaced, cut = LogLine.objects.filter(run=run).order_by("seq")
        assert (replaced.message, replaced.source) == ("a�b", "�")
        assert len(cut.message) == MAX_MESSAGE_LENGTH
        assert cut.message.endswith("x… [8,024 characters cut]")

    @pytest.mark.parametrize(
        "status", [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.CANCELLED]
    )
    def test_ended_run_accepts_lines(self, client, status):
        run = RunFactory(status=status, recipe=None)

        response = client.post_json(url(run), {"lines": [{"message": "Traceback"}]})

        assert response.status_code == 201
        assert stored(run) == [(1, "Traceback")]

    def test_run_in_the_trash_accepts_no_lines(self, client):
        run = RunFactory(deleted_at=timezone.now())

        response = client.post_json(url(run), {"lines": [{"message": "a"}]})

        assert response.status_code == 409
        assert stored(run) == []

    def test_unknown_run_is_404(self, client):
        run = RunFactory()

        response = client.post_json(
            f"/projects/{run.project_id}/runs/run_unknown/logs", {"lines": [{"message": "a"}]}
        )

        assert response.status_code == 404

    def test_appended_lines_are_found_by_a_search(self, client):
        run = RunFactory()
        client.post_json(url(run), {"lines": [{"message": f"line {n}"} for n in range(10_000)]})

        content = client.get(url(run, "?q=line 9999")).json()

        assert (content["total"], numbers(content)) == (1, [10_000])


def batch(*messages, name=None):
    return SentBatch(lines=[SentLine(message) for message in messages], batch=name)


@with_two_connections
def test_numbers_stay_dense_with_concurrent_clients():
    run = RunFactory()

    def send(client):
        for number in range(10):
            batches.append(run.pk, batch(client, client, name=f"{client}{number}"))

    in_parallel(*(lambda client=client: send(client) for client in "abcd"))

    assert [seq for seq, _message in stored(run)] == list(range(1, 81))
    assert Run.objects.get(pk=run.pk).log_count == 80


@with_two_connections
def test_batch_sent_concurrently_is_stored_once():
    run = RunFactory()

    results = in_parallel(*[lambda: batches.append(run.pk, batch("a", "b", name="1"))] * 4)

    assert sorted(result.repeated for result in results) == [False, True, True, True]
    assert {(result.first_seq, result.last_seq) for result in results} == {(1, 2)}
    assert stored(run) == [(1, "a"), (2, "b")]
    assert LogBatch.objects.count() == 1


class TestDownload:
    def download(self, client, run, query=""):
        response = client.get(url(run, f"/download{query}"))
        assert response.status_code == 200
        return response, b"".join(response.streaming_content).decode()

    def test_download_is_a_text_file_named_after_the_run(self, client, run):
        run.name = "训练 1"
        run.save()

        response, _text = self.download(client, run)

        assert response["Content-Type"] == "text/plain; charset=utf-8"
        assert response["Content-Disposition"].startswith("attachment; filename*=utf-8''")
        assert response["Content-Disposition"].endswith("%201.log")

    def test_line_is_time_level_origin_and_message(self, client):
        run = RunFactory()
        append_log(
            run,
            [
                Line.new("a", "INFO", "stdout", NOON, 3),
                Line.new("b", "ERROR", "stderr", NOON),
                Line.new("c", "INFO", "", NOON),
                Line.new("d", "INFO", "", NOON, 0),
            ],
        )

        _response, text = self.download(client, run)

        assert text.splitlines() == [
            "2024-01-02T12:00:00Z INFO stdout[3] a",
            "2024-01-02T12:00:00Z ERROR stderr b",
            "2024-01-02T12:00:00Z INFO c",
            "2024-01-02T12:00:00Z INFO [0] d",
        ]

    def test_lines_of_a_message_and_its_source_look_like_no_other_entry(self, client):
        run = RunFactory()
        forged = "2026-01-05T08:00:00Z ERROR b"
        breaks = ("\n", "\r\n", "\r", "\u2028")
        append_log(
            run, [Line.new(f"a{new}{forged}", "INFO", f"x{new}{forged}", NOON) for new in breaks]
        )

        _response, text = self.download(client, run)

        entries = [line for line in text.splitlines() if not line.startswith("    ")]
        assert entries == [f"2024-01-02T12:00:00Z INFO x {forged} a"] * len(breaks)
        assert text.splitlines()[1] == f"    {forged}"

    def test_log_longer_than_a_block_is_complete(self, client):
        run = RunFactory()
        append_log(run, [Line.new(f"line {n}", timestamp=NOON) for n in range(1, 3001)])

        response = client.get(url(run, "/download"))

        chunks = list(response.streaming_content)
        assert len(chunks) == 3
        text = StringIO(b"".join(chunks).decode())
        assert [line.split()[-1] for line in text] == [str(n) for n in range(1, 3001)]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("?level=ERROR", ["memory"]),
            ("?rank=0&start_time=2024-01-02T12:07:00Z", ["8", "10"]),
            ("?regex=step 1$", ["1"]),
            ("?q=nowhere", []),
        ],
    )
    def test_filters_are_applied(self, client, run, query, expected):
        _response, text = self.download(client, run, query)

        assert [line.split()[-1] for line in text.splitlines()] == expected

    def test_bad_regex_is_rejected_before_the_response_starts(self, client, run):
        response = client.get(url(run, "/download?regex=("))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "regex"

    def test_any_accept_header_is_allowed(self, client, run):
        response = client.get(url(run, "/download"), headers={"Accept": "text/plain"})

        assert response.status_code == 200

    def test_empty_log_is_an_empty_file(self, client):
        _response, text = self.download(client, RunFactory())

        assert text == ""


def test_timestamp_of_any_zone_is_stored(client, run):
    line = {"message": "x", "timestamp": "2024-01-01T00:00:00+16:00"}

    response = client.post_json(url(run), {"lines": [line]})

    assert response.status_code == 201
    assert run.log_lines.get(seq=11).timestamp == datetime(2023, 12, 31, 8, tzinfo=UTC)
