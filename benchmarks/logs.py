"""Speed of logs: appending, pages of a long log, and searches.

``python -m benchmarks.logs`` starts its own database and web server in a temporary folder and
prints a table. Call ``measure`` if they are already running.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from logs.lines import Line
    from runs.models import Run

ROOT = Path(__file__).resolve().parent.parent
START = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 10_000  # lines appended at a time
WORDS = (
    "checkpoint",
    "tokens",
    "throughput",
    "grad",
    "norm",
    "shard",
    "loading",
    "nccl",
    "rank",
    "allreduce",
    "device",
    "cuda",
    "memory",
    "allocated",
    "warmup",
    "cosine",
    "batch",
    "saved",
)


class Row(NamedTuple):
    what: str
    value: float
    unit: str
    bar: float | None  # target: at most in ms, at least in lines/s; None: no target
    ratio: float | None  # to the reference in the name, measured in the same run


def measure(url: str, *, long_log: int = 10_000_000, searched_log: int = 1_000_000) -> list[Row]:
    """Fill two logs and measure them.

    Requires that Django is set up and that a server runs at ``url`` on the same database in open
    mode.
    """
    # The long log comes last: the scan that searches are compared with would read it too.
    return [*_appending(), *_searches(url, searched_log), *_pages(url, long_log)]


# --- appending -------------------------------------------------------------------------------


def _appending() -> Iterator[Row]:
    from django.db import connection, transaction

    from logs.appending import append_log
    from runs.models import Run

    batches = [lines_from(number * BATCH, BATCH) for number in range(10)]
    run = _new_run()

    def append(lines: list[Line]) -> None:
        with transaction.atomic():
            append_log(Run.objects.lock(run.pk), lines)

    def copy(lines: list[Line], first: int) -> None:
        columns = "run_id, seq, timestamp, level, source, rank, message"
        with (
            transaction.atomic(),
            connection.cursor() as cursor,
            cursor.copy(f"COPY logs_logline ({columns}) FROM STDIN") as rows,
        ):
            for seq, line in enumerate(lines, first):
                fields = (line.timestamp, line.level, line.source, line.rank, line.message)
                rows.write_row(("bare", seq, *fields))

    limit = statistics.median(
        _seconds(copy, lines, number * BATCH + 1) for number, lines in enumerate(batches)
    )
    ours = statistics.median(_seconds(append, lines) for lines in batches)
    yield Row("COPY of 10,000 lines, nothing else", BATCH / limit, "lines/s", None, None)
    yield Row("append of 10,000 lines ÷ COPY", BATCH / ours, "lines/s", None, limit / ours)
    singles = [_seconds(append, [line]) for line in batches[0][:3000]]
    yield Row("append of one line", statistics.median(singles) * 1000, "ms", None, None)
    yield Row("append of one line, slowest", max(singles) * 1000, "ms", None, None)


def lines_from(first: int, count: int) -> list[Line]:
    from logs.lines import Line

    rnd = random.Random(first)
    return [Line.new(*_line(first + number, rnd)) for number in range(count)]


def _line(seq: int, rnd: random.Random) -> tuple[str, str, str, datetime, int]:
    """About 120 characters."""
    rank = seq % 8
    message = (
        f"[rank{rank}] step {seq:07d} loss={rnd.random() * 3:.4f} lr={rnd.random() / 1e4:.3e} "
        f"{' '.join(rnd.choices(WORDS, k=9))} {rnd.getrandbits(40):x}"
    )
    if seq % 300_007 == 7:
        message += " CUDA error: out of memory"
    level = "ERROR" if seq % 10_007 == 7 else "WARNING" if seq % 101 == 7 else "INFO"
    source = "stdout" if seq % 10 else "stderr"
    return message, level, source, START + timedelta(milliseconds=50 * seq), rank


# --- pages -----------------------------------------------------------------------------------


def _pages(url: str, length: int) -> Iterator[Row]:
    run = _new_run()
    _fill_by_sql(run, length)
    last_page = length // 50
    rates = {}
    for name, page in (("first", 1), ("middle", last_page // 2), ("last", last_page)):
        rates[name] = p95 = _p95(url, run, {"page": page})
        ratio = p95 / rates["first"] if name != "first" else None
        yield Row(f"{name} page of 50 of {length:,} lines, p95 (÷ first)", p95, "ms", 15.0, ratio)


def _fill_by_sql(run: Run, length: int) -> None:
    """Insert lines without block summaries, which pages do not need."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO logs_logline (run_id, seq, timestamp, level, source, rank, message)
            SELECT %s, seq, %s + seq * interval '50 ms', 'INFO', 'stdout', seq %% 8,
                'step ' || seq || ' loss=' || round((3 * random())::numeric, 4)
                || repeat(' tokens throughput grad norm', 3) || md5(seq::text)
            FROM generate_series(1, %s) AS seq
            """,
            [run.pk, START, length],
        )
        cursor.execute("VACUUM (ANALYZE) logs_logline")
    run.change(log_count=length)


# --- searches --------------------------------------------------------------------------------

HOUR = {"start_time": "2026-01-01T03:00:00Z", "end_time": "2026-01-01T04:00:00Z"}
SEARCHES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("text in 4 lines", {"q": "cuda error: out"}),
    ("text nowhere", {"q": "segmentation fault"}),
    ("text in most lines", {"q": "checkpoint"}),
    ("text in 4 lines, last page", {"q": "cuda error: out", "order": "desc"}),
    ("regular expression, rare", {"regex": "CUDA error: .* memory$"}),
    ("regular expression, 3 % of lines", {"regex": r"loss=2\.9\d+"}),
    ("regular expression without a literal", {"regex": r"(OOM|SIG[A-Z]+V)\M"}),
    ("level, rare", {"level": "ERROR"}),
    ("level, most lines, middle page", {"level": "INFO", "page": 9_000}),
    ("source", {"source": "stderr"}),
    ("rank, middle page", {"rank": 3, "page": 1_000}),
    ("level and rank", {"level": "WARNING", "rank": 3}),
    ("an hour", HOUR),
    ("errors of an hour", {**HOUR, "level": "ERROR"}),
)


def _searches(url: str, length: int) -> Iterator[Row]:
    from django.db import connection, transaction

    from logs.appending import append_log
    from runs.models import Run

    run = _new_run()
    for first in range(1, length + 1, BATCH):
        with transaction.atomic():
            append_log(Run.objects.lock(run.pk), lines_from(first, BATCH))
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE) logs_logline")
        cursor.execute("VACUUM (ANALYZE) logs_logblock")
    scan = _scan_ms(run)
    yield Row(f"scan of {length:,} lines: message ILIKE", scan, "ms", None, None)
    for name, query in SEARCHES:
        p95 = _p95(url, run, query, times=20)
        yield Row(f"search of {length:,} lines, {name}, p95 (÷ scan)", p95, "ms", None, p95 / scan)
    yield Row(f"download of {length:,} lines", _download_seconds(url, run), "s", None, None)


def _scan_ms(run: Run) -> float:
    from django.db import connection

    query = "SELECT count(*) FROM logs_logline WHERE run_id = %s AND message ILIKE %s"

    def scan() -> None:
        with connection.cursor() as cursor:
            cursor.execute(query, [run.pk, "%cuda error: out%"])
            cursor.fetchall()

    return statistics.median(_seconds(scan) for _ in range(5)) * 1000


def _download_seconds(url: str, run: Run) -> float:
    connection = _connect(url)
    started = time.perf_counter()
    connection.request("GET", f"{_path(run)}/download")
    response = connection.getresponse()
    while response.read(1 << 20):
        pass
    connection.close()
    return time.perf_counter() - started


# --- shared helpers --------------------------------------------------------------------------


def _new_run() -> Run:
    from projects.models import Project
    from runs.models import Run
    from runs.status import RunStatus

    project = Project.objects.create(name="benchmark", task_type="logs", base_model="none")
    return Run.objects.create(
        project=project, project_version=1, name="logs", status=RunStatus.RUNNING
    )


def _path(run: Run) -> str:
    return f"/projects/{run.project_id}/runs/{run.pk}/logs"


def _connect(url: str) -> HTTPConnection:
    parts = urlsplit(url)
    return HTTPConnection(parts.hostname or "127.0.0.1", parts.port)


def _p95(url: str, run: Run, query: dict[str, Any], times: int = 200) -> float:
    """In milliseconds, over one persistent connection."""
    connection = _connect(url)

    def get() -> None:
        connection.request("GET", f"{_path(run)}?{urlencode(query)}")
        response = connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status} {body[:200]!r}")

    for _ in range(5):
        get()
    taken = [_seconds(get) for _ in range(times)]
    connection.close()
    return statistics.quantiles(taken, n=20)[-1] * 1000


def _seconds(function: Callable[..., Any], *arguments: Any) -> float:
    started = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - started


# --- command line ----------------------------------------------------------------------------


@contextmanager
def _served(directory: Path, port: int) -> Iterator[str]:
    """Start a database and a web server, and yield the server's URL."""
    from trainhub.up.embedded_postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(directory / "postgres")
    postgres.start()
    os.environ |= {
        "DATABASE_URL": postgres.url,
        "TRAINHUB_DATA_DIR": str(directory / "data"),
        "TRAINHUB_PORT": str(port),
        "DJANGO_SETTINGS_MODULE": "trainhub.settings",
    }
    manage = [sys.executable, str(ROOT / "manage.py")]
    subprocess.run([*manage, "migrate", "--verbosity", "0"], check=True)
    server = subprocess.Popen([*manage, "serve"])
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_for(url)
        yield url
    finally:
        server.terminate()
        server.wait()
        postgres.stop()


def _wait_for(url: str) -> None:
    for _ in range(300):
        with suppress(OSError):
            connection = _connect(url)
            connection.request("GET", "/healthz")
            connection.getresponse().read()
            return
        time.sleep(0.1)
    raise RuntimeError(f"No response from {url}.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", type=int, default=10_000_000, help="lines in the long log")
    parser.add_argument("--searched", type=int, default=1_000_000, help="lines to search")
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--directory", type=Path, help="for the database; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        with _served(options.directory or Path(temporary), options.port) as url:
            import django

            django.setup()
            rows = measure(url, long_log=options.long, searched_log=options.searched)
        for row in rows:
            bar = "" if row.bar is None else f"bar {row.bar:g}"
            ratio = "" if row.ratio is None else f"× {row.ratio:.2f}"
            print(f"{row.what:75} {row.value:12,.1f} {row.unit:8} {bar:8} {ratio}")  # noqa: T201


if __name__ == "__main__":
    main()
