"""The pages of sweeps."""

import json

import pytest
from django.utils.translation import override

from accounts.open_mode import local_administrator
from dashboard.sweep_page import history_of, parallel_url
from runs.status import RunStatus
from sweeps.models import Sweep, SweepStatus, SweepTrial, TrialState
from tests.factories import ProjectFactory, RunFactory
from tests.sweeps.searches import LINE, METRIC, end, pass_over, sweep_of, trials

pytestmark = pytest.mark.django_db
FORM = {
    "search_space": json.dumps(LINE),
    "metric": METRIC,
    "recipe": "simulated",
    "method": "tpe",
    "value_of": "last",
    "pruning": "none",
}


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()
    return client


def path_of(sweep, *parts):
    return "/".join([f"/dashboard/projects/{sweep.project_id}/sweeps/{sweep.pk}", *parts])


def page_of(client, address):
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def values_of(sweep, *values, state=TrialState.COMPLETE):
    for value in values:
        number = sweep.trials.count()
        SweepTrial.objects.create(
            sweep=sweep,
            number=number,
            value=value,
            state=state,
            params={"x": number + 0.5},
            run=RunFactory(project=sweep.project, status=RunStatus.COMPLETED),
        )


def test_page_shows_the_best_trial_and_all_of_them(client):
    sweep = sweep_of(max_parallel=3, max_trials=3)
    pass_over(sweep)
    first, second, _third = trials(sweep)
    end(first.run, value=2.0)
    end(second.run, value=1.25)
    pass_over(sweep)

    page = page_of(client, path_of(sweep))

    assert "In progress" in page
    assert "1.25" in page
    for trial in trials(sweep):
        assert f'href="/dashboard/projects/{sweep.project_id}/runs/{trial.run_id}"' in page
    assert page.count('id="trial-') == 3
    assert "data-live" in page
    assert '<svg class="sweep-history"' in page


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_in_both_languages(client, language):
    sweep = sweep_of(pruning="asha", min_steps=10)
    pass_over(sweep)

    with override(language):
        for address in (
            path_of(sweep),
            f"/dashboard/projects/{sweep.project_id}/sweeps",
            f"/dashboard/projects/{sweep.project_id}/new-sweep",
        ):
            response = client.get(address, headers={"Accept-Language": language})
            assert response.status_code == 200
            assert sweep.name in response.content.decode() or address.endswith("new-sweep")


def test_trials_by_value_have_the_best_first_and_those_without_one_last(client):
    sweep = sweep_of(goal="maximize")
    values_of(sweep, 1.0, None, 3.0)

    page = page_of(client, path_of(sweep) + "?order=value")

    order = [page.index(f'id="trial-{number}"') for number in (2, 0, 1)]
    assert order == sorted(order)


def test_form_creates_a_sweep(client):
    project = ProjectFactory()

    response = client.post(
        f"/dashboard/projects/{project.pk}/new-sweep",
        FORM | {"max_trials": 7, "search_seed": 0, "pruning": "asha", "min_steps": 5,
                "max_steps": 50, "gpu_count": 0},
    )  # fmt: skip

    sweep = Sweep.objects.get()
    assert response.headers["Location"] == path_of(sweep)
    assert (sweep.max_trials, sweep.seed, sweep.min_steps, sweep.goal) == (7, 0, 5, "minimize")
    assert sweep.configuration["hyperparameters"] == {"max_steps": 50}
    assert sweep.created_by == local_administrator()


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"search_space": "{"}, "Not valid JSON"),
        ({"search_space": ""}, "A search space must be a JSON object with 1 to 50 names."),
        ({"search_space": '{"x": {"type": "int", "low": 2, "high": 1}}'}, "low must not be above"),
        ({"metric": "something"}, "does not tell whether less or more is better"),
        ({"metric": ""}, "This field is required."),
        ({"pruning": "asha"}, "ASHA needs min_steps"),
        ({"method": "guess"}, "Select a valid choice."),
    ],
)
def test_form_shows_what_is_wrong_and_keeps_what_was_entered(client, fields, why):
    project = ProjectFactory()

    response = client.post(
        f"/dashboard/projects/{project.pk}/new-sweep", FORM | fields | {"name": "mine"}
    )

    assert response.status_code == 422
    page = response.content.decode()
    assert why in page
    assert 'value="mine"' in page
    assert not Sweep.objects.exists()


def test_buttons_pause_continue_and_cancel(client):
    sweep = sweep_of()

    for action, status in [
        ("pause", SweepStatus.PAUSED),
        ("continue", SweepStatus.RUNNING),
        ("cancel", SweepStatus.CANCELLED),
    ]:
        assert f"/{action}" in page_of(client, path_of(sweep))
        client.post(path_of(sweep, action))
        sweep.refresh_from_db()
        assert sweep.status == status
    assert client.post(path_of(sweep, "explode")).status_code == 404
    assert client.get(path_of(sweep, "cancel")).status_code == 405


def test_live_part_answers_304_until_something_changes_and_ends_with_the_sweep(client):
    sweep = sweep_of(max_trials=1)
    pass_over(sweep)
    first = client.get(path_of(sweep, "live"))

    def status(etag):
        return client.get(path_of(sweep, "live"), headers={"If-None-Match": etag}).status_code

    assert first.status_code == 200
    assert status(first["ETag"]) == 304
    end(trials(sweep)[0].run, value=1.0)
    assert status(first["ETag"]) == 200
    pass_over(sweep)
    assert client.get(path_of(sweep, "live")).status_code == 286


def test_run_and_project_link_to_the_sweep(client):
    sweep = sweep_of()
    pass_over(sweep)
    run = trials(sweep)[0].run

    run_page = page_of(client, f"/dashboard/projects/{sweep.project_id}/runs/{run.pk}")
    project_page = page_of(client, f"/dashboard/projects/{sweep.project_id}")

    assert f'href="{path_of(sweep)}"' in run_page
    assert f'href="/dashboard/projects/{sweep.project_id}/sweeps"' in project_page


def test_table_of_runs_is_filtered_by_the_sweep_that_the_page_links_to(client):
    sweep = sweep_of(max_parallel=2, max_trials=2)
    pass_over(sweep)
    RunFactory(project=sweep.project, name="alone")
    table = f"/dashboard/projects/{sweep.project_id}?sweep={sweep.pk}"

    response = client.get(table)

    shown = {row.run.pk for row in response.context["page"].rows}
    assert shown == {trial.run_id for trial in trials(sweep)}
    assert response.context["sweeps"] == [(sweep.pk, "search")]
    assert f'href="{table}"' in page_of(client, path_of(sweep))


def test_filter_by_an_unknown_sweep_matches_nothing_and_says_which(client):
    sweep = sweep_of()

    response = client.get(f"/dashboard/projects/{sweep.project_id}?sweep=swp_gone")

    assert "No run matches." in response.content.decode()
    assert ("swp_gone", "swp_gone") in response.context["sweeps"]


def test_history_draws_the_best_so_far_and_far_values_at_the_edge():
    sweep = sweep_of()
    values_of(sweep, *[5.0, 4.0, 4.5, 3.0, 4.0, 4.0, 4.0, 4.0, 4.0, 1e9])

    history = history_of(sweep)

    assert (history.low, history.high) == (3.0, 5.0)
    assert [dot.number for dot in history.dots if dot.is_beyond] == [9]
    assert history.best.count("V") == 2


def test_no_history_of_fewer_than_two_numbers():
    sweep = sweep_of()
    values_of(sweep, 1.0, float("inf"), None)

    assert history_of(sweep) is None


def test_parallel_coordinates_are_of_the_best_runs(client):
    sweep = sweep_of()
    values_of(sweep, *[float(n) for n in range(52)])

    address = parallel_url(sweep)

    assert trials(sweep)[0].run_id in address
    assert trials(sweep)[51].run_id not in address
    assert "tab=parallel&columns=params.x" in address
    assert client.get(address).status_code == 200


def test_sweep_of_another_project_is_not_found(client):
    sweep, other = sweep_of(), ProjectFactory()

    address = path_of(sweep).replace(sweep.project_id, other.pk)

    assert client.get(address).status_code == 404
    assert client.post(address + "/cancel").status_code == 404
