"""The API of sweeps."""

from datetime import timedelta

import pytest
from django.test import Client

from accounts.tokens import issue_script_token
from runs.models import Recipe
from runs.status import RunStatus
from sweeps.examples import SWEEP_CREATE
from sweeps.models import Sweep, SweepStatus
from tests.clients import ApiClient
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, UserFactory
from tests.sweeps.searches import LINE, METRIC, end, pass_over, sweep_of, trials

pytestmark = pytest.mark.django_db
BODY = {"search_space": LINE, "objective": {"metric": METRIC}, "recipe": "simulated"}


@pytest.fixture
def client():
    return ApiClient()


@pytest.fixture
def project():
    return ProjectFactory()


def path_of(project, *parts):
    return "/".join([f"/projects/{project.pk}/sweeps", *parts])


def create(client, project, **fields):
    return client.post_json(path_of(project), BODY | fields)


def test_sweep_has_defaults(client, project):
    response = create(client, project)

    content = response.json()
    assert response.status_code == 201
    assert content["id"].startswith("sweep_")
    assert content["objective"] == {"metric": METRIC, "direction": "minimize", "value": "last"}
    assert content["search_space"] == {"x": {"type": "float", "low": -10, "high": 10, "log": False}}
    assert (content["name"], content["status"], content["method"]) == (
        "sweep-001", "进行中", "tpe"
    )  # fmt: skip
    assert (content["max_trials"], content["max_parallel"]) == (20, 4)
    assert (content["pruning"], content["best"], content["trials"]) == (
        {"method": "none"},
        None,
        [],
    )


def test_example_of_the_documentation_is_accepted(client, project):
    Recipe.objects.filter(name="char-lm").update(enabled=True)
    recipe = Recipe.objects.filter(enabled=True).first().name

    response = client.post_json(path_of(project), SWEEP_CREATE | {"recipe": recipe})

    content = response.json()
    assert response.status_code == 201, content
    assert {name: content[name] for name in ("objective", "pruning", "seed")} == {
        name: SWEEP_CREATE[name] for name in ("objective", "pruning", "seed")
    }
    assert content["configuration"] == {"hyperparameters": {"max_steps": 2000}}


def test_detail_has_the_trials_and_the_best_one(client, project):
    sweep = sweep_of(project=project, max_parallel=2, max_trials=2)
    pass_over(sweep)
    first, second = trials(sweep)
    end(first.run, value=2.0)
    end(second.run, RunStatus.FAILED)
    pass_over(sweep)

    content = client.get(path_of(project, sweep.pk)).json()

    assert [(trial["state"], trial["value"]) for trial in content["trials"]] == [
        ("complete", 2.0), ("failed", None)
    ]  # fmt: skip
    assert content["best"] == content["trials"][0]
    assert content["best"]["run_id"] == first.run_id
    assert content["best"]["params"] == first.params
    assert (content["best"]["run_name"], content["best"]["run_status"]) == ("search-000", "已完成")


def test_list_is_the_projects_newest_first_and_paged(client, project):
    sweep_of()
    first, second = sweep_of(project=project), sweep_of(project=project)

    assert [one["id"] for one in client.get(path_of(project)).json()] == [second.pk, first.pk]
    page = client.get(path_of(project) + "?page=2&page_size=1")
    assert [one["id"] for one in page.json()] == [first.pk]
    assert page["X-Total-Count"] == "2"


def test_runs_are_listed_by_their_sweep(client, project):
    sweep = pass_over(sweep_of(project=project, max_parallel=2))
    RunFactory(project=project)

    listed = client.get(f"/projects/{project.pk}/runs?sweep={sweep.pk}").json()

    assert {run["id"] for run in listed} == {trial.run_id for trial in trials(sweep)}
    assert len(listed) == 2
    assert client.get(f"/projects/{project.pk}/runs?sweep=sweep_gone").json() == []


def test_pause_continue_cancel(client, project):
    sweep = sweep_of(project=project)

    def after(action):
        response = client.post_json(path_of(project, sweep.pk, action))
        return response.status_code, response.json().get("status")

    assert after("pause") == (200, "已暂停")
    assert after("pause") == (200, "已暂停")
    assert after("continue") == (200, "进行中")
    assert after("continue") == (409, None)
    assert after("cancel") == (200, "已取消")
    assert after("cancel") == (200, "已取消")
    assert after("pause") == (409, None)


@pytest.mark.parametrize(
    ("fields", "attr"),
    [
        ({"search_space": {}}, "search_space"),
        ({"search_space": {"x": {"type": "float", "low": 1, "high": 0}}}, "search_space"),
        ({"search_space": None}, "search_space"),
        ({"objective": {}}, "objective.metric"),
        ({"objective": {"metric": "x", "color": 1}}, "objective.color"),
        ({"objective": {"metric": "x"}}, "objective"),  # its name does not tell the direction
        ({"objective": {"metric": METRIC, "direction": "down"}}, "objective.direction"),
        ({"objective": {"metric": METRIC, "value": "mean"}}, "objective.value"),
        ({"objective": {"metric": "a\x00"}}, "objective.metric"),
        ({"method": "gp"}, "method"),
        ({"pruning": {"method": "asha"}}, "pruning"),
        ({"pruning": {"method": "none", "min_steps": 3}}, "pruning"),
        ({"pruning": {"method": "asha", "min_steps": 0}}, "pruning.min_steps"),
        ({"pruning": {"method": "asha", "min_steps": 1, "reduction_factor": 1}},
         "pruning.reduction_factor"),
        ({"max_trials": 0}, "max_trials"),
        ({"max_trials": 5001}, "max_trials"),
        ({"max_parallel": "4"}, "max_parallel"),
        ({"seed": -1}, "seed"),
        ({"recipe": "none"}, "recipe"),
        ({"dataset": "/etc/passwd"}, None),
        ({"hyperparameters": {"x": 1}}, "hyperparameters"),
        ({"hyperparameters": {"max_steps": -1}}, "hyperparameters"),
        ({"resources": {"gpu_type": "H900", "gpu_count": 1}}, "resources.gpu_type"),
        ({"colour": "red"}, "colour"),
        ({"name": "x" * 193}, "name"),
    ],
)  # fmt: skip
def test_nonsense_is_refused_with_its_field(client, project, fields, attr):
    GpuPoolFactory(gpu_type="A100")

    response = create(client, project, **fields)

    assert response.status_code == 400, response.content
    if attr is not None:
        assert [error["attr"] for error in response.json()["errors"]] == [attr]
    assert not Sweep.objects.exists()


def test_archived_project_accepts_no_sweep(client, project):
    project.set_status("已归档")

    response = create(client, project)

    assert response.status_code == 409
    assert response.json()["errors"][0]["code"] == "project_archived"


def test_unknown_parameters_and_fields_are_refused(client, project):
    sweep = sweep_of(project=project)

    assert client.get(path_of(project) + "?status=x").status_code == 400
    assert client.get(path_of(project, sweep.pk) + "?x=1").status_code == 400
    response = client.post_json(path_of(project, sweep.pk, "cancel"), {"now": True})
    assert response.status_code == 400
    sweep.refresh_from_db()
    assert sweep.status == SweepStatus.RUNNING


def test_sweep_of_another_project_is_not_found(client, project):
    sweep = sweep_of()

    assert client.get(path_of(project, sweep.pk)).status_code == 404
    assert client.post_json(path_of(project, sweep.pk, "cancel")).status_code == 404
    assert client.get("/projects/proj_none/sweeps").status_code == 404
    assert client.post_json("/projects/proj_none/sweeps", BODY).status_code == 404


def test_script_of_a_run_sees_and_does_nothing_here(settings):
    settings.OPEN_MODE = False
    run = RunFactory()
    token, _digest = issue_script_token(UserFactory(), run.pk, life=timedelta(days=1))
    client = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {token}"})

    assert client.get(path_of(run.project)).status_code == 403
    assert client.post(path_of(run.project), BODY, "application/json").status_code == 403
    assert not Sweep.objects.exists()


def test_nobody_sees_sweeps_without_signing_in(settings):
    settings.OPEN_MODE = False
    sweep = sweep_of()

    response = Client(SERVER_NAME="localhost").get(path_of(sweep.project, sweep.pk))

    assert response.status_code == 401
