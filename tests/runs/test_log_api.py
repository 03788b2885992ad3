"""The API of logs: filters and cursors, appending, the download."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.db import connection
from django.utils import timezone

from runs import log_batches
from runs.ingestion import MAX_MESSAGE_LENGTH, Line, append_log
from runs.log_batches import SentBatch, SentLine
from runs.models import LogBatch, LogLine, Run
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
    """Ten lines, a minute apart: two ranks in turn, the third of stderr and an error."""
    run = RunFactory()
    append_log(
        run,
        [
            Line(
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
    def test_line_has_all_that_is_known_of_it(self, client, run):
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
        ("query", "found"),
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
    def test_filters_pass_what_they_say(self, client, run, query, found):
        content = client.get(url(run, f"?{query}")).json()

        assert numbers(content) == found
        assert content["total"] == len(found)

    def test_newest_first_turns_the_pages_round(self, client, run):
        first = client.get(url(run, "?order=desc&page_size=4")).json()
        last = client.get(url(run, "?order=desc&page_size=4&page=3")).json()

        assert (numbers(first), numbers(last)) == ([10, 9, 8, 7], [2, 1])
        assert first["next_after_seq"] is None

    @pytest.mark.parametrize("only", ["", "&q=step"])
    def test_log_is_followed_from_number_to_number(self, client, run, only):
        seen, after_seq = [], 0
        for _ in range(4):
            content = client.get(url(run, f"?page_size=4&after_seq={after_seq}{only}")).json()
            seen += numbers(content)
            after_seq = content["next_after_seq"]
        append_log(run, [Line("step 11")])
        content = client.get(url(run, f"?after_seq={after_seq}{only}")).json()

        assert seen == [n for n in range(1, 11) if not only or n != 3]
        assert numbers(content) == [11]

    def test_cursor_of_a_filter_passes_what_does_not_match(self, client, run):
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

    def test_bad_regex_is_refused_on_an_empty_log_too(self, client):
        assert client.get(url(RunFactory(), "?regex=(")).status_code == 400

    @pytest.mark.parametrize("path", ["", "/download"])
    def test_search_that_would_never_end_is_ended(self, client, settings, path):
        settings.SEARCH_TIMEOUT_SECONDS = 0.05
        run = RunFactory()
        append_log(run, [Line("x" * 1001 + "y")])

        regex = r"^(x+)(x+)(x+)\1\2\3y$"
        if path:
            with pytest.raises(log_batches.InvalidInput):
                b"".join(client.get(url(run, path), {"regex": regex}).streaming_content)
            return
        response = client.get(url(run), {"regex": regex})

        assert response.status_code == 400
        assert response.json()["errors"][0]["code"] == "search_too_slow"

    def test_unfiltered_page_is_one_range_of_the_key(self, client, run):
        queries = []

        def note(execute, sql, params, many, context):
            queries.append(sql)
            return execute(sql, params, many, context)

        with connection.execute_wrapper(note):
            client.get(url(run, "?page=2&page_size=3"))

        [of_lines] = [sql for sql in queries if "runs_logline" in sql]
        assert "seq BETWEEN" in of_lines
        assert "OFFSET" not in of_lines
        assert not any("count(" in sql.lower() for sql in queries)


class TestAppend:
    def test_lines_are_stored_as_they_were_sent(self, client):
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
        assert response.json() == {"first_seq": 1, "last_seq": 2, "repeated": False}
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

    def test_run_was_heard_of(self, client):
        run = RunFactory()

        client.post_json(url(run), {"lines": [{"message": "a"}]})

        run.refresh_from_db()
        assert run.reported_at is not None
        assert run.log_count == 1

    @pytest.mark.parametrize("name", [{}, {"batch": "w0/1"}], ids=["without a name", "named"])
    def test_batch_sent_again_counts_once(self, client, name):
        run = RunFactory()
        body = {"lines": [{"message": "a"}, {"message": "b"}], **name}
        first = client.post_json(url(run), body)
        client.post_json(url(run), {"lines": [{"message": "c"}]})

        again = client.post_json(url(run), body)

        assert (first.status_code, again.status_code) == (201, 200)
        assert again.json() == {"first_seq": 1, "last_seq": 2, "repeated": True}
        assert stored(run) == [(1, "a"), (2, "b"), (3, "c")]

    def test_same_lines_under_another_name_count_again(self, client):
        run = RunFactory()

        for name in ("1", "2"):
            client.post_json(url(run), {"lines": [{"message": "a"}], "batch": name})

        assert stored(run) == [(1, "a"), (2, "a")]

    def test_same_message_at_another_time_counts_again(self, client):
        run = RunFactory()

        for second in ("01", "02"):
            line = {"message": "a", "timestamp": f"2024-01-02T10:00:{second}Z"}
            client.post_json(url(run), {"lines": [line]})

        assert len(stored(run)) == 2

    def test_other_lines_under_the_same_name_are_refused(self, client):
        run = RunFactory()
        client.post_json(url(run), {"lines": [{"message": "a"}], "batch": "1"})

        response = client.post_json(url(run), {"lines": [{"message": "b"}], "batch": "1"})

        assert response.status_code == 409
        assert response.json()["errors"][0]["code"] == "batch_changed"
        assert stored(run) == [(1, "a")]

    def test_name_is_the_runs_own(self, client):
        runs = [RunFactory(), RunFactory()]

        for run in runs:
            client.post_json(url(run), {"lines": [{"message": "a"}], "batch": "1"})

        assert [len(stored(run)) for run in runs] == [1, 1]

    @pytest.mark.parametrize(
        ("bad", "attr"),
        [
            ({}, "lines.1"),
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
            ({"message": "a", "timestamp": 1704189600}, "lines.1.timestamp"),
            ("a", "lines.1"),
            (None, "lines.1"),
        ],
    )
    def test_one_bad_line_and_none_is_stored(self, client, bad, attr):
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
    def test_what_is_no_batch_is_refused(self, client, body):
        response = client.post_json(url(RunFactory()), body)

        assert response.status_code == 400
        assert response.json()["errors"][0]["detail"]

    def test_body_over_the_limit_is_refused(self, client, settings):
        settings.MAX_JSON_BYTES = 1000
        run = RunFactory()

        response = client.post_json(url(run), {"lines": [{"message": "x" * 1000}]})

        assert response.status_code == 413
        assert stored(run) == []

    def test_what_postgresql_cannot_keep_is_replaced(self, client):
        run = RunFactory()

        client.post_json(
            url(run),
            {"lines": [{"message": "a\x00b", "source": "\x00"}, {"message": "x" * 40_000}]},
        )

        replaced, cut = LogLine.objects.filter(run=run).order_by("seq")
        assert (replaced.message, replaced.source) == ("a�b", "�")
        assert len(cut.message) == MAX_MESSAGE_LENGTH

    @pytest.mark.parametrize(
        "status", [RunStatus.RUNNING, RunStatus.FAILED, RunStatus.COMPLETED, RunStatus.CANCELLED]
    )
    def test_run_takes_lines_after_its_end_too(self, client, status):
        run = RunFactory(status=status, recipe=None)

        response = client.post_json(url(run), {"lines": [{"message": "Traceback"}]})

        assert response.status_code == 201
        assert stored(run) == [(1, "Traceback")]

    def test_run_in_the_trash_takes_none(self, client):
        run = RunFactory(deleted_at=timezone.now())

        response = client.post_json(url(run), {"lines": [{"message": "a"}]})

        assert response.status_code in {404, 409}
        assert stored(run) == []

    def test_unknown_run_is_404(self, client):
        run = RunFactory()

        response = client.post_json(
            f"/projects/{run.project_id}/runs/run_unknown/logs", {"lines": [{"message": "a"}]}
        )

        assert response.status_code == 404

    def test_reader_of_the_log_sees_what_was_appended(self, client):
        run = RunFactory()
        client.post_json(url(run), {"lines": [{"message": f"line {n}"} for n in range(10_000)]})

        content = client.get(url(run, "?q=line 9999")).json()

        assert (content["total"], numbers(content)) == (1, [10_000])


def batch(*messages, name=None):
    return SentBatch(lines=[SentLine(message) for message in messages], batch=name)


@with_two_connections
def test_numbers_stay_dense_with_clients_at_once():
    run = RunFactory()

    def send(client):
        for number in range(10):
            log_batches.append(run.pk, batch(client, client, name=f"{client}{number}"))

    in_parallel(*(lambda client=client: send(client) for client in "abcd"))

    assert [seq for seq, _message in stored(run)] == list(range(1, 81))
    assert Run.objects.get(pk=run.pk).log_count == 80


@with_two_connections
def test_batch_sent_by_several_at_once_counts_once():
    run = RunFactory()

    answers = in_parallel(*[lambda: log_batches.append(run.pk, batch("a", "b", name="1"))] * 4)

    assert sorted(answer.repeated for answer in answers) == [False, True, True, True]
    assert {(answer.first_seq, answer.last_seq) for answer in answers} == {(1, 2)}
    assert stored(run) == [(1, "a"), (2, "b")]
    assert LogBatch.objects.count() == 1


class TestDownload:
    def download(self, client, run, query=""):
        response = client.get(url(run, f"/download{query}"))
        assert response.status_code == 200
        return response, b"".join(response.streaming_content).decode()

    def test_log_is_a_text_file_named_after_the_run(self, client, run):
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
                Line("a", "INFO", "stdout", NOON, 3),
                Line("b", "ERROR", "stderr", NOON),
                Line("c", "INFO", "", NOON),
                Line("d", "INFO", "", NOON, 0),
            ],
        )

        _response, text = self.download(client, run)

        assert text.splitlines() == [
            "2024-01-02T12:00:00Z INFO stdout[3] a",
            "2024-01-02T12:00:00Z ERROR stderr b",
            "2024-01-02T12:00:00Z INFO c",
            "2024-01-02T12:00:00Z INFO [0] d",
        ]

    def test_log_longer_than_a_block_is_whole(self, client):
        run = RunFactory()
        append_log(run, [Line(f"line {n}", timestamp=NOON) for n in range(1, 3001)])

        response = client.get(url(run, "/download"))

        chunks = list(response.streaming_content)
        assert len(chunks) == 3
        text = StringIO(b"".join(chunks).decode())
        assert [line.split()[-1] for line in text] == [str(n) for n in range(1, 3001)]

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ("?level=ERROR", ["memory"]),
            ("?rank=0&start_time=2024-01-02T12:07:00Z", ["8", "10"]),
            ("?regex=step 1$", ["1"]),
            ("?q=nowhere", []),
        ],
    )
    def test_filters_are_honoured(self, client, run, query, found):
        _response, text = self.download(client, run, query)

        assert [line.split()[-1] for line in text.splitlines()] == found

    def test_bad_regex_is_refused_before_anything_is_sent(self, client, run):
        response = client.get(url(run, "/download?regex=("))

        assert response.status_code == 400
        assert response.json()["errors"][0]["attr"] == "regex"

    def test_any_accept_will_do(self, client, run):
        response = client.get(url(run, "/download"), headers={"Accept": "text/plain"})

        assert response.status_code == 200

    def test_empty_log_is_an_empty_file(self, client):
        _response, text = self.download(client, RunFactory())

        assert text == ""


def test_time_of_any_zone_is_taken_in(client, run):
    line = {"message": "x", "timestamp": "2024-01-01T00:00:00+16:00"}

    answer = client.post_json(url(run), {"lines": [line]})

    assert answer.status_code == 201
    assert run.log_lines.get(seq=11).timestamp == datetime(2023, 12, 31, 8, tzinfo=UTC)
