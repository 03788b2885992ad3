"""The run pages, their live fragments, and the workers page."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.open_mode import local_administrator
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact
from core.ids import new_id
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point
from metrics.recording import record_metrics
from projects.models import ProjectStatus
from runs.models import EventKind, Recipe, Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, WorkerFactory, running

pytestmark = pytest.mark.django_db

# Lists and the queue must not read these: they grow with every training step.
LONG_TABLES = ("metricpoint", "metricseries", "logline", "artifacts_")


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


def url_of(run, part=""):
    return f"/dashboard/projects/{run.project_id}/runs/{run.pk}{part}"


def checkpoint(run, step=50):
    return Artifact.objects.create(
        id=f"ckpt_{run.pk[4:]}{step}",
        run=run,
        type=ArtifactType.CHECKPOINT,
        name=f"第 {step} 步检查点",
        file=f"step-{step:08d}.pt",
        step=step,
        size_bytes=1024,
        sha256="0" * 64,
    )


def print_lines(run, count, **fields):
    start = datetime(2024, 1, 2, 10, 0, tzinfo=UTC)
    append_log(
        run,
        [
            Line.new(f"Step {n} of <{run.name}>", timestamp=start + timedelta(seconds=n), **fields)
            for n in range(1, count + 1)
        ],
    )


# --- one run ---------------------------------------------------------------------------------


def test_run_shows_its_state_configuration_log_and_history(client):
    run = RunFactory(hyperparameters={"learning_rate": 2e-5}, gpu_type="A100", gpu_count=4)
    print_lines(run, 2)
    record_metrics(run, [Point("train_loss", 1, 1.72, 0)])
    run.transition(RunStatus.FAILED, reason="Out of memory.")

    page = client.get(url_of(run)).content.decode()

    configuration = client.get(url_of(run, "/configuration")).content.decode()

    for text in ("Failed", "Out of memory.", "1.72", "Step 2 of &lt;run-"):
        assert text in page
    for text in ("Failed", "2e-5", "4 × A100"):
        assert text in configuration


def test_failed_run_shows_its_kind_of_failure(client):
    run = RunFactory(status=RunStatus.RUNNING)
    run.transition(RunStatus.FAILED, reason="Exited.", failure_kind="disk_full")

    assert "Disk full" in client.get(url_of(run)).content.decode()


def test_waiting_run_shows_why_it_waits(client):
    run = RunFactory()

    page = client.get(url_of(run)).content.decode()

    assert "No running worker can execute it." in page


def test_run_query_count_does_not_depend_on_its_content(client, django_assert_num_queries):
    run = RunFactory(worker=WorkerFactory(), status=RunStatus.RUNNING, started_at=timezone.now())
    print_lines(run, 50)
    for step in range(10):
        checkpoint(run, step).tag(TagValue.CANDIDATE, notes="", by=None)
        record_metrics(run, [Point(f"key_{step}", step, 1.0, 0)])

    client.get(url_of(run))  # prepares statements

    # User, run; time left, key metrics, their lines, newest event, its sweep; metrics, lines;
    # checkpoints, other artifacts, evaluations (2) and restarts on the axis.
    with django_assert_num_queries(15):
        client.get(url_of(run))


@pytest.mark.parametrize(
    "part",
    [
        *("", "/log", "/checkpoints", "/configuration", "/lineage", "/events"),
        *("/live", "/metrics", "/series", "/tail", "/lines", "/describe"),
    ],
)
def test_fragments_of_unknown_run_or_other_project_are_404(client, part):
    run = RunFactory()
    other = ProjectFactory()

    assert client.get(f"/dashboard/projects/{run.project_id}/runs/run_x{part}").status_code == 404
    assert client.get(f"/dashboard/projects/{other.pk}/runs/{run.pk}{part}").status_code == 404


TABS = ["", "/log", "/checkpoints", "/configuration", "/lineage", "/events"]


@pytest.mark.parametrize("part", TABS)
def test_pages_of_ended_run_ask_for_nothing(client, part):
    run = RunFactory()
    run.transition(RunStatus.FAILED)

    page = client.get(url_of(run, part)).content

    assert b"hx-trigger" not in page
    assert b"data-live" not in page
    assert b"data-tail" not in page


@pytest.mark.parametrize("part", TABS)
def test_pages_of_active_run_ask_once_for_all_that_is_live(client, part):
    page = client.get(url_of(RunFactory(), part)).content

    assert page.count(b"data-live") == 1


@pytest.mark.parametrize("part", ["/live", "/tail"])
def test_asking_ends_when_the_run_ends(client, part):
    run = RunFactory()
    print_lines(run, 1)

    active = client.get(url_of(run, part))
    run.transition(RunStatus.FAILED)
    ended = client.get(url_of(run, part))

    assert active.status_code == 200
    assert ended.status_code == 286


def asked_again(client, run, answer, tab="charts"):
    headers = {"If-None-Match": answer["ETag"]}
    return client.get(url_of(run, f"/live?tab={tab}"), headers=headers)


def add_log_line(run):
    print_lines(run, 1)


def add_point(run):
    record_metrics(run, [Point("loss", 1, 1.0, 0)])


def add_event(run):
    run.note(EventKind.REWOUND)


def tag_checkpoint(run):
    run.artifacts.get(step=7).tag(TagValue.CANDIDATE, notes="", by=None)


@pytest.mark.parametrize("change", [checkpoint, add_log_line, add_point, add_event, tag_checkpoint])
def test_live_parts_are_sent_only_after_changes(client, change):
    run = RunFactory()
    checkpoint(run, step=7)
    first = client.get(url_of(run, "/live?tab=charts"))

    unchanged = asked_again(client, run, first)
    change(run)
    changed = asked_again(client, run, first)

    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]


def test_live_parts_are_sent_when_time_makes_a_run_silent(client, settings):
    run = running(reported_at=timezone.now(), attempt_started_at=timezone.now())
    first = client.get(url_of(run, "/live?tab=charts"))

    settings.SILENT_SECONDS = 0
    changed = asked_again(client, run, first)

    assert changed.status_code == 200
    assert "badge-silent" in changed.content.decode()


def test_question_without_news_takes_one_statement(client, django_assert_num_queries):
    run = running(reported_at=timezone.now(), attempt_started_at=timezone.now())
    first = client.get(url_of(run, "/live?tab=charts"))

    with django_assert_num_queries(2):  # user, version
        assert asked_again(client, run, first).status_code == 304


# --- log -------------------------------------------------------------------------------------


def test_tail_returns_new_lines_and_the_next_position(client):
    run = RunFactory()
    print_lines(run, 5)

    page = client.get(url_of(run, "/tail"), {"after": 3, "level": "INFO", "q": "Step"})

    assert [line.seq for line in page.context["lines"]] == [4, 5]
    assert page["X-Log-After"] == "5"


def test_tail_without_new_lines_is_204(client):
    run = RunFactory()
    print_lines(run, 5)

    response = client.get(url_of(run, "/tail"), {"after": 5})

    assert response.status_code == 204


def test_tail_skips_to_the_end_of_a_fast_log(client):
    run = RunFactory()
    print_lines(run, 500)

    page = client.get(url_of(run, "/tail"), {"after": 1})

    assert page.context["lines"][-1].seq == 500
    assert len(page.context["lines"]) == 200
    assert 'class="gap"' in page.content.decode()


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=" + "9" * 5000, "q=%00&level=x"])
def test_tail_ignores_invalid_parameters(client, query):
    run = RunFactory()
    print_lines(run, 2)

    assert client.get(f"{url_of(run, '/tail')}?{query}").status_code in {200, 204}


def test_log_shows_the_requested_page(client):
    run = RunFactory()
    print_lines(run, 450)

    page = client.get(url_of(run, "/log"), {"page": 3})

    assert next(line.seq for line in page.context["page"]) == 401
    assert "Page 3 of 3 (450 total)" in page.content.decode()


@pytest.mark.parametrize("number", ["99", "0", "-1", "x", "9" * 30])
def test_log_page_out_of_range_shows_the_nearest(client, number):
    run = RunFactory()
    print_lines(run, 250)

    response = client.get(url_of(run, "/log"), {"page": number})

    assert response.status_code == 200
    assert list(response.context["page"])


def test_log_filter_is_kept_across_pages(client):
    run = RunFactory()
    print_lines(run, 3)
    print_lines(run, 201, level="ERROR")

    page = client.get(url_of(run, "/log"), {"level": "ERROR"})

    assert page.context["page"].paginator.count == 201
    assert "level=ERROR&amp;page=2" in page.content.decode()


def test_log_is_filtered_by_time(client):
    run = RunFactory()
    print_lines(run, 10)

    page = client.get(
        url_of(run, "/log"),
        {"start_time": "2024-01-02T10:00:03", "end_time": "2024-01-02T10:00:05"},
    )

    assert [line.seq for line in page.context["page"]] == [3, 4]


def test_log_is_filtered_by_source_rank_and_regular_expression(client):
    run = RunFactory()
    for source, rank in (("stdout", 0), ("stdout", 1), ("stderr", 0)):
        print_lines(run, 3, source=source, rank=rank)

    page = client.get(
        url_of(run, "/log"), {"source": "stdout", "rank": "0", "regex": "^Step [23] of"}
    )

    assert [line.seq for line in page.context["page"]] == [2, 3]
    assert "[0]" in page.content.decode()


@pytest.mark.parametrize("part", ["", "/log"])
def test_invalid_regular_expression_is_shown_in_the_form(client, part):
    run = RunFactory()
    print_lines(run, 3)

    page = client.get(url_of(run, part), {"regex": "("})

    assert page.status_code == 200
    assert "invalid regular expression" in page.content.decode()
    assert "Step 1" not in page.content.decode()


def test_tail_with_invalid_regular_expression_stops_polling(client):
    run = RunFactory()
    print_lines(run, 3)

    page = client.get(url_of(run, "/tail"), {"regex": "(", "after": "1"})

    assert page.status_code == 286


def test_tail_keeps_all_filters(client):
    run = RunFactory()
    print_lines(run, 3, source="stderr", rank=0)

    log_filter = {"source": "stderr", "rank": "0", "regex": "Step [1-9]"}
    page = client.get(url_of(run, "/tail"), {"after": "1", **log_filter})

    docked = client.get(url_of(run), log_filter).content.decode()

    assert [line.seq for line in page.context["lines"]] == [2, 3]
    assert "/tail?regex=Step+%5B1-9%5D&amp;source=stderr&amp;rank=0" in docked


@pytest.mark.parametrize("part", ["", "/log"])
def test_log_download_applies_the_filter(client, part):
    run = RunFactory()
    print_lines(run, 3)
    print_lines(run, 1, level="ERROR")

    page = client.get(url_of(run, part), {"level": "ERROR"}).content.decode()
    response = client.get(url_of(run, "/log/download"), {"level": "ERROR"})

    assert f'href="{url_of(run, "/log/download")}?level=ERROR"' in page
    assert response["Content-Disposition"] == f'attachment; filename="{run.name}.log"'
    assert len(b"".join(response.streaming_content).splitlines()) == 1


def test_download_with_invalid_regular_expression_redirects_to_the_log_page(client):
    run = RunFactory()

    response = client.get(url_of(run, "/log/download"), {"regex": "("})

    assert response.status_code == 302
    assert response.headers["Location"] == url_of(run, "/log?regex=%28")


# --- start, cancel, retry --------------------------------------------------------------------


def test_new_run_is_queued_with_the_form_values(client):
    project = ProjectFactory(default_hyperparameters={"batch_size": 16, "seed": 1})

    response = client.post(
        f"/dashboard/projects/{project.pk}/runs/new",
        {
            "dataset": "papers",
            "recipe": "simulated",
            "learning_rate": "2e-5",
            "batch_size": "32",
            "other_hyperparameters": '{"warmup": 10}',
            "gpu_type": "A100",
            "gpu_count": "4",
            "priority": "7",
        },
    )

    run = Run.objects.get()
    assert response["Location"] == url_of(run)
    assert (run.name, run.model, run.dataset, run.priority) == (
        "run-001",
        "llama-2-13b",
        "papers",
        7,
    )
    assert run.resources == {"gpu_type": "A100", "gpu_count": 4, "nodes": 1}
    assert run.hyperparameters == {
        "batch_size": 32,
        "seed": 1,
        "learning_rate": 2e-5,
        "warmup": 10,
    }


def test_new_run_from_an_empty_form_uses_all_defaults(client):
    project = ProjectFactory()

    client.post(f"/dashboard/projects/{project.pk}/runs/new", {})

    run = Run.objects.get()
    assert run.hyperparameters == project.default_hyperparameters
    assert run.recipe.is_default


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "x" * 201),
        ("dataset", "\x00"),
        ("recipe", "none"),
        ("recipe", "\x00"),
        ("gpu_type", "<A100>"),
        ("gpu_count", "-1"),
        ("gpu_count", "10001"),
        ("priority", "101"),
        ("max_steps", "0"),
        ("other_hyperparameters", "{"),
    ],
)
def test_new_run_shows_errors_at_the_field(client, field, value):
    project = ProjectFactory()

    response = client.post(f"/dashboard/projects/{project.pk}/runs/new", {field: value})

    assert response.status_code == 422
    assert list(response.context["form"].errors) == [field]
    assert not Run.objects.exists()


def test_new_run_with_a_disabled_recipe_is_rejected(client):
    project = ProjectFactory()
    Recipe.objects.filter(name="char-lm").update(enabled=False)

    response = client.post(f"/dashboard/projects/{project.pk}/runs/new", {"recipe": "char-lm"})

    assert response.status_code == 422


def test_new_run_in_an_archived_project_keeps_the_input(client):
    project = ProjectFactory(status=ProjectStatus.ARCHIVED)

    response = client.post(f"/dashboard/projects/{project.pk}/runs/new", {"name": "typed"})

    page = response.content.decode()
    assert response.status_code == 422
    assert "does not accept new runs" in page
    assert 'value="typed"' in page


def test_cancel_cancels_and_shows_the_reason(client):
    run = RunFactory()

    page = client.post(url_of(run, "/cancel"), follow=True).content.decode()

    run.refresh_from_db()
    assert run.status == RunStatus.CANCELLED
    assert "Cancelled" in page
    assert str(run.status_reason) in page


def test_cancel_of_ended_run_shows_an_error(client):
    run = RunFactory()
    run.transition(RunStatus.FAILED)

    response = client.post(
        url_of(run, "/cancel"), follow=True, headers={"Referer": f"http://testserver{url_of(run)}"}
    )

    assert 'role="alert"' in response.content.decode()
    assert response.redirect_chain == [(f"http://testserver{url_of(run)}", 302)]


def test_retry_queues_a_new_run(client):
    run = RunFactory()
    run.transition(RunStatus.FAILED)

    response = client.post(url_of(run, "/retry"))

    retried = Run.objects.exclude(pk=run.pk).get()
    assert response["Location"] == url_of(retried)
    assert retried.status == RunStatus.QUEUED


@pytest.mark.parametrize("action", ["cancel", "retry"])
def test_run_actions_reject_get(client, action):
    assert client.get(url_of(RunFactory(), f"/{action}")).status_code == 405


# --- artifacts -------------------------------------------------------------------------------


def test_checkpoint_has_links_to_its_page_to_download_and_to_resume(client):
    run = RunFactory()
    saved = checkpoint(run)

    page = client.get(url_of(run, "/checkpoints")).content.decode()

    for name in ("artifact-download", "dashboard:artifact", "dashboard:artifact-resume"):
        assert reverse(name, args=[run.project_id, run.pk, saved.pk]) in page


def test_page_of_a_checkpoint_has_the_form_to_tag_it(client):
    run = RunFactory()
    saved = checkpoint(run)

    page = client.get(url_of(run, f"/artifacts/{saved.pk}")).content.decode()

    assert url_of(run, f"/artifacts/{saved.pk}/tag") in page


def log_files(run, count):
    rows = [
        Artifact(
            id=new_id("file"),
            run=run,
            type=ArtifactType.FILE,
            name=f"{number}.png",
            file=f"plots/{number}.png",
            stored_as=f".files/{number}",
            size_bytes=2048,
            sha256="0" * 64,
        )
        for number in range(count)
    ]
    Artifact.objects.bulk_create(rows)


def test_logged_file_is_shown_with_its_path_and_size(client):
    run = RunFactory()
    log_files(run, 1)
    [artifact] = run.artifacts.all()

    page = client.get(url_of(run, "/checkpoints")).content.decode()

    assert "plots/0.png" in page
    assert "2.0\xa0KB" in page
    assert reverse("artifact-download", args=[run.project_id, run.pk, artifact.pk]) in page
    shown = client.get(url_of(run, f"/artifacts/{artifact.pk}")).content.decode()
    assert (
        reverse("dashboard:artifact-tag", args=[run.project_id, run.pk, artifact.pk]) not in shown
    )


def test_thousands_of_files_do_not_enlarge_the_page(client, django_assert_num_queries):
    run = RunFactory()
    run.transition(RunStatus.CANCELLED)
    log_files(run, 205)
    checkpoint(run)
    client.get(url_of(run, "/checkpoints"))  # prepares statements
    with CaptureQueriesContext(connection) as few:
        client.get(url_of(run, "/checkpoints"))

    Artifact.objects.uploaded().delete()
    log_files(run, 5000)
    with django_assert_num_queries(len(few)):
        page = client.get(url_of(run, "/checkpoints")).content.decode()

    assert page.count("<code>plots/") == 100
    assert "Page 1 of 50 (5000 total)" in page


def test_files_are_paginated_apart_from_checkpoints(client):
    run = RunFactory()
    log_files(run, 205)
    saved = checkpoint(run)

    page = client.get(url_of(run, "/checkpoints?files=3")).content.decode()

    assert page.count("<code>plots/") == 5
    assert "Page 3 of 3 (205 total)" in page
    assert f"/artifacts/{saved.pk}" in page


def test_tag_records_the_user_and_notes(client):
    run = RunFactory()
    saved = checkpoint(run)

    page = client.post(
        url_of(run, f"/artifacts/{saved.pk}/tag"),
        {"tag": "发布", "notes": "BLEU 32.5"},
        follow=True,
    ).content.decode()

    tag = saved.tags.get()
    assert (tag.value, tag.notes, tag.applied_by.username) == ("发布", "BLEU 32.5", "admin")
    assert "Released" in page
    assert "BLEU 32.5" in page


@pytest.mark.parametrize("form", [{}, {"tag": "best"}, {"tag": "发布", "notes": "\x00"}])
def test_invalid_tag_is_rejected(client, form):
    run = RunFactory()
    saved = checkpoint(run)

    response = client.post(url_of(run, f"/artifacts/{saved.pk}/tag"), form)

    assert response.status_code == 422
    assert not saved.tags.exists()


def test_damaged_checkpoint_says_why_and_cannot_be_tagged_or_resumed_from(client):
    run = RunFactory()
    saved = checkpoint(run)
    saved.set_damage("b.bin is missing")
    saved.save()

    response = client.post(url_of(run, f"/artifacts/{saved.pk}/tag"), {"tag": "发布"})

    for part in ("/checkpoints", f"/artifacts/{saved.pk}"):
        page = client.get(url_of(run, part)).content.decode()
        assert "b.bin is missing" in page
        for action in ("tag", "resume"):
            assert url_of(run, f"/artifacts/{saved.pk}/{action}") not in page
    assert response.status_code == 422
    assert f"{saved.pk} is damaged and cannot be tagged" in response.content.decode()
    assert not saved.tags.exists()


def test_tag_of_checkpoint_of_another_run_is_404(client):
    saved = checkpoint(RunFactory())

    response = client.post(url_of(RunFactory(), f"/artifacts/{saved.pk}/tag"), {"tag": "发布"})

    assert response.status_code == 404


def test_resume_continues_from_the_checkpoint_with_overrides(client):
    run = RunFactory(hyperparameters={"max_steps": 100, "batch_size": 16})
    saved = checkpoint(run, step=50)
    run.transition(RunStatus.CANCELLED)

    response = client.post(
        url_of(run, f"/artifacts/{saved.pk}/resume"), {"max_steps": "200", "gpu_count": "2"}
    )

    resumed = Run.objects.get(resumed_from_id=saved.pk)
    assert response["Location"] == url_of(resumed)
    assert (resumed.start_step, resumed.progress, resumed.gpu_count) == (50, 0.25, 2)
    assert resumed.hyperparameters == {"max_steps": 200, "batch_size": 16}


def test_resume_with_nothing_left_to_train_shows_an_error(client):
    run = RunFactory(hyperparameters={"max_steps": 100})
    saved = checkpoint(run, step=100)

    response = client.post(url_of(run, f"/artifacts/{saved.pk}/resume"), {"name": "typed"})

    page = response.content.decode()
    assert response.status_code == 422
    assert "nothing is left to train" in page
    assert 'value="typed"' in page


def test_resume_page_shows_the_original_values(client):
    run = RunFactory(hyperparameters={"max_steps": 100}, dataset="papers")
    saved = checkpoint(run)

    page = client.get(url_of(run, f"/artifacts/{saved.pk}/resume")).content.decode()

    assert 'placeholder="100"' in page
    assert 'placeholder="papers"' in page


def test_page_past_the_end_of_a_rejected_search_does_not_redirect_in_a_loop(client):
    run = RunFactory()
    append_log(run, [Line.new("a")])
    page = f"/dashboard/projects/{run.project_id}/runs/{run.pk}/log?regex=(&page=3"

    response = client.get(page, headers={"Referer": f"http://localhost{page}"})

    assert response.status_code == 200


def test_a_run_in_the_trash_says_so(client):
    run = RunFactory(recipe=None, deleted_at=timezone.now())

    assert "This run is in the trash" in client.get(url_of(run)).content.decode()


def test_an_ended_run_without_metrics_promises_no_charts(client):
    page = client.get(url_of(RunFactory(status=RunStatus.COMPLETED))).content.decode()

    assert "The run logged no metrics." in page
    assert "yet" not in page.partition("run-metrics")[2].partition("</details>")[0]


def test_a_download_with_an_invalid_filter_leads_to_the_log_page(client):
    run = RunFactory()

    answer = client.get(url_of(run, "/log/download?q=%00&rank=x"))

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(url_of(run, "/log?"))
