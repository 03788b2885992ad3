"""MLflow experiments, backed by projects."""

import pytest

from accounts.models import Token
from accounts.roles import Role, Scope
from projects.models import Project, ProjectStatus
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory, UserFactory, member_of, running, unmanaged_run
from tests.tracking.conftest import MlflowClient

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)

INVALID = (400, "INVALID_PARAMETER_VALUE")
UNKNOWN = (404, "RESOURCE_DOES_NOT_EXIST")
EXISTS = (400, "RESOURCE_ALREADY_EXISTS")


def calling(user, **limits) -> MlflowClient:
    return MlflowClient(headers={"Authorization": f"Bearer {Token.issue(user, **limits)[1]}"})


def test_create_makes_a_project_with_description_and_tags(mlflow):
    tags = [{"key": "mlflow.note.content", "value": "摘要"}, {"key": "team", "value": "nlp"}]

    created = mlflow.post_ok("experiments/create", name="中文/摘要", tags=tags)

    project = Project.objects.get(pk=created["experiment_id"])
    assert (project.name, project.description) == ("中文/摘要", "摘要")
    assert project.experiment_tags == {"team": "nlp"}
    assert project.version == 1


def test_get_returns_mlflow_fields(mlflow):
    project = ProjectFactory(description="about", experiment_tags={"b": "2", "a": "1"})

    experiment = mlflow.get_ok("experiments/get", experiment_id=project.pk)["experiment"]

    assert experiment == {
        "experiment_id": project.pk,
        "name": project.name,
        "artifact_location": f"mlflow-artifacts:/{project.pk}",
        "lifecycle_stage": "active",
        "creation_time": int(project.created_at.timestamp() * 1000),
        "last_update_time": int(project.updated_at.timestamp() * 1000),
        "tags": [
            {"key": "a", "value": "1"},
            {"key": "b", "value": "2"},
            {"key": "mlflow.note.content", "value": "about"},
        ],
    }


def test_create_rejects_taken_name(mlflow):
    ProjectFactory(name="x")

    assert mlflow.error("experiments/create", name="x") == EXISTS
    assert Project.objects.count() == 1


def test_name_of_deleted_experiment_is_free(mlflow):
    deleted = mlflow.post_ok("experiments/create", name="x")["experiment_id"]
    mlflow.post_ok("experiments/delete", experiment_id=deleted)

    again = mlflow.post_ok("experiments/create", name="x")["experiment_id"]

    assert again != deleted
    assert mlflow.error("experiments/restore", experiment_id=deleted) == EXISTS


@with_two_connections
def test_concurrent_creates_of_one_name_succeed_once():
    def create():
        client = MlflowClient()
        return client.post_json("/api/2.0/mlflow/experiments/create", {"name": "race"})

    responses = in_parallel(*[create] * 4)

    assert sorted(response.status_code for response in responses) == [200, 400, 400, 400]
    assert Project.objects.filter(name="race").count() == 1


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\0b"])
def test_invalid_name_is_rejected(mlflow, name):
    assert mlflow.error("experiments/create", name=name) == INVALID
    assert not Project.objects.exists()


def test_get_by_name_returns_the_oldest(mlflow):
    oldest = ProjectFactory(name="twice")
    ProjectFactory(name="twice")

    experiment = mlflow.get_ok("experiments/get-by-name", experiment_name="twice")["experiment"]

    assert experiment["experiment_id"] == oldest.pk


def test_get_by_name_prefers_a_project_that_is_not_archived(mlflow):
    ProjectFactory(name="again", status=ProjectStatus.ARCHIVED)
    active = ProjectFactory(name="again")

    experiment = mlflow.get_ok("experiments/get-by-name", experiment_name="again")["experiment"]

    assert experiment["experiment_id"] == active.pk


@pytest.mark.parametrize("id", ["none", "proj_4k0wz81mt2qd", "a\0", "x" * 300])
def test_unknown_experiment_is_an_error(mlflow, id):
    assert mlflow.error("experiments/get", "get", experiment_id=id)[0] in (400, 404)
    assert mlflow.error("experiments/delete", experiment_id=id)[0] in (400, 404)


def test_unknown_name_is_not_found(mlflow):
    assert mlflow.error("experiments/get-by-name", "get", experiment_name="x") == UNKNOWN


# --- default experiment ----------------------------------------------------------------------


def test_default_experiment_is_created_on_first_use(mlflow):
    first = mlflow.get_ok("experiments/get", experiment_id="0")["experiment"]
    again = mlflow.get_ok("experiments/get-by-name", experiment_name="Default")["experiment"]

    assert first["experiment_id"] == again["experiment_id"] != "0"
    assert Project.objects.filter(name="Default").count() == 1


@with_two_connections
def test_default_experiment_is_created_once_by_concurrent_requests():
    url = "/api/2.0/mlflow/experiments/get?experiment_id=0"

    responses = in_parallel(*[lambda: MlflowClient().get(url)] * 4)

    assert [response.status_code for response in responses] == [200] * 4
    assert Project.objects.filter(name="Default").count() == 1


@pytest.mark.parametrize(
    "query", [{"experiment_id": "0"}, {"experiment_name": "Default"}], ids=["id", "name"]
)
def test_token_that_reads_does_not_create_the_default_experiment(settings, query):
    settings.OPEN_MODE = False
    client = calling(UserFactory(), scope=Scope.READ)
    path = "experiments/get-by-name" if "experiment_name" in query else "experiments/get"

    assert client.error(path, "get", **query) == UNKNOWN
    assert not Project.objects.exists()


def test_default_experiment_of_a_token_for_one_project_is_that_project(settings):
    settings.OPEN_MODE = False
    project = ProjectFactory()
    client = calling(member_of(project), scope=Scope.WRITE, project_id=project.pk)

    run = client.post_ok("runs/create", experiment_id="0")["run"]
    found = client.post_ok("runs/search", experiment_ids=["0"])["runs"]

    assert run["info"]["experiment_id"] == project.pk
    assert [item["info"]["run_id"] for item in found] == [run["info"]["run_id"]]
    assert Project.objects.get() == project


def test_default_experiment_of_a_token_for_one_project_needs_the_role(settings):
    settings.OPEN_MODE = False
    project = ProjectFactory()
    client = calling(member_of(project, Role.VIEWER), scope=Scope.WRITE, project_id=project.pk)

    assert client.error("runs/create", experiment_id="0") == (403, "PERMISSION_DENIED")
    assert client.get_ok("experiments/get", experiment_id="0")["experiment"]["experiment_id"] == (
        project.pk
    )


# --- changing --------------------------------------------------------------------------------


def test_rename_creates_a_project_version(mlflow):
    project = ProjectFactory()

    assert mlflow.post_ok("experiments/update", experiment_id=project.pk, new_name="new") == {}

    project.refresh_from_db()
    assert (project.name, project.version) == ("new", 2)


def test_rename_rejects_taken_name_but_accepts_own_name(mlflow):
    project, other = ProjectFactory(name="mine"), ProjectFactory(name="theirs")

    error = mlflow.error("experiments/update", experiment_id=project.pk, new_name=other.name)

    assert error == EXISTS
    assert mlflow.post_ok("experiments/update", experiment_id=project.pk, new_name="mine") == {}


def test_delete_archives_and_restore_reopens(mlflow):
    project = ProjectFactory()

    mlflow.post_ok("experiments/delete", experiment_id=project.pk)
    project.refresh_from_db()
    assert project.status == ProjectStatus.ARCHIVED
    experiment = mlflow.get_ok("experiments/get", experiment_id=project.pk)["experiment"]
    assert experiment["lifecycle_stage"] == "deleted"

    mlflow.post_ok("experiments/restore", experiment_id=project.pk)
    project.refresh_from_db()
    assert project.status == ProjectStatus.ACTIVE


def lifecycle_of(mlflow, run):
    return mlflow.get_ok("runs/get", run_id=run.pk)["run"]["info"]["lifecycle_stage"]


def test_runs_are_deleted_and_restored_with_their_experiment(mlflow):
    run = unmanaged_run()
    mlflow.post_ok("experiments/delete", experiment_id=run.project_id)

    assert lifecycle_of(mlflow, run) == "deleted"
    assert mlflow.post_ok("runs/search", experiment_ids=[run.project_id])["runs"] == []
    metric = {"key": "loss", "value": 1, "timestamp": 1}
    assert mlflow.error("runs/log-metric", run_id=run.pk, **metric) == INVALID

    mlflow.post_ok("experiments/restore", experiment_id=run.project_id)

    assert lifecycle_of(mlflow, run) == "active"


def test_run_that_was_deleted_before_its_experiment_stays_deleted(mlflow):
    run = unmanaged_run()
    mlflow.post_ok("runs/delete", run_id=run.pk)

    mlflow.post_ok("experiments/delete", experiment_id=run.project_id)
    mlflow.post_ok("experiments/restore", experiment_id=run.project_id)

    assert lifecycle_of(mlflow, run) == "deleted"


def test_reopening_the_project_restores_its_runs(mlflow):
    run = unmanaged_run()
    mlflow.post_ok("experiments/delete", experiment_id=run.project_id)

    Project.objects.get(pk=run.project_id).set_status(ProjectStatus.DRAFT)

    assert lifecycle_of(mlflow, run) == "active"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("runs/create", {}),
        ("logged-models", {"name": "model"}),
        ("experiments/update", {"new_name": "other"}),
        ("experiments/set-experiment-tag", {"key": "a", "value": "2"}),
        ("experiments/set-experiment-tag", {"key": "mlflow.note.content", "value": "2"}),
        ("experiments/delete-experiment-tag", {"key": "a"}),
    ],
)
def test_deleted_experiment_takes_nothing_until_it_is_restored(mlflow, name, body):
    project = ProjectFactory(experiment_tags={"a": "1"})
    mlflow.post_ok("experiments/delete", experiment_id=project.pk)

    assert mlflow.error(name, experiment_id=project.pk, **body) == INVALID

    mlflow.post_ok("experiments/restore", experiment_id=project.pk)
    mlflow.post_ok(name, experiment_id=project.pk, **body)


def test_experiment_with_a_run_of_a_worker_cannot_be_deleted(mlflow):
    run = running()

    assert mlflow.error("experiments/delete", experiment_id=run.project_id)[0] == 409
    assert not Project.objects.get(pk=run.project_id).is_archived


def test_tag_is_set_and_deleted(mlflow):
    project = ProjectFactory(experiment_tags={"kept": "1"})

    mlflow.post_ok("experiments/set-experiment-tag", experiment_id=project.pk, key="a", value="中")
    project.refresh_from_db()
    assert project.experiment_tags == {"kept": "1", "a": "中"}

    mlflow.post_ok("experiments/delete-experiment-tag", experiment_id=project.pk, key="a")
    project.refresh_from_db()
    assert project.experiment_tags == {"kept": "1"}


def test_note_tag_sets_and_clears_the_description(mlflow):
    project = ProjectFactory()
    note = {"experiment_id": project.pk, "key": "mlflow.note.content"}

    mlflow.post_ok("experiments/set-experiment-tag", **note, value="about")
    project.refresh_from_db()
    assert (project.description, project.experiment_tags, project.version) == ("about", {}, 2)

    mlflow.post_ok("experiments/delete-experiment-tag", **note)
    project.refresh_from_db()
    assert project.description == ""


@pytest.mark.parametrize(
    "tag",
    [
        {"key": "", "value": "x"},
        {"key": "a" * 251, "value": "x"},
        {"key": "../a", "value": "x"},
        {"key": "a", "value": "x" * 5001},
        {"key": "a", "value": "\0"},
        {"key": "mlflow.note.content", "value": "x" * 10_001},
    ],
    ids=str,
)
def test_invalid_tag_is_rejected(mlflow, tag):
    project = ProjectFactory()

    error = mlflow.error("experiments/set-experiment-tag", experiment_id=project.pk, **tag)

    assert error == INVALID


def test_missing_tag_cannot_be_deleted(mlflow):
    project = ProjectFactory()

    error = mlflow.error("experiments/delete-experiment-tag", experiment_id=project.pk, key="a")

    assert error == UNKNOWN


@with_two_connections
def test_concurrent_tag_changes_are_all_kept():
    project = ProjectFactory()

    def set_tag(number):
        body = {"experiment_id": project.pk, "key": f"k{number}", "value": "x"}
        return MlflowClient().post_json("/api/2.0/mlflow/experiments/set-experiment-tag", body)

    in_parallel(*[lambda number=number: set_tag(number) for number in range(4)])

    project.refresh_from_db()
    assert sorted(project.experiment_tags) == ["k0", "k1", "k2", "k3"]


# --- search ----------------------------------------------------------------------------------


def names(response):
    return [experiment["name"] for experiment in response["experiments"]]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (None, {"a", "b"}),
        ("ACTIVE_ONLY", {"a", "b"}),
        ("DELETED_ONLY", {"gone"}),
        ("ALL", {"a", "b", "gone"}),
    ],
)
def test_search_by_lifecycle_stage(mlflow, view, expected):
    ProjectFactory(name="a")
    ProjectFactory(name="b", status=ProjectStatus.ACTIVE)
    ProjectFactory(name="gone", status=ProjectStatus.ARCHIVED)

    assert set(names(mlflow.post_ok("experiments/search", view_type=view))) == expected


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("name = 'nlp'", ["nlp"]),
        ("attribute.name LIKE '%l%'", ["nlp", "llm"]),
        ("name ILIKE 'NL%'", ["nlp"]),
        ("tags.team = 'x'", ["nlp"]),
        ("tags.team != 'x'", ["llm"]),
        ("tags.`7` = 'seven'", ["nlp"]),
        ("tags.\"mlflow.note.content\" = 'about'", ["vision"]),
        ("name = 'nlp' OR name = 'vision'", ["nlp", "vision"]),
        ("creation_time > 0 AND last_update_time < 32503680000000", ["nlp", "llm", "vision"]),
        ("experiment_id = 'none'", []),
    ],
)
def test_search_by_filter(mlflow, filter, expected):
    ProjectFactory(name="nlp", experiment_tags={"team": "x", "7": "seven"})
    ProjectFactory(name="llm", experiment_tags={"team": "y"})
    ProjectFactory(name="vision", description="about")

    response = mlflow.post_ok("experiments/search", filter=filter, order_by=["creation_time ASC"])

    assert names(response) == expected


def test_search_with_get_pages_in_requested_order(mlflow):
    for name in "caebd":
        ProjectFactory(name=name)

    seen, token = [], None
    for _page in range(3):
        query = {"order_by": ["name DESC"], "max_results": 2} | (
            {"page_token": token} if token else {}
        )
        response = mlflow.get_ok("experiments/search", **query)
        seen += names(response)
        token = response["next_page_token"]

    assert seen == ["e", "d", "c", "b", "a"]
    assert token == ""


@pytest.mark.parametrize(
    "body",
    [
        {"filter": "metrics.loss > 1"},
        {"filter": "nonsense = 'x'"},
        {"filter": "name ="},
        {"order_by": ["params.x"]},
        {"max_results": 0},
        {"max_results": 50_001},
        {"view_type": "SOME"},
        {"page_token": "nonsense"},
        {"page_token": "WyJ4Il0="},
    ],
    ids=str,
)
def test_invalid_search_is_rejected(mlflow, body):
    assert mlflow.error("experiments/search", **body) == INVALID
