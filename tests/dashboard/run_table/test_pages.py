"""The project's page: the table, its live rows, completion of its filter, export."""

import re

import pytest
from django.utils import timezone

from artifacts.kinds import TagValue
from dashboard.run_table import query
from projects.models import Project
from runs.models import Run
from tests.dashboard.run_table.pages import page, shown
from tests.factories import checkpoint, member_of, unmanaged_run

pytestmark = pytest.mark.django_db


def test_default_columns_are_what_differs_and_what_matters(client, url, make_run):
    make_run("a", hyperparameters={"lr": 1, "same": 1}, metrics={"eval_loss": [1], "lr": [1]})
    make_run("b", hyperparameters={"lr": 2, "same": 1}, metrics={"eval_loss": [2], "lr": [1]})

    heads = [head.column.spec for head in client.get(url).context["heads"]]

    assert heads == [
        *("status", "progress", "params.lr", "best.eval_loss"),
        *("duration", "started", "who"),
    ]


def test_key_metrics_of_the_project_are_its_default_columns(client, url, project, make_run):
    project.show_first(["bleu"])
    make_run("a", metrics={"eval_loss": [1], "bleu": [2]})

    heads = [head.column.spec for head in client.get(url).context["heads"]]

    assert "metrics.bleu" in heads
    assert "best.eval_loss" not in heads


def offered_columns(text):
    """The columns that the menu offers, in its order, without those that are shown."""
    menu = text[text.index("columns-panel") : text.index("more-columns")]
    boxes = re.findall(
        r"""<input type="checkbox"\s+name="columns"\s+value="([^"]*)"([^>]*)>""", menu
    )
    return [spec for spec, rest in boxes if "checked" not in rest]


def test_every_value_of_a_metric_that_is_not_shown_can_be_chosen(client, url, make_run):
    make_run("a", metrics={"eval_loss": [1], "lr": [1]})

    offered = offered_columns(page(client, f"{url}?columns=best.eval_loss"))

    assert [spec for spec in offered if spec.endswith((".eval_loss", ".lr"))] == [
        *("metrics.eval_loss", "min.eval_loss", "max.eval_loss"),
        *("metrics.lr", "min.lr", "max.lr", "at_best.lr"),
    ]


def test_columns_of_a_new_run_can_be_chosen_at_once(client, url, make_run):
    make_run("a", metrics={"loss": [1]})
    before = offered_columns(page(client, url))

    make_run("b", metrics={"bleu": [1]}, tags={"team": "nlp"})

    assert set(offered_columns(page(client, url))) - set(before) >= {"max.bleu", "tags.team"}


def test_menu_of_columns_is_in_the_language_of_each_reader(client, url, make_run):
    make_run("a", hyperparameters={"lr": 1})
    texts = [
        page(client, url, headers={"Accept-Language": language}) for language in ("zh-CN", "en")
    ]

    assert "<legend>超参数</legend>" in texts[0]
    assert "<legend>Hyperparameters</legend>" in texts[1]


def test_chosen_columns_are_shown_in_their_order(client, url, make_run):
    make_run("a", hyperparameters={"lr": 3e-5}, metrics={"loss": [3, 1, 2]}, tags={"team": "nlp"})

    text = page(client, f"{url}?columns=tags.team,max.loss,min.loss,params.lr,gpus")
    row = text[text.index("<tbody>") : text.index("</tbody>")]

    assert [row.index(value) for value in (">nlp<", ">3<", ">1<", ">3e-5<", ">0<")] == sorted(
        row.index(value) for value in (">nlp<", ">3<", ">1<", ">3e-5<", ">0<")
    )


@pytest.mark.parametrize(
    "query",
    [
        "filter=%00",
        f"filter={'(' * 3000}",
        f"filter=metrics.{'x' * 5000}+%3C+1",
        f"name={'x' * 10_000}",
        f"columns={','.join(['params.x'] * 900)}",
        "columns=params.%00&sort=-params.%00&group=tags.%00",
        "filter=step+%3D+99999999999999999999999999999999999999999999",
        "filter=metrics.loss+%3E+1e999",
        "filter=params.lr+%3C+1e308&sort=params.lr",
        "filter=created+%3E+99999999999999999999",
        "filter=name+LIKE+%27%25%5C%27",
        "page=999999999999999999999999",
        "view=%00",
        "view=nonsense&name=x",
        "group=params.lr&sort=-params.lr",
        "group=status&sort=metrics.loss&columns=metrics.loss,at_best.loss",
    ],
)
def test_no_address_breaks_the_page(client, url, make_run, query):
    make_run("a", hyperparameters={"lr": "1e999"}, metrics={"loss": [float("nan"), float("inf")]})
    make_run("b", hyperparameters={"lr": "1" * 400})

    page(client, f"{url}?{query}")


def test_error_in_the_filter_is_marked(client, url, make_run):
    make_run("a")

    text = page(client, f"{url}?filter=step+%3E+1+and+nonsense+%3D+2")

    assert "at position 14" in text
    assert "<mark>nonsense</mark> = 2</pre>" in text
    assert "<tbody>" not in text


def test_silent_run_is_shown_as_such(client, url, settings):
    settings.SILENT_SECONDS = -1
    project = Project.objects.get(pk=url.rpartition("/")[2])
    unmanaged_run(project=project, reported_at="2026-01-01T00:00:00Z")

    text = page(client, url)

    assert "badge-silent" in text
    assert "Silent:" in text


def test_group_opens_as_a_filter(client, url, make_run):
    make_run("a", hyperparameters={"lr": 0.1})
    make_run("b", hyperparameters={"lr": 0.2})
    make_run("c")

    groups = client.get(f"{url}?group=params.lr").context["groups"]

    assert [(group.text, shown(client, f"{url}?{group.query}")) for group in groups] == [
        ("0.1", ["a"]),
        ("0.2", ["b"]),
        ("", ["c"]),
    ]


def test_group_of_a_number_opens_as_a_filter_of_all_its_texts(client, url, make_run):
    make_run("a", hyperparameters={"lr": 0.00005})
    make_run("b", hyperparameters={"lr": "5e-05"})
    make_run("c", hyperparameters={"lr": 0.0002})

    groups = client.get(f"{url}?group=params.lr").context["groups"]

    assert [(group.text, sorted(shown(client, f"{url}?{group.query}"))) for group in groups] == [
        ("5e-5", ["a", "b"]),
        ("2e-4", ["c"]),
    ]


def test_groups_of_numbers_that_differ_little_are_told_apart(client, url, make_run):
    for lr in (0.12345671, 0.12345672):
        make_run("a", hyperparameters={"lr": lr})

    groups = client.get(f"{url}?group=params.lr").context["groups"]

    assert [group.text for group in groups] == ["0.12345671", "0.12345672"]


def test_empty_project_says_how_to_report(client, url, project):
    text = page(client, url)

    assert "MLFLOW_TRACKING_URI=http://testserver" in text
    assert f"MLFLOW_EXPERIMENT_ID={project.pk}" in text
    assert f"curl -X POST http://testserver/projects/{project.pk}/runs" in text
    assert "MLFLOW_TRACKING_TOKEN" not in text


def test_empty_project_mentions_the_token_where_one_is_needed(client, url, project, settings):
    settings.OPEN_MODE = False
    client.force_login(member_of(project))

    assert "MLFLOW_TRACKING_TOKEN" in page(client, url)


def test_filter_without_matches_leads_back(client, url, make_run):
    make_run("a")

    text = page(client, f"{url}?name=nonsense")

    assert "No run matches." in text
    assert "MLFLOW_TRACKING_URI" not in text


# --- live rows -----------------------------------------------------------------------------------


def test_live_rows_keep_their_order_and_count_what_is_new(client, url, make_run):
    first, second = make_run("first"), make_run("second")
    context = client.get(url).context
    make_run("third")

    text = page(client, f"{url}/rows?{context['live_query']}")

    assert text.index(second.pk) < text.index(first.pk)
    assert "third" not in text
    assert "1 new" in text


def test_live_rows_have_the_columns_of_the_page(client, url, make_run):
    make_run("a", metrics={"loss": [7]})
    query = client.get(f"{url}?columns=metrics.loss,tags.x").context["live_query"]

    heads = [head.column.spec for head in client.get(f"{url}/rows?{query}").context["heads"]]

    assert heads == ["metrics.loss", "tags.x"]


@pytest.mark.parametrize(
    "query", ["", "rows=%00,x&since=x", "since=99999999999999999&rows=", "filter=%28"]
)
def test_live_rows_answer_whatever_is_asked(client, url, query):
    page(client, f"{url}/rows?{query}")


def live_status(client, url, query, etag):
    return client.get(f"{url}/rows?{query}", headers={"If-None-Match": etag}).status_code


@pytest.fixture
def live(client, url, make_run):
    """A run that is shown, the query of its live rows, and the version that the browser has."""
    run = make_run("shown", metrics={"loss": [1]})
    make_run("newest")
    query = client.get(url).context["live_query"]
    return run, query, client.get(f"{url}/rows?{query}")["ETag"]


def test_live_rows_are_not_sent_again_while_nothing_happens(client, url, live):
    _run, query, etag = live

    assert live_status(client, url, query, etag) == 304


def test_live_rows_are_sent_when_a_run_has_been_moved_to_the_trash(client, url, live):
    run, query, etag = live
    Run.objects.filter(pk=run.pk).update(deleted_at=timezone.now())

    assert live_status(client, url, query, etag) == 200


def test_live_rows_are_sent_when_a_checkpoint_has_been_tagged(client, url, live):
    run, query, _etag = live
    saved = checkpoint(run)
    etag = client.get(f"{url}/rows?{query}")["ETag"]

    saved.tag(TagValue.RELEASED, notes="", by=None)

    assert live_status(client, url, query, etag) == 200


# --- completion and export -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("metrics.eval", "metrics.eval/loss"),
        ("evalloss", "metrics.eval/loss"),
        ("params.", "params.`batch size`"),
        ("stat", "status"),
        ("tags.t", "tags.team"),
        ("best.", "best.eval/loss"),
    ],
)
def test_completion_offers_names_of_the_project(client, url, make_run, typed, first):
    make_run(
        "a", hyperparameters={"batch size": 1}, metrics={"eval/loss": [1]}, tags={"team": "nlp"}
    )

    found = client.get(f"{url}/columns", {"q": typed}).json()["names"]

    assert found[0]["text"] == first


def test_completion_of_nonsense_is_empty(client, url):
    assert client.get(f"{url}/columns", {"q": "\x00nonsense"}).json() == {"names": []}


def test_table_is_exported_with_its_columns_filters_and_order(client, url, make_run):
    make_run("=b", hyperparameters={"lr": 3e-5}, metrics={"loss": [0.123456789]})
    make_run("c", metrics={"loss": [float("nan")]})
    make_run("other")

    response = client.get(
        f"{url}/table.csv?columns=metrics.loss,params.lr,status&sort=name"
        "&filter=metrics.loss+IS+NOT+NULL"
    )
    lines = b"".join(response.streaming_content).decode().splitlines()

    assert lines[0] == "run_id,name,metrics.loss,params.lr,status"
    assert [line.partition(",")[2] for line in lines[1:]] == [
        "'=b,0.123456789,3e-05,运行中",
        "c,NaN,,运行中",
    ]


def test_export_with_an_error_in_the_filter_shows_the_page(client, url):
    response = client.get(f"{url}/table.csv?filter=%28")

    assert response["Location"] == f"{url}?filter=%28"


def test_too_many_runs_to_sort_at_the_best_step_are_said_on_the_page(
    client, url, make_run, monkeypatch
):
    monkeypatch.setattr(query, "MAX_SORTED_AT_BEST", 0)
    make_run("a", metrics={"eval_loss": [1], "bleu": [1]})

    response = client.get(f"{url}/table.csv?sort=at_best.bleu")

    assert response["Location"] == f"{url}?sort=at_best.bleu"
    text = page(client, response["Location"])
    assert "At most 0 runs can be sorted" in text
    assert '<a href="?view=">Show the newest first</a>' in text
