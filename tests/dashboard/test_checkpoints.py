"""The pages of checkpoints, leaderboards, releases and model cards."""

import csv
import html
import io
import json
import re

import pytest
from django.urls import reverse

from accounts.open_mode import local_administrator
from artifacts import storing, uploads
from artifacts.kinds import TagValue
from artifacts.models import Artifact, EvaluationResult
from dashboard.forms.checkpoints import SIZE_SORTS, SORTS
from metrics.points import Point
from metrics.recording import record_metrics
from registry.models import RegisteredModel, RunFile, Source
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint, member_of, running

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


@pytest.fixture
def project():
    return ProjectFactory(key_metrics=["eval_loss"])


def evaluate(run, step, **numbers):
    return storing.store_evaluation(run, io.BytesIO(json.dumps(numbers).encode()), step=step)


def url_of(name, artifact):
    run = artifact.run
    return reverse(f"dashboard:{name}", args=[run.project_id, run.pk, artifact.pk])


def list_url(project, query=""):
    return reverse("dashboard:project-checkpoints", args=[project.pk]) + query


def board_url(project, query=""):
    return reverse("dashboard:project-leaderboard", args=[project.pk]) + query


def text_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))


def body_rows(page):
    """The texts of the cells of the rows of all tables."""
    bodies = re.findall(r"<tbody>(.*?)</tbody>", page, re.S)
    rows = [row for body in bodies for row in re.findall(r"<tr.*?</tr>", body, re.S)]
    return [
        [text_of(cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)]
        for row in rows
    ]


def steps_of(page):
    return [int(row[2]) for row in body_rows(page)]


# --- all checkpoints -----------------------------------------------------------------------------


def test_list_shows_each_checkpoint_with_its_numbers_tags_and_versions(client, project):
    run = running(project=project, name="the-run", created_by=UserFactory(username="ada"))
    record_metrics(run, [Point("eval_loss", 50, 2.5, 0), Point("eval_loss", 150, 1.5, 0)])
    artifact = checkpoint(run, step=100)
    evaluate(run, 120, bleu=30.5)
    artifact.tag(TagValue.CANDIDATE, notes="", by=member_of(project, username="bo"))
    model = RegisteredModel.objects.register("summaries", description="", tags={}, by=None)
    source = Source("uri", "location", RunFile(run.pk, artifact.file))
    model.add_version(source, run_link="", description="", tags={}, by=None)

    [row] = body_rows(client.get(list_url(project)).content.decode())

    assert row[0] == "Checkpoint of step 100 summaries 1"
    assert row[1:5] == ["the-run", "100", "2.5", "30.5"]
    assert row[5].startswith("Candidate bo")
    assert row[9] == "ada"


def test_list_shows_all_results_those_that_few_have_in_one_column(client, project):
    run = running(project=project)
    checkpoint(run, step=100)
    evaluate(run, 100, **{f"task-{number}": number for number in range(7)})
    other = running(project=project)
    checkpoint(other, step=100)
    evaluate(other, 100, **{"task-6": 16, "task-5": 15})

    page = client.get(list_url(project)).content.decode()

    assert [row[4:8] for row in body_rows(page)] == [["–", "–", "15", "16"], ["0", "1", "5", "6"]]
    assert [row[8] for row in body_rows(page)] == ["–", "3 task-2 2 task-3 3 task-4 4"]


def test_list_without_further_results_has_no_column_for_them(client, project):
    checkpoint(running(project=project))

    assert "Other results" not in client.get(list_url(project)).content.decode()


def test_list_without_checkpoints_says_where_they_come_from(client, project):
    assert "No checkpoints yet." in client.get(list_url(project)).content.decode()


def test_damaged_checkpoint_says_why(client, project):
    artifact = checkpoint(RunFactory(project=project))
    artifact.set_damage("it is cut off")
    artifact.save()

    assert "it is cut off" in client.get(list_url(project)).content.decode()


def test_evaluation_that_cannot_be_read_is_named_with_its_reason(client, project):
    run = RunFactory(project=project)
    checkpoint(run)
    storing.store_evaluation(run, io.BytesIO(b'{"bleu": 3'), step=1)

    page = client.get(list_url(project)).content.decode()

    assert "Evaluations of these runs that are not shown: 1" in page
    assert "it is not valid JSON" in page


def test_checkpoints_of_runs_in_the_trash_and_of_other_projects_are_not_listed(client, project):
    checkpoint(RunFactory())
    run = RunFactory(project=project, status=RunStatus.COMPLETED)
    checkpoint(run)
    run.move_to_trash(by=None)

    assert body_rows(client.get(list_url(project)).content.decode()) == []


@pytest.fixture
def three(project):
    """Of ada's run: step 100, released; step 200, damaged. Of bo's: step 300."""
    ada, bo = UserFactory(username="ada"), UserFactory(username="bo")
    first = RunFactory(project=project, name="alpha", created_by=ada)
    checkpoint(first, step=100, content=b"12").tag(TagValue.RELEASED, notes="", by=None)
    damaged = checkpoint(first, step=200, content=b"123")
    damaged.set_damage("it is cut off")
    damaged.save()
    checkpoint(RunFactory(project=project, name="beta", created_by=bo), step=300, content=b"1")
    return project


@pytest.mark.parametrize(
    ("query", "steps"),
    [
        ("?tag=发布", {100}),
        ("?tag=none", {200, 300}),
        ("?run=ALPHA", {100, 200}),
        ("?person=Bo", {300}),
        ("?state=damaged", {200}),
        ("?state=kept", {100, 300}),
        ("?state=kept&person=ada", {100}),
        ("?tag=nonsense&state=x&sort=y&page=z", {100, 200, 300}),
        ("?run=%00&person=%00", {100, 200, 300}),
        ("?run=" + "x" * 10_000, {100, 200, 300}),
        ("?page=99999999999999999999", {100, 200, 300}),
    ],
)
def test_list_is_filtered_and_bad_filters_are_ignored(client, three, query, steps):
    assert {*steps_of(client.get(list_url(three, query)).content.decode())} == steps


def test_filters_without_a_match_offer_to_show_all(client, three):
    page = client.get(list_url(three, "?run=nothing")).content.decode()

    assert "No checkpoint matches these filters." in page


@pytest.mark.parametrize(
    ("sort", "steps"),
    [
        ("", [300, 200, 100]),
        ("created_at", [100, 200, 300]),
        ("step", [100, 200, 300]),
        ("-step", [300, 200, 100]),
        ("size", [300, 100, 200]),
        ("-size", [200, 100, 300]),
        ("run", [200, 100, 300]),
        ("-run", [300, 200, 100]),
    ],
)
def test_list_is_sorted_by_any_column(client, three, sort, steps):
    assert sort in {"", *SORTS, *SIZE_SORTS}
    page = client.get(list_url(three, f"?sort={sort}")).content.decode()

    assert steps_of(page) == steps


@pytest.fixture
def folder(project):
    """A checkpoint of 3,010 bytes, 10 of which are its index, which its row is of."""
    run = RunFactory(project=project)
    upload(run, "checkpoint-200/model-00001-of-00001.safetensors", 3000)
    return upload(run, "checkpoint-200/model.safetensors.index.json", 10)


def upload(run, path, size_bytes):
    return uploads.store(run, path, io.BytesIO(b"x" * size_bytes))[0]


def test_checkpoint_of_several_files_is_as_large_as_all_of_them(client, project, folder):
    pages = [
        list_url(project),
        reverse("dashboard:run-checkpoints", args=[project.pk, folder.run_id]),
        *(url_of(name, folder) for name in ("artifact", "checkpoint-release", "model-card")),
    ]

    for url in pages:
        assert "2.9\xa0KB" in html.unescape(client.get(url).content.decode()), url


def test_checkpoint_of_several_files_is_sorted_by_the_size_of_all_of_them(client, project, folder):
    checkpoint(RunFactory(project=project), step=100, content=b"x" * 20)

    assert steps_of(client.get(list_url(project, "?sort=size")).content.decode()) == [100, 200]


def test_sorting_keeps_the_filters(client, three):
    page = client.get(list_url(three, "?state=kept&sort=step&page=1")).content.decode()

    assert 'aria-sort="ascending"><a href="?state=kept&amp;sort=-step">' in page


def test_list_is_paged(client, project, monkeypatch):
    monkeypatch.setattr("dashboard.views.checkpoints.CHECKPOINTS_PER_PAGE", 2)
    run = RunFactory(project=project)
    for step in range(5):
        checkpoint(run, step=step)

    assert steps_of(client.get(list_url(project, "?page=2")).content.decode()) == [2, 1]


def test_query_count_of_the_list_does_not_grow_with_it(
    client, project, django_assert_max_num_queries
):
    for number in range(12):
        run = running(project=project)
        record_metrics(run, [Point("eval_loss", 1, number, 0)])
        checkpoint(run, step=10).tag(TagValue.CANDIDATE, notes="", by=member_of(run.project))
        evaluate(run, 10, bleu=number)

    # User, project, quotas, ids, their number, rows, tags, who; metrics, results, versions, …
    with django_assert_max_num_queries(13):
        client.get(list_url(project))


# --- leaderboard ---------------------------------------------------------------------------------


@pytest.fixture
def ranked(project):
    for number, (bleu, loss) in enumerate([(30, 2.0), (35, 1.5), (32, 1.0)]):
        run = running(project=project, name=f"run-{number}", hyperparameters={"lr": number, "b": 1})
        record_metrics(run, [Point("eval_loss", 10, loss, 0)])
        checkpoint(run, step=10)
        evaluate(run, 10, bleu=bleu, latency_time=bleu)
    return project


@pytest.mark.parametrize(
    ("query", "runs"),
    [
        ("", ["run-1", "run-2", "run-0"]),
        ("?by=bleu", ["run-1", "run-2", "run-0"]),
        ("?by=bleu&order=lowest", ["run-0", "run-2", "run-1"]),
        ("?by=latency_time", ["run-0", "run-2", "run-1"]),
        ("?by=latency_time&order=highest", ["run-1", "run-2", "run-0"]),
        ("?by=metric:eval_loss", ["run-2", "run-1", "run-0"]),
        ("?by=metric:eval_loss&order=highest", ["run-0", "run-1", "run-2"]),
        ("?by=nonsense&order=nonsense", ["run-1", "run-2", "run-0"]),
        ("?by=%00", ["run-1", "run-2", "run-0"]),
    ],
)
def test_leaderboard_ranks_by_any_number_in_its_direction(client, ranked, query, runs):
    page = client.get(board_url(ranked, query)).content.decode()

    assert [row[3] for row in body_rows(page)] == runs


def test_leaderboard_shows_the_hyperparameters_that_differ(client, ranked):
    page = client.get(board_url(ranked)).content.decode()

    assert '<th scope="col" class="minor">lr</th>' in page
    assert '<th scope="col" class="minor">b</th>' not in page
    assert [row[-1] for row in body_rows(page)] == ["1", "2", "0"]


def test_leaderboard_of_an_empty_project_says_how_to_fill_it(client, project):
    assert "evaluation.json" in client.get(board_url(project)).content.decode()


def test_leaderboard_as_csv_has_all_places(client, ranked, monkeypatch):
    monkeypatch.setattr("dashboard.views.checkpoints.PLACES_PER_PAGE", 1)
    url = reverse("dashboard:project-leaderboard-csv", args=[ranked.pk])

    response = client.get(f"{url}?by=bleu")

    rows = list(csv.DictReader(io.StringIO(response.content.decode())))
    assert response["Content-Type"].startswith("text/csv")
    assert [(row["rank"], row["run_name"], row["bleu"], row["lr"]) for row in rows] == [
        ("1", "run-1", "35.0", "1"),
        ("2", "run-2", "32.0", "2"),
        ("3", "run-0", "30.0", "0"),
    ]


def test_csv_holds_no_formulas(client, project):
    run = RunFactory(project=project, name="=1+1")
    checkpoint(run, step=10)
    evaluate(run, 10, bleu=1)
    url = reverse("dashboard:project-leaderboard-csv", args=[project.pk])

    assert ",'=1+1," in client.get(url).content.decode()


# --- releases ------------------------------------------------------------------------------------


def decide(client, artifact, tag=TagValue.RELEASED, notes="Passed.", **fields):
    return client.post(
        url_of("checkpoint-release", artifact), {"tag": tag, "notes": notes, **fields}
    )


def test_release_page_compares_with_the_present_release(client, project):
    old, new = running(project=project), running(project=project)
    record_metrics(old, [Point("eval_loss", 10, 2.0, 0)])
    record_metrics(new, [Point("eval_loss", 10, 1.5, 0)])
    present = checkpoint(old, step=10)
    present.tag(TagValue.RELEASED, notes="", by=None)
    candidate = checkpoint(new, step=10)
    evaluate(old, 10, bleu=35)
    evaluate(new, 10, bleu=30)

    rows = body_rows(client.get(url_of("checkpoint-release", candidate)).content.decode())

    assert ["bleu", "Evaluation", "30", "35", "-5 worse"] in rows
    assert ["eval_loss", "Training", "1.5", "2", "-0.5 better"] in rows


def test_release_page_names_the_run_that_has_evaluated(client, project):
    run = running(project=project)
    record_metrics(run, [Point("eval_loss", 10, 1.5, 0)])
    artifact = checkpoint(run, step=10)
    for number in (1, 2):
        EvaluationResult.objects.create(
            project=project,
            run=run,
            checkpoint=artifact,
            evaluated_by=RunFactory(project=project, name=f"evaluation-{number}"),
            step=10,
            key="eval_loss",
            value=number,
        )

    rows = body_rows(client.get(url_of("checkpoint-release", artifact)).content.decode())

    assert rows[:2] == [["eval_loss", "evaluation-2", "2"], ["eval_loss", "Training", "1.5"]]


def test_release_page_shows_the_lineage(client, project):
    first = RunFactory(project=project, name="first", hyperparameters={"lr": 1})
    second = RunFactory(
        project=project,
        name="second",
        hyperparameters={"lr": 2},
        resumed_from_id=checkpoint(first, step=50).pk,
    )

    page = client.get(url_of("checkpoint-release", checkpoint(second, step=80))).content.decode()

    assert "lr: 1 → 2" in text_of(page)


def test_release_is_with_notes_and_archives_what_it_replaces(client, project):
    run = RunFactory(project=project)
    present, new = checkpoint(run, step=1), checkpoint(run, step=2)
    present.tag(TagValue.RELEASED, notes="", by=None)

    response = decide(client, new, archive="on")

    assert response.url == reverse("dashboard:project-releases", args=[project.pk])
    tag = new.tags.get()
    assert (tag.value, tag.notes) == (TagValue.RELEASED, "Passed.")
    assert tag.applied_by == local_administrator()
    assert present.tags.latest("applied_at").value == TagValue.ARCHIVED


def test_release_beside_others_leaves_them(client, project):
    run = RunFactory(project=project)
    present, new = checkpoint(run, step=1), checkpoint(run, step=2)
    present.tag(TagValue.RELEASED, notes="", by=None)

    decide(client, new)

    assert present.tags.get().value == TagValue.RELEASED


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"notes": ""}, "This field is required."),
        ({"notes": "x" * 10_001}, "at most 10000 characters"),
        ({"notes": "a\x00b"}, "Null characters are not allowed."),
        ({"tag": "nonsense"}, "Select a valid choice."),
    ],
)
def test_decision_that_is_refused_says_why(client, project, fields, error):
    artifact = checkpoint(RunFactory(project=project))

    response = decide(client, artifact, **fields)

    assert response.status_code == 422
    assert error in response.content.decode()
    assert not artifact.tags.exists()


def test_damaged_checkpoint_cannot_be_released(client, project):
    artifact = checkpoint(RunFactory(project=project))
    artifact.set_damage("it is cut off")
    artifact.save()

    page = client.get(url_of("checkpoint-release", artifact)).content.decode()
    response = decide(client, artifact)

    assert "A damaged checkpoint cannot be tagged." in page
    assert response.status_code == 422
    assert not artifact.tags.exists()


def test_releases_show_candidates_present_ones_and_the_history(client, project):
    run = RunFactory(project=project)
    candidate, old, present = (checkpoint(run, step=step) for step in (10, 20, 30))
    candidate.tag(TagValue.CANDIDATE, notes="maybe", by=member_of(project, username="ada"))
    decide(client, old, notes="the first")
    decide(client, present, notes="the second", archive="on")

    page = client.get(reverse("dashboard:project-releases", args=[project.pk])).content.decode()

    assert steps_of(page) == [30, 10]
    history = text_of(page[page.index('id="history"') :])
    assert history.index("the second") < history.index("the first") < history.index("maybe")
    assert "ada" in history


def test_page_of_an_artifact_that_is_no_checkpoint_does_not_exist(client, project):
    config = storing.store_config(RunFactory(project=project), io.BytesIO(b"{}"))

    for name in ("checkpoint-release", "model-card", "model-card-file"):
        assert client.get(url_of(name, config)).status_code == 404


# --- model cards ---------------------------------------------------------------------------------


def test_model_card_is_shown_as_it_reads(client, project):
    artifact = checkpoint(RunFactory(project=project, hyperparameters={"<script>": "`x`"}))

    page = client.get(url_of("model-card", artifact)).content.decode()

    assert "base_model: llama-2-13b" in page
    assert "Hyperparameters</h4>" in page
    assert "&lt;script&gt;" in page


def test_model_card_is_downloaded_in_the_language_of_the_page(client, project):
    artifact = checkpoint(RunFactory(project=project))

    response = client.get(url_of("model-card-file", artifact))

    assert response["Content-Disposition"] == 'attachment; filename="README.md"'
    assert "## Hyperparameters" in response.content.decode()
    assert Artifact.objects.count() == 1
