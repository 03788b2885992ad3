"""The project's page: the table, what is done with its runs, saved views, completion, export."""

import re

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.open_mode import local_administrator
from artifacts.kinds import TagValue
from dashboard.models import SavedView
from dashboard.run_table import query
from projects.models import Project, ProjectStatus
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint, unmanaged_run

pytestmark = pytest.mark.django_db


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


@pytest.fixture
def url(project):
    return f"/dashboard/projects/{project.pk}"


def page(client, address: str, **options) -> str:
    response = client.get(address, **options)
    assert response.status_code == 200
    return response.content.decode()


def shown(client, address: str) -> list[str]:
    """The names of the runs in the table."""
    return [row.run.name for row in client.get(address).context["page"].rows]


# --- the table -------------------------------------------------------------------------------


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


def test_empty_project_mentions_the_token_where_one_is_needed(client, url, settings):
    settings.OPEN_MODE = False
    client.force_login(User.objects.create_user("ada"))

    assert "MLFLOW_TRACKING_TOKEN" in page(client, url)


def test_filter_without_matches_leads_back(client, url, make_run):
    make_run("a")

    text = page(client, f"{url}?name=nonsense")

    assert "No run matches." in text
    assert "MLFLOW_TRACKING_URI" not in text


# --- live rows -------------------------------------------------------------------------------


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


# --- actions ---------------------------------------------------------------------------------


def act(client, url, action: str, *runs: Run, **fields):
    data = {"action": action, "runs": [run.pk for run in runs], **fields}
    return client.post(f"{url}/selected", data, follow=True)


def told(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def test_compare_leads_to_the_comparison(client, url, make_run):
    a, b = make_run("a"), make_run("b")

    response = client.post(f"{url}/selected", {"action": "compare", "runs": [a.pk, b.pk]})

    assert response["Location"] == f"/dashboard/compare?runs={a.pk},{b.pk}"


def test_action_returns_to_the_same_table(client, url, make_run):
    response = client.post(
        f"{url}/selected",
        {"action": "archive", "runs": make_run("a").pk, "query": "sort=name&filter=step+%3D+0"},
    )

    assert response["Location"] == f"{url}?sort=name&filter=step+%3D+0"


def test_action_returns_to_the_table_without_a_view_and_not_to_the_default_view(
    client, url, make_run
):
    response = client.post(f"{url}/selected", {"action": "archive", "runs": make_run("a").pk})

    assert response["Location"] == f"{url}?view="


def test_table_of_the_trash_restores_what_is_selected(client, url, make_run):
    trashed, _kept = make_run("trashed"), make_run("kept")
    trashed.transition(RunStatus.FAILED)
    trashed.move_to_trash(by=None)
    in_trash = page(client, f"{url}?archived=trash")
    listed = shown(client, f"{url}?archived=trash")

    act(client, url, "restore", all="1", query="archived=trash")

    assert listed == ["trashed"]
    assert 'value="restore"' in in_trash
    assert 'value="cancel"' not in in_trash
    assert sorted(shown(client, url)) == ["kept", "trashed"]


def test_deleted_runs_are_restored_by_undo(client, url, project, make_run):
    runs = [unmanaged_run(project=project), unmanaged_run(project=project)]

    response = act(client, url, "delete", *runs)
    deleted = shown(client, url)
    button = f'form="undo-restore" name="runs" value="{runs[0].pk},{runs[1].pk}"'
    act(client, url, "restore", runs=f"{runs[0].pk},{runs[1].pk}")

    assert button in response.content.decode()
    assert 'id="undo-restore"' in response.content.decode()
    assert deleted == []
    assert len(shown(client, url)) == 2


def test_refused_runs_are_told_with_the_reason(client, url, make_run):
    ended = make_run("ended")
    ended.transition(RunStatus.FAILED)

    response = act(client, url, "archive", ended, make_run("at work"))

    assert "1 archived." in told(response)
    assert "1 refused (at work): The run has not ended yet" in told(response)


def test_selected_runs_are_tagged(client, url, make_run):
    run = make_run("a")

    act(client, url, "tag", run, tag_key="team", tag_value="nlp")

    run.refresh_from_db()
    assert run.tags == {"team": "nlp"}


def test_all_matching_runs_are_selected_beyond_the_page(client, url, project, make_run):
    RunFactory.create_batch(60, project=project, name="queued")
    other = make_run("other")

    act(client, url, "cancel", all="1", query="name=queued")

    other.refresh_from_db()
    assert other.status == RunStatus.RUNNING
    assert Run.objects.filter(status=RunStatus.CANCELLED).count() == 60


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_metrics_of_selected_runs_are_exported(client, url, make_run, form):
    a, b = make_run("a", metrics={"loss": [1]}), make_run("b", metrics={"loss": [2]})
    make_run("c", metrics={"loss": [3]})

    response = client.post(f"{url}/selected", {"action": form, "runs": [a.pk, b.pk]})
    content = b"".join(response.streaming_content)

    assert f".{form}" in response["Content-Disposition"]
    assert content.startswith(b"PAR1" if form == "parquet" else b"project_id,")
    if form == "csv":
        assert content.count(b"\r\n") == 3


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"action": "delete"},
        {"action": "delete", "runs": "\x00"},
        {"action": "nonsense", "runs": "run_x"},
        {"action": "tag", "all": "1", "tag_key": "\x00"},
        {"action": "archive", "all": "1", "query": "filter=("},
    ],
)
def test_nothing_is_done_with_nothing(client, url, make_run, fields):
    run = make_run("a")

    response = client.post(f"{url}/selected", fields, follow=True)

    run.refresh_from_db()
    assert response.status_code == 200
    assert (run.deleted_at, run.archived_at, run.tags) == (None, None, {})


def test_run_of_another_project_is_not_touched(client, url, make_run):
    other = unmanaged_run()

    act(client, url, "delete", other)

    other.refresh_from_db()
    assert other.deleted_at is None


# --- saved views -----------------------------------------------------------------------------


@pytest.fixture
def others(client, settings):
    """Sign in as somebody, by name."""
    settings.OPEN_MODE = False

    def sign_in(name: str) -> User:
        user, _created = User.objects.get_or_create(username=name)
        client.force_login(user)
        return user

    return sign_in


def save(client, url, **fields):
    return client.post(f"{url}/views", {"query": "sort=name&name=a", **fields}, follow=True)


def test_saved_view_is_the_address(client, url, others):
    others("ada")

    response = save(client, url, name="mine")

    view = SavedView.objects.get()
    assert (view.name, view.query, view.is_shared) == ("mine", "sort=name&name=a", False)
    assert response.redirect_chain[-1][0] == f"{url}?sort=name&name=a&view={view.pk}"


def test_view_is_shared_or_private(client, url, others):
    others("ada")
    save(client, url, name="of-all", is_shared="on")
    save(client, url, name="of-ada")
    others("bob")

    text = page(client, url)

    assert "of-all" in text
    assert "of-ada" not in text


def test_address_of_a_view_alone_shows_it_in_full(client, url, others):
    others("ada")
    save(client, url, name="mine")
    view = SavedView.objects.get()

    response = client.get(f"{url}?view={view.pk}")

    assert response["Location"] == f"{url}?view={view.pk}&sort=name&name=a"


def test_project_opens_with_the_view_that_the_user_chose(client, url, others):
    others("ada")
    save(client, url, name="mine")
    view = SavedView.objects.get()
    client.post(f"{url}/views/{view.pk}", {"action": "default"})

    opened = client.get(url)
    without = client.get(f"{url}?view=")
    client.post(f"{url}/views/{view.pk}", {"action": "undefault"})

    assert opened["Location"] == f"{url}?view={view.pk}&sort=name&name=a"
    assert without.status_code == 200
    assert client.get(url).status_code == 200


def test_view_is_renamed_changed_and_deleted_by_its_owner(client, url, others):
    others("ada")
    save(client, url, name="before")
    view = SavedView.objects.get()
    address = f"{url}/views/{view.pk}"

    client.post(address, {"action": "rename", "name": "after", "is_shared": "on"})
    client.post(address, {"action": "save", "query": "sort=-step&page=2"})
    view.refresh_from_db()
    client.post(address, {"action": "delete"})

    assert (view.name, view.is_shared, view.query) == ("after", True, "sort=-step")
    assert not SavedView.objects.exists()


@pytest.mark.parametrize("action", ["rename", "save", "delete"])
def test_view_of_somebody_else_cannot_be_changed(client, url, others, action):
    others("ada")
    save(client, url, name="shared", is_shared="on")
    view = SavedView.objects.get()
    others("bob")

    response = client.post(
        f"{url}/views/{view.pk}", {"action": action, "name": "x", "query": ""}, follow=True
    )

    view.refresh_from_db()
    assert (view.name, view.query) == ("shared", "sort=name&name=a")
    assert "Only who has saved a view can change it." in told(response)


def test_private_view_of_somebody_else_is_not_found(client, url, others):
    others("ada")
    save(client, url, name="private")
    view = SavedView.objects.get()
    others("bob")

    assert client.post(f"{url}/views/{view.pk}", {"action": "default"}).status_code == 404


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_view_needs_a_name(client, url, others, name):
    others("ada")

    response = save(client, url, name=name)

    assert not SavedView.objects.exists()
    assert told(response)


def test_name_of_a_view_is_not_taken_twice(client, url, others):
    others("ada")
    save(client, url, name="mine")

    response = save(client, url, name="mine")

    assert "You have a view with this name already." in told(response)
    assert SavedView.objects.count() == 1


# --- completion and export -------------------------------------------------------------------


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


# --- run again -------------------------------------------------------------------------------


def test_run_again_has_the_values_of_the_run(client, project, make_run):
    run = make_run(
        "sweep-7",
        hyperparameters={"learning_rate": 3e-5, "max_steps": 7, "warmup": {"a": 1}},
        model="big",
        dataset="news",
        gpu_type="A100",
        gpu_count=4,
        priority=3,
    )

    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}")
    form = response.context["form"]
    values = {name: form[name].value() for name in form.fields}

    assert values | {"other_hyperparameters": ""} == {
        "name": "sweep-7",
        "model": "big",
        "dataset": "news",
        "recipe": "simulated",
        "gpu_type": "A100",
        "gpu_count": 4,
        "priority": 3,
        "learning_rate": "3e-5",
        "batch_size": "",
        "num_epochs": "",
        "max_steps": "7",
        "seed": "",
        "other_hyperparameters": "",
    }
    assert 'value="3e-5"' in response.content.decode()
    assert "&quot;warmup&quot;: {" in response.content.decode()


def test_run_again_queues_what_the_form_says(client, project, make_run):
    run = make_run("a", hyperparameters={"learning_rate": 3e-5, "max_steps": 7})

    client.post(
        f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}",
        {"name": "b", "learning_rate": "1e-4", "max_steps": "7", "recipe": "simulated"},
    )

    again = Run.objects.get(name="b")
    assert again.status == RunStatus.QUEUED
    assert again.hyperparameters["learning_rate"] == 1e-4
    assert again.hyperparameters["max_steps"] == 7


def test_run_again_of_an_unmanaged_run_reads_its_params(client, project):
    run = unmanaged_run(project=project, hyperparameters={"max_steps": "7", "x": "y"})

    form = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}").context["form"]

    assert form["max_steps"].value() == "7"
    assert form.initial["other_hyperparameters"] == {"x": "y"}


def test_run_again_says_that_the_recipe_is_turned_off(client, project, make_run):
    run = make_run("a", recipe=RecipeFactory(name="old", enabled=False))

    text = page(client, f"/dashboard/projects/{project.pk}/runs/new?from={run.pk}")

    assert "Its recipe old is turned off" in text


@pytest.mark.parametrize("source", ["nonsense", "%00"])
def test_run_again_of_an_unknown_run_is_not_found(client, project, source):
    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={source}")

    assert response.status_code == 404


def test_run_of_another_project_does_not_fill_the_form(client, project):
    other = RunFactory(project=ProjectFactory())

    response = client.get(f"/dashboard/projects/{project.pk}/runs/new?from={other.pk}")

    assert response.status_code == 404


def test_archived_project_has_no_form_for_a_run(client, project):
    project.set_status(ProjectStatus.ARCHIVED)

    text = page(client, f"/dashboard/projects/{project.pk}/runs/new")

    assert "does not accept new runs" in text
    assert "Start run" not in text
