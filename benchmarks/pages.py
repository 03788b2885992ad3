"""Pages in a real browser, next to MLflow's UI with the same data in the same run.

make bench ONLY=pages: the table of runs, a run, a comparison, a long log, and open live pages.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http.client import HTTPConnection
from itertools import repeat
from typing import Final
from urllib.parse import quote

import psutil

from benchmarks.bench import Bench, Subject, Subjects
from benchmarks.bodies import START_MS
from benchmarks.browser import Loaded, Tab, tab
from benchmarks.client import HOST, Measured, Pace, measure, request
from benchmarks.cloning import clone_runs, full_run
from benchmarks.pages_curves import extend_buckets, fill_series
from benchmarks.pages_data import fill_project
from benchmarks.processes import family
from benchmarks.report import Row, compared
from benchmarks.servers import Server

PREFIX: Final = "pages-"
TIMES_QUICKER: Final = 5  # than MLflow's page
MAX_CODE_KB: Final = 150
LIVE_PAGES: Final = 500
LIVE_SECONDS: Final = 60
POLL_SECONDS: Final = 10  # of a page while nothing changes: SLOWEST_MS of static/js/live.js
LOG_LINES: Final = 10_000_000
LINE_MS: Final = 50
LINES_PER_STEP: Final = 20
PLACES: Final = (0.3, 0.8, 0.1, 0.6, 0.95)  # in the log, to jump to
ZOOM: Final = 1.5  # a turn of the wheel: static/js/charts/chart.js

# What there is on MLflow's pages once their content is there.
MLFLOW_ROW: Final = "[role=row] a[href*='/runs/']"
MLFLOW_CHART: Final = ".js-plotly-plot .main-svg"


def get(server: Server, path: str, pace: Pace) -> Measured:
    """How quickly the server answers with the page alone."""
    return measure(server.port, [repeat(request("GET", path))], pace, watched=server.watched())


def loads(opened: Tab, url: str, shows: str, times: int) -> list[Loaded]:
    return [opened.load(url, shows=shows) for _ in range(times)]


def median(loaded: Sequence[Loaded], what: Callable[[Loaded], float]) -> float:
    return statistics.median(map(what, loaded))


def page_rows(
    what: str, ours: Sequence[Loaded], theirs: Sequence[Loaded] | None, *, drawn_bar: float | None
) -> list[Row]:
    """When a page shows something, when all is drawn, and how much code it needs."""
    paints = [load.first_paint_ms for load in ours]
    drawn = [load.drawn_ms for load in ours]
    paint, done = statistics.median(paints), statistics.median(drawn)
    rows = [
        Row(f"{what}: first contentful paint", paint, "ms", at_most=600, samples=paints),
        Row(f"{what}: all drawn", done, "ms", at_most=drawn_bar, samples=drawn),
        Row(f"{what}: JavaScript and CSS, compressed", ours[0].code_bytes / 1000, "KB",
            at_most=MAX_CODE_KB),
    ]  # fmt: skip
    if theirs:
        their_times = [load.drawn_ms for load in theirs]
        rows.append(
            compared(f"{what}: all drawn", done, "ms", "MLflow's page",
                     statistics.median(their_times), at_least=TIMES_QUICKER, less_is_better=True,
                     samples=drawn, limit_samples=their_times)
        )  # fmt: skip
    return rows


# --- the table of runs -----------------------------------------------------------------------


def table(bench: Bench) -> list[Row]:
    count = bench.size(100_000, 2_000)
    with bench.trainhub() as server, tab() as opened:
        project_id = fill_project(server, runs=count, points=1)
        page = f"/dashboard/projects/{project_id}"
        by_metric = f"{page}?sort=best.eval_loss"
        text = 'metrics.eval_loss < 1 and params.lr = "3e-4"'
        filtered = f"{page}?filter={quote(text)}&sort=metrics.eval_loss"
        answers = {path: get(server, path, bench.pace) for path in (by_metric, filtered)}
        ours = loads(opened, server.url + by_metric, "tr[data-row]", bench.pace.repetitions)
    with bench.mlflow() as server, tab() as opened:
        experiment_id, run_id = full_run(server, 10)
        clone_runs(server, run_id, count - 1, series=False)
        server.cluster.settle(server.database)
        url = f"{server.url}/#/experiments/{experiment_id}/runs"
        theirs = loads(opened, url, MLFLOW_ROW, bench.pace.repetitions)
    what = f"a project of {count:,} runs, sorted by a metric"
    return [
        _server_row(f"{what}: server, p95", answers[by_metric], at_most=60),
        _server_row(f"{what} and filtered by two: server, p95", answers[filtered], at_most=150),
        *page_rows(what, ours, theirs, drawn_bar=None),
    ]


def _server_row(what: str, answers: Measured, *, at_most: float) -> Row:
    note = f"a core's time for a request: {answers.cpu_per_response}"
    return Row(what, answers.p95_ms, "ms", at_most=at_most, samples=answers.p95s_ms, note=note)


# --- a run -----------------------------------------------------------------------------------

LONG_SERIES: Final = 30
SERIES: Final = 200


def run(bench: Bench) -> list[Row]:
    """200 metrics, 30 of which have a million points."""
    long, short = bench.size(1_000_000, 20_000), 100
    with bench.trainhub() as server, tab() as opened:
        project_id = server.new_experiment()
        run_id = server.new_run(project_id)
        fill_curves(server, run_id, LONG_SERIES, long, SERIES - LONG_SERIES, short)
        url = f"{server.url}/dashboard/projects/{project_id}/runs/{run_id}"
        ours = loads(opened, url, "figure canvas", bench.pace.repetitions)
        zooms = [_zoom_to_points(opened, long) for _ in range(bench.pace.repetitions)]
    with bench.mlflow() as server, tab() as opened:
        experiment_id = server.new_experiment()
        run_id = server.new_run(experiment_id)
        fill_mlflow_curves(server, run_id, LONG_SERIES, long, SERIES - LONG_SERIES, short)
        url = f"{server.url}/#/experiments/{experiment_id}/runs/{run_id}/model-metrics"
        theirs = loads(opened, url, MLFLOW_CHART, bench.pace.repetitions)
    what = f"a run of {SERIES} metrics, {LONG_SERIES} of them of {long:,} points"
    return [
        *page_rows(what, ours, theirs, drawn_bar=1500),
        Row("zoom to 1,000 of the steps: exact points drawn", statistics.median(zooms), "ms",
            at_most=150, samples=zooms),
    ]  # fmt: skip


def fill_curves(
    server: Server, run_id: str, long: int, long_points: int, short: int, short_points: int
) -> None:
    """Curves long/metric_000 … and short/metric_000 …, with their buckets."""
    for name, metrics, points in (("long", long, long_points), ("short", short, short_points)):
        if metrics:
            fill_series(server.cluster, server.database, run_id, name, metrics, points)
    extend_buckets(server.cluster, server.database, run_id)


def fill_mlflow_curves(
    server: Server, run_id: str, long: int, long_points: int, short: int, short_points: int
) -> None:
    """The same in MLflow's tables."""
    for name, metrics, points in (("long", long, long_points), ("short", short, short_points)):
        server.cluster.execute(
            server.database,
            """
            INSERT INTO metrics (key, value, timestamp, run_uuid, step, is_nan)
            SELECT %(name)s || '/metric_' || lpad(k::text, 3, '0'),
                   3 / (1 + n / 1000.0) + 0.1 * random(), %(start)s + 1000 * n, %(run)s, n, false
            FROM generate_series(0, %(metrics)s - 1) AS k, generate_series(1, %(points)s) AS n
            """,
            name=name, metrics=metrics, points=points, run=run_id, start=START_MS,
        )  # fmt: skip
    server.cluster.execute(
        server.database,
        """
        INSERT INTO latest_metrics (key, value, timestamp, step, is_nan, run_uuid)
        SELECT DISTINCT ON (key) key, value, timestamp, step, is_nan, run_uuid
        FROM metrics WHERE run_uuid = %(run)s ORDER BY key, step DESC
        """,
        run=run_id,
    )
    server.cluster.settle(server.database)


def _zoom_to_points(opened: Tab, steps: int) -> float:
    """Zoom in by the wheel until a chart of so many steps has a thousand in view; return the
    milliseconds from the last turn until the exact points of all charts in view are drawn."""
    chart = opened.page.locator("figure .u-over").first
    chart.scroll_into_view_if_needed()
    opened.after(chart.dblclick)
    box = chart.bounding_box()
    assert box is not None
    opened.page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    opened.page.keyboard.down("Control")
    for _ in range(math.ceil(math.log(steps / 1000, ZOOM))):
        opened.page.mouse.wheel(0, -100)
    taken = opened.until_mark("charts:zoomed", lambda: opened.page.mouse.wheel(0, -100))
    opened.page.keyboard.up("Control")
    return taken


# --- a comparison ----------------------------------------------------------------------------


def compare(bench: Bench) -> list[Row]:
    """50 runs of 5 metrics of 100,000 points each: drawn, and panned."""
    runs, points = bench.size(50, 5), bench.size(100_000, 5_000)
    with bench.trainhub() as server, tab() as opened:
        run_ids = server.new_runs(runs)
        for run_id in run_ids:
            fill_curves(server, run_id, 5, points, 0, 0)
        url = f"{server.url}/dashboard/compare?runs={','.join(run_ids)}"
        ours = loads(opened, url, "figure canvas", bench.pace.repetitions)
        frames = [
            opened.frames_per_second(lambda: _pan(opened)) for _ in range(bench.pace.repetitions)
        ]
    with bench.mlflow() as server, tab() as opened:
        experiment_id = server.new_experiment()
        run_ids = [server.new_run(experiment_id) for _ in range(runs)]
        for run_id in run_ids:
            fill_mlflow_curves(server, run_id, 5, points, 0, 0)
        chosen = quote(str(run_ids).replace("'", '"'))
        url = f"{server.url}/#/compare-runs?runs={chosen}&experiments=%5B%22{experiment_id}%22%5D"
        theirs = loads(opened, url, ".js-plotly-plot", bench.pace.repetitions)
    what = f"{runs} runs × 5 metrics × {points:,} points compared"
    return [
        *page_rows(what, ours, theirs, drawn_bar=2000),
        Row(f"{what}: pan", statistics.median(frames), "frames/s", at_least=30, samples=frames),
    ]


def _pan(opened: Tab) -> None:
    """Drag a chart, zoomed in before, by its width and back."""
    box = opened.page.locator("figure .u-over").first.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    opened.page.mouse.move(box["x"] + box["width"] / 2, middle)
    opened.page.keyboard.down("Control")
    opened.page.mouse.wheel(0, -100)
    opened.page.keyboard.up("Control")
    opened.page.keyboard.down("Shift")
    opened.page.mouse.down()
    for share in (0.1, 0.9, 0.1, 0.5):
        opened.page.mouse.move(box["x"] + share * box["width"], middle, steps=20)
    opened.page.mouse.up()
    opened.page.keyboard.up("Shift")


# --- a long log ------------------------------------------------------------------------------


def log(bench: Bench) -> list[Row]:
    """Jumps to times and steps of a log, by the field above it: from there until the lines are
    shown."""
    lines = bench.size(LOG_LINES, 100_000)
    steps = lines // LINES_PER_STEP
    with bench.trainhub() as server, tab() as opened:
        project_id = server.new_experiment()
        run_id = server.new_run(project_id)
        _fill_log(server, run_id, lines)
        fill_series(server.cluster, server.database, run_id, "train", 1, steps)
        extend_buckets(server.cluster, server.database, run_id)
        url = f"{server.url}/dashboard/projects/{project_id}/runs/{run_id}"
        opened.load(url, shows=".line")
        places = PLACES[: bench.pace.repetitions]
        seconds = [START_MS / 1000 + LINE_MS / 1000 * lines * place for place in places]
        times = [f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}" for time in seconds]
        to_times = [_jump(opened, time) for time in times]
        # Where no time has led: those lines would be in memory.
        to_steps = [_jump(opened, str(int(steps * (place - 0.05)))) for place in places]
    what = f"in a log of {lines:,} lines: on the screen"
    return [
        Row(f"jump to a {place} {what}", statistics.median(taken), "ms", at_most=200, samples=taken)
        for place, taken in (("time", to_times), ("step", to_steps))
    ]


def _jump(opened: Tab, place: str) -> float:
    opened.page.locator("#log-jump [name=at]").fill(place)
    return opened.after(lambda: opened.page.keyboard.press("Enter"), of="changed")


def _fill_log(server: Server, run_id: str, lines: int) -> None:
    server.cluster.execute(
        server.database,
        """
        INSERT INTO logs_logline (run_id, seq, timestamp, level, source, rank, message)
        SELECT %(run)s, seq, to_timestamp((%(start)s + %(ms)s * seq) / 1000.0), 'INFO', 'stdout',
               NULL,
               'step ' || seq || ' loss=' || round((3 * random())::numeric, 4)
                       || repeat(' tokens throughput grad norm', 3)
        FROM generate_series(1, %(lines)s) AS seq
        """,
        run=run_id, start=START_MS, ms=LINE_MS, lines=lines,
    )  # fmt: skip
    server.cluster.execute(
        server.database,
        "UPDATE runs_run SET log_count = %(lines)s WHERE id = %(run)s",
        run=run_id, lines=lines,
    )  # fmt: skip
    server.cluster.settle(server.database)


# --- open pages ------------------------------------------------------------------------------


def live(bench: Bench) -> list[Row]:
    """Pages of a run that is at work and reports nothing: what they cost, asking by condition."""
    pages, seconds = bench.size(LIVE_PAGES, 20), bench.size(LIVE_SECONDS, 6)
    with bench.trainhub() as server:
        project_id = server.new_experiment()
        run_id = server.new_run(project_id)
        path = f"/dashboard/projects/{project_id}/runs/{run_id}/live"
        etag = _etag(server.port, path)
        before, started = _cpu_seconds(server.pid), time.monotonic()
        sent = _poll(server.port, path, etag, pages, seconds)
        taken = time.monotonic() - started
        cores = (_cpu_seconds(server.pid) - before) / taken
    what = f"{pages} live run pages with nothing new"
    return [
        Row(f"{what}: the web server's CPU", 100 * cores, "% of a core", at_most=50),
        Row(f"{what}: bytes a minute for a page", sent / pages * 60 / taken / 1000, "KB",
            at_most=5),
    ]  # fmt: skip


def _etag(port: int, path: str) -> str:
    connection = HTTPConnection(HOST, port)
    connection.request("GET", path, headers={"X-Part": "1"})
    answer = connection.getresponse()
    answer.read()
    connection.close()
    etag = answer.headers["ETag"]
    if answer.status != 200 or etag is None:
        raise RuntimeError(f"{answer.status} without ETag: {path}")
    return etag


def _poll(port: int, path: str, etag: str, pages: int, seconds: float) -> int:
    """Ask for each page every POLL_SECONDS, evenly spread; the bytes of the answers."""
    connection = HTTPConnection(HOST, port)
    headers = {"X-Part": "1", "If-None-Match": etag, "Accept-Encoding": "gzip"}
    received, started = 0, time.monotonic()
    for number in range(int(pages * seconds / POLL_SECONDS)):
        time.sleep(max(0.0, started + number * POLL_SECONDS / pages - time.monotonic()))
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        if answer.status not in (200, 304):
            raise RuntimeError(f"{answer.status} {path}")
        head = sum(len(name) + len(value) + 4 for name, value in answer.getheaders())
        received += head + len(body)
    connection.close()
    return received


def _cpu_seconds(pid: int) -> float:
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


SUBJECTS: Final[Subjects] = {
    f"{PREFIX}table": Subject("Pages: a project's runs", table),
    f"{PREFIX}run": Subject("Pages: a run", run),
    f"{PREFIX}compare": Subject("Pages: a comparison", compare),
    f"{PREFIX}log": Subject("Pages: a long log", log),
    f"{PREFIX}live": Subject("Pages: live pages", live),
}
