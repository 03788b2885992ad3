"""Experiments: projects under MLflow's names and rules."""

import pytest

from projects.models import Project, ProjectStatus
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory
from tests.tracking.conftest import MlflowClient

pytestmark = pytest.mark.django_db
with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)

INVALID = (400, "INVALID_PARAMETER_VALUE")
UNKNOWN = (404, "RESOURCE_DOES_NOT_EXIST")
EXISTS = (400, "RESOURCE_ALREADY_EXISTS")


def test_created_experiment_is_a_project_with_its_description_and_tags(mlflow):
    tags = [{"key": "mlflow.note.content", "value": "摘要"}, {"key": "team", "value": "nlp"}]

    answer = mlflow.tell("experiments/create", name="中文/摘要", tags=tags)

    project = Project.objects.get(pk=answer["experiment_id"])
    assert (project.name, project.description) == ("中文/摘要", "摘要")
    assert project.experiment_tags == {"team": "nlp"}
    assert project.version == 1


def test_experiment_is_answered_as_clients_read_it(mlflow):
    project = ProjectFactory(description="about", experiment_tags={"b": "2", "a": "1"})

    experiment = mlflow.ask("experiments/get", experiment_id=project.pk)["experiment"]

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


def test_name_that_exists_is_refused_even_if_archived(mlflow):
    ProjectFactory(name="x", status=ProjectStatus.ARCHIVED)

    assert mlflow.refused("experiments/create", name="x") == EXISTS
    assert Project.objects.count() == 1


@with_two_connections
def test_of_several_that_create_a_name_at_once_exactly_one_wins():
    def create():
        client = MlflowClient()
        return client.post_json("/api/2.0/mlflow/experiments/create", {"name": "race"})

    answers = in_parallel(*[create] * 4)

    assert sorted(answer.status_code for answer in answers) == [200, 400, 400, 400]
    assert Project.objects.filter(name="race").count() == 1


@pytest.mark.parametrize("name", ["", " ", "x" * 201, "a\0b"])
def test_bad_name_is_refused(mlflow, name):
    assert mlflow.refused("experiments/create", name=name) == INVALID
    assert not Project.objects.exists()


def test_oldest_of_a_name_is_found(mlflow):
    oldest = ProjectFactory(name="twice")
    ProjectFactory(name="twice")

    found = mlflow.ask("experiments/get-by-name", experiment_name="twice")

    assert found["experiment"]["experiment_id"] == oldest.pk


@pytest.mark.parametrize("id", ["none", "proj_4k0wz81mt2qd", "a\0", "x" * 300])
def test_unknown_experiment_is_told(mlflow, id):
    assert mlflow.refused("experiments/get", "get", experiment_id=id)[0] in (400, 404)
    assert mlflow.refused("experiments/delete", experiment_id=id)[0] in (400, 404)


def test_unknown_name_is_told(mlflow):
    assert mlflow.refused("experiments/get-by-name", "get", experiment_name="x") == UNKNOWN


# --- the default -----------------------------------------------------------------------------


def test_default_experiment_is_made_when_first_needed_and_then_found(mlflow):
    first = mlflow.ask("experiments/get", experiment_id="0")["experiment"]
    again = mlflow.ask("experiments/get-by-name", experiment_name="Default")["experiment"]

    assert first["experiment_id"] == again["experiment_id"] != "0"
    assert Project.objects.filter(name="Default").count() == 1


@with_two_connections
def test_default_experiment_needed_by_several_at_once_is_made_once():
    address = "/api/2.0/mlflow/experiments/get?experiment_id=0"

    answers = in_parallel(*[lambda: MlflowClient().get(address)] * 4)

    assert [answer.status_code for answer in answers] == [200] * 4
    assert Project.objects.filter(name="Default").count() == 1


# --- changing --------------------------------------------------------------------------------


def test_rename_is_a_new_version(mlflow):
    project = ProjectFactory()

    assert mlflow.tell("experiments/update", experiment_id=project.pk, new_name="new") == {}

    project.refresh_from_db()
    assert (project.name, project.version) == ("new", 2)


def test_rename_to_anothers_name_is_refused_and_to_its_own_is_not(mlflow):
    project, other = ProjectFactory(name="mine"), ProjectFactory(name="theirs")

    taken = mlflow.refused("experiments/update", experiment_id=project.pk, new_name=other.name)

    assert taken == EXISTS
    assert mlflow.tell("experiments/update", experiment_id=project.pk, new_name="mine") == {}


def test_deleted_experiment_is_archived_and_restored_is_taken_up_again(mlflow):
    project = ProjectFactory()

    mlflow.tell("experiments/delete", experiment_id=project.pk)
    project.refresh_from_db()
    assert project.status == ProjectStatus.ARCHIVED
    experiment = mlflow.ask("experiments/get", experiment_id=project.pk)["experiment"]
    assert experiment["lifecycle_stage"] == "deleted"

    mlflow.tell("experiments/restore", experiment_id=project.pk)
    project.refresh_from_db()
    assert project.status == ProjectStatus.ACTIVE


def test_tag_is_set_and_deleted(mlflow):
    project = ProjectFactory(experiment_tags={"kept": "1"})

    mlflow.tell("experiments/set-experiment-tag", experiment_id=project.pk, key="a", value="中")
    project.refresh_from_db()
    assert project.experiment_tags == {"kept": "1", "a": "中"}

    mlflow.tell("experiments/delete-experiment-tag", experiment_id=project.pk, key="a")
    project.refresh_from_db()
    assert project.experiment_tags == {"kept": "1"}


def test_note_is_the_description_both_ways(mlflow):
    project = ProjectFactory()
    note = {"experiment_id": project.pk, "key": "mlflow.note.content"}

    mlflow.tell("experiments/set-experiment-tag", **note, value="about")
    project.refresh_from_db()
    assert (project.description, project.experiment_tags, project.version) == ("about", {}, 2)

    mlflow.tell("experiments/delete-experiment-tag", **note)
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
def test_bad_tag_is_refused(mlflow, tag):
    project = ProjectFactory()

    refused = mlflow.refused("experiments/set-experiment-tag", experiment_id=project.pk, **tag)

    assert refused == INVALID


def test_missing_tag_cannot_be_deleted(mlflow):
    project = ProjectFactory()

    refused = mlflow.refused("experiments/delete-experiment-tag", experiment_id=project.pk, key="a")

    assert refused == UNKNOWN


@with_two_connections
def test_tags_set_at_once_are_all_there():
    project = ProjectFactory()

    def set_tag(number):
        body = {"experiment_id": project.pk, "key": f"k{number}", "value": "x"}
        return MlflowClient().post_json("/api/2.0/mlflow/experiments/set-experiment-tag", body)

    in_parallel(*[lambda number=number: set_tag(number) for number in range(4)])

    project.refresh_from_db()
    assert sorted(project.experiment_tags) == ["k0", "k1", "k2", "k3"]


# --- search ----------------------------------------------------------------------------------


def names(answer):
    return [experiment["name"] for experiment in answer["experiments"]]


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        (None, {"a", "b"}),
        ("ACTIVE_ONLY", {"a", "b"}),
        ("DELETED_ONLY", {"gone"}),
        ("ALL", {"a", "b", "gone"}),
    ],
)
def test_search_by_stage_of_life(mlflow, view, expected):
    ProjectFactory(name="a")
    ProjectFactory(name="b", status=ProjectStatus.ACTIVE)
    ProjectFactory(name="gone", status=ProjectStatus.ARCHIVED)

    assert set(names(mlflow.tell("experiments/search", view_type=view))) == expected


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

    found = mlflow.tell("experiments/search", filter=filter, order_by=["creation_time ASC"])

    assert names(found) == expected


def test_search_by_get_pages_in_the_order_asked_for(mlflow):
    for name in "caebd":
        ProjectFactory(name=name)

    seen, token = [], None
    for _page in range(3):
        query = {"order_by": ["name DESC"], "max_results": 2} | (
            {"page_token": token} if token else {}
        )
        answer = mlflow.ask("experiments/search", **query)
        seen += names(answer)
        token = answer["next_page_token"]

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
def test_search_for_nonsense_is_refused(mlflow, body):
    assert mlflow.refused("experiments/search", **body) == INVALID
