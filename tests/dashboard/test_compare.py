"""The page that compares runs."""

import html
import json
import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from accounts.open_mode import local_administrator
from dashboard.comparison.address import MAX_RUNS
from metrics.points import Point
from metrics.recording import record_metrics
from runs.models import DatasetInput, Run
from runs.status import RunStatus
from tests.dashboard.operators import administrator, member
from tests.factories import ProjectFactory, RecipeFactory, RunFactory

pytestmark = pytest.mark.django_db

MINUS = "\N{MINUS SIGN}"
TABS = ["curves", "differences", "summary", "parallel", "scatter", "code"]


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


def record(run, key, values):
    record_metrics(run, [Point(key, step, value, 0) for step, value in enumerate(values, 1)])


@pytest.fixture
def runs():
    """Three runs of two projects, of which the second is best."""
    first = RunFactory(name="first", hyperparameters={"lr": 1e-4, "optimizer": {"name": "adamw"}})
    second = RunFactory(
        name="second", project=first.project, hyperparameters={"lr": "0.001", "seed": 1}
    )
    third = RunFactory(name="third", hyperparameters={"lr": 1e-4, "optimizer": {"name": "lion"}})
    for run, values in ((first, [3.0, 1.0, 2.0]), (second, [2.0, 0.5]), (third, [4.0, 2.5])):
        record(run, "eval_loss", values)
    return [first, second, third]


def address(runs, **query):
    ids = ",".join(getattr(run, "pk", run) for run in runs)
    return f"/dashboard/compare?runs={ids}" + "".join(
        f"&{name}={value}" for name, value in query.items()
    )


def page_of(client, runs, **query):
    response = client.get(address(runs, **query))
    assert response.status_code == 200
    return response.content.decode()


def text_of(part):
    """What a person reads: without tags, spaces joined."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())


def heading_of(page):
    return text_of(re.findall(r"<h1>.*?</h1>", page, re.DOTALL)[0])


def rows_of(page):
    """The rows of the page's tables, each a list of the texts of its cells."""
    return [
        [text_of(cell) for cell in re.findall(r"<t[hd]\b.*?</t[hd]>", row, re.DOTALL)]
        for row in re.findall(r"<tr\b.*?</tr>", page, re.DOTALL)
    ]


def row_named(page, *begin):
    [row] = [row for row in rows_of(page) if row[: len(begin)] == list(begin)]
    return row[len(begin) :]


def plot_of(page):
    [found] = re.findall(
        r'<script id="plot" type="application/json">(.*?)</script>', page, re.DOTALL
    )
    return json.loads(found)


# --- which runs ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tab", TABS)
def test_every_tab_shows_the_runs_and_keeps_the_address(client, runs, tab):
    page = page_of(client, runs, tab=tab, baseline=runs[1].pk)

    for run in runs:
        assert f'data-run="{run.pk}"' in page
    for other in TABS:
        link = f"?runs={','.join(run.pk for run in runs)}&amp;tab={other}&amp;baseline={runs[1].pk}"
        assert link in page
    assert re.search(rf'tab={tab}&amp;[^"]*"\s+aria-current="page"', page)


@pytest.mark.parametrize("tab", TABS)
def test_one_run_and_no_run_are_pages_too(client, runs, tab):
    page_of(client, runs[:1], tab=tab)
    page_of(client, [], tab=tab)
    page_of(client, [RunFactory(hyperparameters={})], tab=tab)


def test_page_without_runs_offers_the_newest(client, runs):
    page = page_of(client, [])

    assert "Choose runs to compare" in page
    assert f"?runs={runs[0].pk}" in page


def test_unknown_run_is_named_and_the_rest_is_shown(client, runs):
    page = page_of(client, [runs[0], "run_unknown", runs[1]], tab="summary")

    assert "Not found: run_unknown." in page
    assert heading_of(page) == "Compare runs 2"


def test_run_in_the_trash_is_named_and_not_shown(client, runs):
    Run.objects.filter(pk=runs[2].pk).update(deleted_at=timezone.now())

    page = page_of(client, runs)

    assert f"third ({runs[2].pk}) is in the trash" in page
    assert f'data-run="{runs[2].pk}"' not in page


def test_hidden_run_is_not_shown(client, runs):
    Run.objects.filter(pk=runs[2].pk).update(is_hidden=True)

    assert f"Not found: {runs[2].pk}." in page_of(client, runs)


def test_run_that_the_user_may_not_see_is_not_shown(client, runs, settings):
    user = User.objects.create(username="gone", is_active=False)
    client.force_login(user)
    settings.OPEN_MODE = False

    response = client.get(address(runs))

    assert "first" not in response.content.decode()


def test_more_than_fifty_runs_are_named_and_fifty_are_shown(client):
    project = ProjectFactory()
    runs = [RunFactory(project=project, name=f"r{n}") for n in range(MAX_RUNS + 2)]

    page = page_of(client, runs, tab="differences")

    assert heading_of(page) == "Compare runs 50"
    assert f"Not shown: {runs[-2].pk}, {runs[-1].pk}." in page


@pytest.mark.parametrize(
    "query",
    [
        "runs=%00", "runs=" + "x" * 10_000, "runs=" + ",".join(map(str, range(3000))),
        "runs='%22%3Cscript%3E", "runs=a&tab=%00", "baseline=%00&tab=nonsense",
        "metrics=%00&metrics=" + "y" * 5000, "sort=-&stats=best&tab=summary",
        "sort=%00&by=%00", "q=%00", "q=" + "z" * 9000, "columns=nothing&color=x&tab=parallel",
        "xcolumn=%00&ycolumn=a&xscale=b&tab=scatter", "brush=~~~&scales=:::&tab=parallel",
        "smooth=1e999&range=a:b&x=metric:",
    ],
)  # fmt: skip
def test_whatever_an_address_says_is_a_page(client, runs, query):
    for tab in TABS:
        ids = "" if query.startswith("runs") else f"&runs={runs[0].pk},{runs[1].pk}"
        for path in ("compare", "compare/found"):
            response = client.get(f"/dashboard/{path}?{query}{ids}&tab={tab}")
            assert response.status_code == 200
            assert "<script>" not in response.content.decode()


def test_runs_are_kept_in_the_order_of_the_address(client, runs):
    page = page_of(client, [runs[2], runs[0]], tab="differences")

    assert page.index(f'data-run="{runs[2].pk}"') < page.index(f'data-run="{runs[0].pk}"')


def test_search_finds_runs_by_name_and_project_but_not_those_compared(client, runs):
    other = RunFactory(name="needle", project=ProjectFactory(name="haystack"))

    for text in ("needl", "HAYSTACK", other.pk):
        page = client.get(f"{address(runs)}&q={text}").content.decode()
        assert f"{runs[2].pk},{other.pk}" in page
    found = client.get(address(runs).replace("compare?", "compare/found?") + "&q=first")
    assert "No other run matches." in found.content.decode()


def test_removed_run_and_new_baseline_are_links(client, runs):
    page = html.unescape(page_of(client, runs, tab="summary"))

    assert f'href="?runs={runs[0].pk},{runs[2].pk}&tab=summary"' in page
    ids = ",".join(run.pk for run in runs)
    assert f'href="?runs={ids}&tab=summary&baseline={runs[1].pk}"' in page


# --- differences ----------------------------------------------------------------------------------


def test_differences_come_first_and_equal_values_are_folded(client, runs):
    page = page_of(client, runs, tab="differences")

    before, _, folded = page.partition('<details class="equal"')
    assert row_named(before, "lr") == ["0.0001", "0.001 ×10", "0.0001"]
    assert row_named(before, "optimizer.name") == ["adamw", "– not set", "lion"]
    assert row_named(folded, "Model") == ["llama-2-13b"]
    assert not [row for row in rows_of(before) if row[0] == "Model"]


def test_values_that_equal_the_baseline_are_dimmed(client, runs):
    page = page_of(client, runs, tab="differences", baseline=runs[1].pk)

    [row] = [row for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if ">lr<" in row]
    assert re.findall(r'<td class="(\w*)"', row) == ["", "baseline", ""]
    assert [text_of(cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)] == [
        "0.0001 ×0.1",
        "0.001",
        "0.0001 ×0.1",
    ]


def test_project_version_and_resources_are_compared(client, runs):
    Run.objects.filter(pk=runs[1].pk).update(gpu_count=8, project_version=3)

    page = page_of(client, runs[:2], tab="differences")

    assert row_named(page, "GPUs") == ["0", "8 +8"]
    assert row_named(page, "Project version") == ["1", "3 ×3"]


def test_comparing_fifty_runs_takes_few_queries(client, django_assert_max_num_queries):
    project = ProjectFactory()
    runs = [RunFactory(project=project, name=f"r{n}") for n in range(MAX_RUNS)]
    for run in runs:
        record(run, "train_loss", [1.0])
    client.get(address(runs))  # signs in

    for tab in TABS:
        with django_assert_max_num_queries(8):
            client.get(address(runs, tab=tab))


# --- summary --------------------------------------------------------------------------------------


def test_summary_has_the_last_and_the_best_value_with_its_step(client, runs):
    page = page_of(client, runs, tab="summary", by="metric")

    last, best = [row for row in rows_of(page) if row[0] == "eval_loss"]
    assert [cell.split()[0] for cell in last[2:]] == ["2", "★", "2.5"]
    assert best[2] == "1 at 2"
    assert best[3] == f"★ best 0.5 at 2 ▲ better {MINUS}0.5 ({MINUS}50 %)"
    assert best[4] == "2.5 at 2 ▼ worse +1.5 (+150 %)"


def test_summary_by_run_is_sorted_by_a_metric(client, runs):
    page = page_of(client, runs, tab="summary", by="run", sort="best:eval_loss")

    names = [row[0] for row in rows_of(page) if row and row[0].split()[:1] != ["Run"]]
    assert [name.split()[0] for name in names] == ["second", "first", "third"]
    assert 'aria-sort="ascending"' in page
    assert "sort=-best%3Aeval_loss" in page


def test_what_is_better_can_be_turned_around(client, runs):
    page = page_of(client, runs, tab="summary", by="metric", higher="eval_loss", stats="best")

    [best] = [row for row in rows_of(page) if row[0] == "eval_loss"]
    assert best[4].startswith("★ best 4")


def test_chosen_metrics_and_statistics_are_shown(client, runs):
    record(runs[0], "lr", [0.1, 0.2])

    page = page_of(client, runs, tab="summary", by="metric", metrics="lr", stats="max")

    assert row_named(page, "lr") == [
        "max · Neither is better: say that less is",
        "0.2 at 2",
        "–",
        "–",
    ]
    assert not [row for row in rows_of(page) if row[0] == "eval_loss"]


def test_summary_has_status_reason_duration_gpu_hours_and_tokens(client):
    start = timezone.now() - timedelta(hours=5)
    run = RunFactory(
        status=RunStatus.FAILED,
        status_reason="Out of memory.",
        gpu_count=4,
        started_at=start,
        finished_at=start + timedelta(hours=2),
        step=70,
    )
    record(run, "num_input_tokens_seen", [1000.0, 2000.0])
    record(run, "tokens_per_second", [99999.0])

    page = page_of(client, [run], tab="summary")

    assert row_named(page, "Status")[0].startswith("Failed Out of memory.")
    assert row_named(page, "Duration") == ["02:00:00"]
    assert row_named(page, "GPU-hours") == ["8"]
    assert row_named(page, "Steps")[0].startswith("70")
    assert row_named(page, "Tokens") == ["2000"]


def test_gpu_hours_are_those_that_workers_held_the_run(client):
    start = timezone.now() - timedelta(hours=9)
    run = RunFactory(
        status=RunStatus.COMPLETED,
        gpu_count=4,
        started_at=start,
        finished_at=start + timedelta(hours=8),
        held_seconds=3 * 3600,
    )

    page = page_of(client, [run], tab="summary")

    assert row_named(page, "Duration") == ["08:00:00"]
    assert row_named(page, "GPU-hours") == ["12"]


# --- plots ----------------------------------------------------------------------------------------


def test_axes_are_the_hyperparameters_that_differ_and_the_goal(client, runs):
    plot = plot_of(page_of(client, runs, tab="parallel"))

    assert [column["id"] for column in plot["columns"]] == [
        "params.optimizer.name",
        "params.lr",
        "params.seed",
        "best:eval_loss",
    ]
    by_id = {column["id"]: column for column in plot["columns"]}
    assert by_id["params.lr"] == {
        "id": "params.lr",
        "label": "lr",
        "kind": "number",
        "log": True,
        "values": [0.0001, 0.001, 0.0001],
    }
    assert by_id["params.optimizer.name"]["values"] == ["adamw", "", "lion"]
    assert by_id["best:eval_loss"]["values"] == [1.0, 0.5, 2.5]


def test_axes_of_the_address_are_kept_in_order(client, runs):
    page = page_of(client, runs, tab="parallel", columns="last:eval_loss&columns=params.lr")

    assert [row[0] for row in rows_of(page) if row] == ["Run", "first", "second", "third"]
    [head] = [row for row in rows_of(page) if row[0] == "Run"]
    assert head == ["Run", "eval_loss, last", "lr"]


def test_scatter_draws_the_columns_of_the_address(client, runs):
    page = page_of(
        client,
        runs,
        tab="scatter",
        xcolumn="params.lr",
        ycolumn="last:eval_loss",
        color="run.model",
    )

    assert [column["id"] for column in plot_of(page)["columns"]] == [
        "params.lr",
        "last:eval_loss",
        "run.model",
    ]
    assert row_named(page, "second") == ["0.001", "0.5", "llama-2-13b"]


def test_names_of_runs_cannot_break_out_of_the_data(client, runs):
    Run.objects.filter(pk=runs[0].pk).update(name="</script><script>alert(1)</script>")

    page = page_of(client, runs, tab="parallel")

    assert "<script>alert" not in page
    assert plot_of(page)["runs"][0]["name"] == "</script><script>alert(1)</script>"


# --- code and data --------------------------------------------------------------------------------


def test_code_and_datasets_are_side_by_side(client, runs):
    for run, commit in zip(runs, ("aaa", "bbb", "bbb"), strict=True):
        Run.objects.filter(pk=run.pk).update(
            tags={"mlflow.source.git.commit": commit, "mlflow.source.name": "train.py"}
        )
        DatasetInput.objects.create(
            run=run, name="gsm8k", digest=f"d-{commit}", tags={"mlflow.data.context": "training"}
        )

    before, _, folded = page_of(client, runs, tab="code").partition('<details class="equal"')

    assert row_named(before, "Git commit") == ["aaa", "bbb", "bbb"]
    assert row_named(before, "gsm8k (training)") == ["d-aaa", "d-bbb", "d-bbb"]
    assert row_named(folded, "Source") == ["train.py"]


@pytest.fixture
def environments():
    recipes = [
        RecipeFactory(command=["torchrun", str(n)], environment={"NCCL_DEBUG": f"level{n}"})
        for n in (1, 2)
    ]
    return [RunFactory(recipe=recipe) for recipe in recipes]


@pytest.mark.parametrize("tab", ["code", "differences"])
def test_operator_who_has_signed_in_sees_commands(environments, tab):
    page = page_of(administrator(), environments, tab=tab)

    assert row_named(page, "Command") == ["torchrun 1", "torchrun 2"]


def test_values_of_variables_are_told_apart_but_not_shown(environments):
    same = RecipeFactory(command=["torchrun"], environment={"NCCL_DEBUG": "level1"})

    page = page_of(administrator(), [*environments, RunFactory(recipe=same)], tab="code")

    first, second, third = row_named(page, "$NCCL_DEBUG")
    assert first == third != second
    assert "level" not in page


def test_variable_that_all_runs_share_is_named_alone(environments):
    page = page_of(administrator(), environments[:1], tab="code")

    assert row_named(page, "$NCCL_DEBUG") == ["set"]
    assert "level" not in page


@pytest.mark.parametrize("tab", TABS)
def test_commands_and_variables_are_not_for_members(environments, settings, tab):
    settings.OPEN_MODE = False

    page = page_of(member(), environments, tab=tab)

    for secret in ("level1", "NCCL_DEBUG", "torchrun"):
        assert secret not in page


@pytest.mark.parametrize("tab", TABS)
def test_commands_and_variables_are_not_for_programs_that_open_mode_lets_in(
    client, environments, tab
):
    page = page_of(client, environments, tab=tab)

    for secret in ("level1", "NCCL_DEBUG", "torchrun"):
        assert secret not in page


# --- live, and pictures --------------------------------------------------------------------------


def live_address(runs, **query):
    return address(runs, **query).replace("/compare?", "/compare/summary?")


def test_summary_of_running_runs_asks_for_news(client, runs):
    runs[0].transition(RunStatus.RUNNING)

    assert 'data-live="/dashboard/compare/summary?runs=' in page_of(client, runs, tab="summary")


def test_summary_of_ended_runs_asks_for_nothing(client, runs):
    Run.objects.update(status=RunStatus.COMPLETED, finished_at=timezone.now())

    assert 'data-live="/dashboard/compare' not in page_of(client, runs, tab="summary")
    assert client.get(live_address(runs)).status_code == 286


def test_live_summary_is_sent_when_a_run_has_news(client, runs):
    first = client.get(live_address(runs, tab="summary"))
    etag = first["ETag"]
    assert (
        client.get(live_address(runs, tab="summary"), headers={"If-None-Match": etag}).status_code
        == 304
    )

    record_metrics(runs[0], [Point("eval_loss", 9, 0.25, 0)])
    second = client.get(live_address(runs, tab="summary"), headers={"If-None-Match": etag})

    assert second.status_code == 200
    assert second.content.decode().count("0.25") > 0
    assert 'id="summary-table"' in second.content.decode()


def test_live_summary_of_nothing_is_an_empty_table(client):
    assert client.get("/dashboard/compare/summary?runs=nonsense&tab=x").status_code == 286


def test_picture_has_the_curve_of_each_run(client, runs):
    found = client.get(f"/dashboard/compare/plot.svg?runs={runs[0].pk},{runs[2].pk}&key=eval_loss")

    assert found["Content-Type"] == "image/svg+xml"
    text = found.content.decode()
    assert ("first" in text, "second" in text, "third" in text) == (True, False, True)


@pytest.mark.parametrize("query", ["", "?runs=a&key=%00", f"?runs=a,b&key={'x' * 9000}"])
def test_picture_of_nothing_is_empty(client, query):
    assert client.get(f"/dashboard/compare/plot.svg{query}").status_code == 200
