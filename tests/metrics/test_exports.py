"""Metric exports: their content and memory use."""

import csv
import io
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.open_mode import local_administrator
from core.times import iso_time
from metrics import exports, history_queries
from metrics.exports import ExportFormat, export
from metrics.models import MetricPoint
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import Run
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory

pytestmark = pytest.mark.django_db
NOON_MS = 1_704_196_800_000  # 2024-01-02 12:00 UTC
FORMATS = list(ExportFormat)


@pytest.fixture
def client() -> ApiClient:
    return ApiClient()


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(exports, "POINTS_PER_BATCH", 7)
    monkeypatch.setattr(exports, "RUNS_PER_BATCH", 2)
    monkeypatch.setattr(exports, "ROWS_PER_GROUP", 16)
    monkeypatch.setattr(exports, "LINES_PER_CHUNK", 16)


def record(run, key, values):
    record_metrics(
        run,
        [Point(key, step, value, timestamp_ms=NOON_MS) for step, value in enumerate(values, 1)],
    )


def of(*runs):
    return Run.objects.filter(pk__in=[run.pk for run in runs])


def read(content, to):
    """The rows of a file, values as their repr, in which NaN equals NaN and -0.0 is not 0.0."""
    if to == ExportFormat.PARQUET:
        table = pq.read_table(io.BytesIO(content))
        assert table.column_names == list(exports.COLUMNS)
        columns = table.set_column(5, "timestamp", table["timestamp"].cast("int64")).to_pydict()
        rows = zip(*columns.values(), strict=True)
        return [(*texts, step, ms, repr(value)) for *texts, step, ms, value in rows]
    header, *lines = csv.reader(io.StringIO(content.decode(), newline=""))
    assert header == list(exports.COLUMNS)
    return [
        (*texts, int(step), milliseconds(time), repr(float(value)))
        for *texts, step, time, value in lines
    ]


def milliseconds(text):
    return int(np.datetime64(text.removesuffix("Z"), "ms").astype(np.int64))


def stored(*runs):
    points = MetricPoint.objects.filter(series__run__in=runs).select_related("series__run")
    return [
        (
            point.series.run.project_id,
            point.series.run_id,
            point.series.run.name,
            point.series.key,
            point.step,
            point.timestamp_ms,
            repr(point.value),
        )
        for point in points
    ]


text = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
points = st.builds(
    Point,
    st.sampled_from(
        ["train_loss", "=SUM(1)", 'with "quotes", commas', "two\r\nlines", " spaces ", "损失"]
    ),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.integers(-(2**62), 2**62),
)


@pytest.mark.parametrize("to", FORMATS)
@settings(
    deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sent=st.lists(points, max_size=40), name=text.filter(str.strip))
def test_exported_points_are_the_stored_points(small_batches, to, sent, name):
    run = RunFactory.create(name=name)
    record_metrics(run, sent)

    content = b"".join(export(of(run), to))

    expected = stored(run)
    if to == ExportFormat.CSV:
        expected = [(*row[:2], harmless(row[2]), harmless(row[3]), *row[4:]) for row in expected]
    assert sorted(read(content, to)) == sorted(expected)


def harmless(text):
    return "'" + text if text[0] in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20" else text


@pytest.mark.parametrize("text", ["=cmd|' /C calc'!A0", "@SUM(1)", "+1", "-1", "\ttab"])
def test_text_that_a_spreadsheet_would_compute_is_neutralized_in_csv_only(text):
    run = RunFactory.create(name=text)
    record(run, text, [1.0])

    def texts(to):
        (row,) = read(b"".join(export(of(run), to)), to)
        return row[2:4]

    assert texts(ExportFormat.CSV) == ("'" + text, "'" + text)
    assert texts(ExportFormat.PARQUET) == (text, text)


@pytest.mark.parametrize("to", FORMATS)
def test_nan_and_infinities_are_preserved(to):
    run = RunFactory.create()
    record(run, "a", [math.nan, math.inf, -math.inf])

    rows = read(b"".join(export(of(run), to)), to)

    assert [row[-1] for row in rows] == ["nan", "inf", "-inf"]


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("count", [0, 1, 6, 7, 8, 14, 100])
def test_points_of_a_metric_are_in_order_across_batches(small_batches, to, count):
    run = RunFactory.create()
    record(run, "a", [float(step) for step in range(count)])

    rows = read(b"".join(export(of(run), to)), to)

    assert [row[4] for row in rows] == list(range(1, count + 1))


@pytest.mark.parametrize("to", FORMATS)
def test_many_runs_of_short_and_long_metrics_are_exported_once(small_batches, to):
    project = ProjectFactory.create()
    runs = RunFactory.create_batch(5, project=project)
    Run.objects.filter(project=project).update(created_at=timezone.now())  # at the same time
    for run in runs:
        for key, count in (("a", 1), ("b", 20), ("c", 3), ("d", 3)):
            record(run, key, [0.5] * count)

    rows = read(b"".join(export(project.runs.all(), to)), to)

    assert sorted(rows) == sorted(stored(*runs))
    assert len(rows) == exports.count(project.runs.all()) == 5 * 27


@pytest.mark.parametrize("to", FORMATS)
def test_memory_holds_one_batch_of_a_long_run(small_batches, to, monkeypatch):
    batches, groups = [], []
    fetch, gather = history_queries.points_in_columns, exports._row_groups

    def watched_fetch(*args, **kwargs):
        batch = fetch(*args, **kwargs)
        batches.append(sum(len(steps) for _id, steps, *_rest in batch))
        return batch

    def watched_gather(rows):
        for group in gather(rows):
            groups.append(len(group))
            yield group

    monkeypatch.setattr(history_queries, "points_in_columns", watched_fetch)
    monkeypatch.setattr(exports, "_row_groups", watched_gather)
    run = RunFactory.create()
    record(run, "a", [1.0] * 1000)
    record(run, "b", [1.0] * 1000)

    chunks = export(of(run), to)
    assert next(chunks)
    assert sum(batches) < 50  # no reading ahead
    assert all(chunks)
    assert sum(batches) == 2000
    assert max(batches) == 7
    assert max(groups, default=0) < 16 + 7


def test_short_metrics_are_read_together(django_assert_max_num_queries):
    run = RunFactory.create()
    record_metrics(run, [Point(f"layer.{n}", 1, 1.0, timestamp_ms=NOON_MS) for n in range(500)])

    with django_assert_max_num_queries(4):  # runs twice, series, points
        b"".join(export(of(run), ExportFormat.CSV))


def test_progress_counts_every_point(small_batches):
    run = RunFactory.create()
    record(run, "a", [1.0] * 20)
    counts = []

    b"".join(export(of(run), ExportFormat.CSV, progress=counts.append))

    assert sum(counts) == 20
    assert len(counts) > 1


def test_csv_conforms_to_rfc_4180():
    run = RunFactory.create(name='say "hi", twice')
    record(run, "lr", [2e-05])

    content = b"".join(export(of(run), ExportFormat.CSV)).decode()

    assert content == (
        "project_id,run_id,run_name,key,step,timestamp,value\r\n"
        f'{run.project_id},{run.pk},"say ""hi"", twice",lr,1,{iso_time(NOON_MS)},2e-05\r\n'
    )


def test_parquet_has_typed_columns():
    run = RunFactory.create()
    record(run, "a", [1.0])

    schema = pq.read_schema(io.BytesIO(b"".join(export(of(run), ExportFormat.PARQUET))))

    assert [(field.name, str(field.type)) for field in schema] == [
        ("project_id", "string"),
        ("run_id", "string"),
        ("run_name", "string"),
        ("key", "string"),
        ("step", "int64"),
        ("timestamp", "timestamp[ms, tz=UTC]"),
        ("value", "double"),
    ]


class TestApi:
    @pytest.mark.parametrize("of_project", [False, True])
    @pytest.mark.parametrize(
        ("query", "to", "content_type"),
        [
            ("", ExportFormat.PARQUET, "application/vnd.apache.parquet"),
            ("?format=parquet", ExportFormat.PARQUET, "application/vnd.apache.parquet"),
            ("?format=csv", ExportFormat.CSV, "text/csv; charset=utf-8; header=present"),
        ],
    )
    def test_file_is_streamed_with_a_name(self, client, of_project, query, to, content_type):
        run = RunFactory.create()
        record(run, "train_loss", [1.0, math.nan])
        address = f"/projects/{run.project_id}" + ("" if of_project else f"/runs/{run.pk}")

        response = client.get(f"{address}/export{query}")

        name = run.project_id if of_project else run.pk
        assert response.status_code == 200
        assert response.streaming
        assert response.headers["Content-Type"] == content_type
        assert response.headers["Content-Disposition"] == f'attachment; filename="{name}.{to}"'
        assert read(response.getvalue(), to) == stored(run)

    def test_project_export_omits_the_trash_and_other_projects(self, client):
        project = ProjectFactory.create()
        kept = RunFactory.create(project=project)
        for run in (
            kept,
            in_trash := RunFactory.create(project=project),
            RunFactory.create(),
        ):
            record(run, "a", [1.0])
        in_trash.change(deleted_at=timezone.now())

        response = client.get(f"/projects/{project.pk}/export?format=csv")

        assert read(response.getvalue(), ExportFormat.CSV) == stored(kept)

    @pytest.mark.parametrize("format", ["xlsx", "", "json", "%00"])
    def test_unknown_format_is_named(self, client, format):
        run = RunFactory.create()

        for address in (
            f"/projects/{run.project_id}/export",
            f"/projects/{run.project_id}/runs/{run.pk}/export",
        ):
            response = client.get(f"{address}?format={format}")

            assert response.status_code == 400
            assert response.json()["errors"][0]["attr"] == "format"

    def test_any_accept_header_is_allowed(self, client):
        run = RunFactory.create()

        response = client.get(
            f"/projects/{run.project_id}/runs/{run.pk}/export", headers={"Accept": "text/csv"}
        )

        assert response.status_code == 200

    @pytest.mark.parametrize("address", ["/projects/proj_no", "/projects/{project}/runs/run_no"])
    def test_unknown_project_or_run_is_404(self, client, address):
        project = ProjectFactory.create()

        response = client.get(f"{address.format(project=project.pk)}/export?format=csv")

        assert response.status_code == 404


class TestPages:
    @pytest.fixture(autouse=True)
    def signed_in(self, db):
        local_administrator()

    @pytest.mark.parametrize("of_project", [False, True])
    def test_page_links_to_both_formats(self, client, of_project):
        run = RunFactory.create()
        address = f"/projects/{run.project_id}" + ("" if of_project else f"/runs/{run.pk}")

        page = client.get(f"/dashboard{address}").content.decode()

        assert f'href="{address}/export?format=parquet"' in page
        assert f'href="{address}/export?format=csv"' in page
