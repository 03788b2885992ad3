"""Model registry over the MLflow protocol: endpoints, responses, error codes."""

import json
from datetime import UTC, datetime

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import Token
from artifacts.kinds import TagValue
from core.times import milliseconds
from registry.logged_models import LoggedModel
from registry.models import RegisteredModel
from registry.queries import ModelPoint
from runs import inputs
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db

MODELS = "/api/2.0/mlflow/registered-models"
VERSIONS = "/api/2.0/mlflow/model-versions"
LOGGED = "/api/2.0/mlflow/logged-models"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
LONG_AGO = datetime(2001, 1, 1, tzinfo=UTC)


class Mlflow:
    """Requests as MLflow clients send them: as the query for GET, else as a JSON body."""

    def __init__(self):
        self.http = ApiClient()

    def __call__(self, method, path, **message):
        if method == "GET":
            return self.http.get(path, message)
        return self.http.generic(method, path, json.dumps(message), "application/json")

    def ok(self, method, path, **message):
        response = self(method, path, **message)
        assert response.status_code == 200, response.content
        return response.json()

    def error_code(self, method, path, **message):
        response = self(method, path, **message)
        assert 400 <= response.status_code < 500, response.content
        return response.json()["error_code"]

    def register(self, name="summarizer", **fields):
        return self.ok("POST", f"{MODELS}/create", name=name, **fields)["registered_model"]

    def add_version(self, name="summarizer", source="s3://external/model", **fields):
        message = {"name": name, "source": source, **fields}
        return self.ok("POST", f"{VERSIONS}/create", **message)["model_version"]

    def version(self, number="1", name="summarizer"):
        return self.ok("GET", f"{VERSIONS}/get", name=name, version=number)["model_version"]

    def log_model(self, project, **fields):
        return self.ok("POST", LOGGED, experiment_id=project.pk, **fields)["model"]


@pytest.fixture
def mlflow():
    return Mlflow()


# --- registered models -----------------------------------------------------------------------


def test_get_returns_the_created_model(mlflow):
    mlflow.register(description="摘要", tags=[{"key": "team", "value": "nlp"}])

    model = mlflow.ok("GET", f"{MODELS}/get", name="summarizer")["registered_model"]

    assert model["name"] == "summarizer"
    assert model["description"] == "摘要"
    assert model["tags"] == [{"key": "team", "value": "nlp"}]
    assert model["latest_versions"] == model["aliases"] == []
    assert 1.7e12 < model["creation_timestamp"] <= model["last_updated_timestamp"]


def test_create_rejects_taken_name(mlflow):
    mlflow.register()

    assert mlflow.error_code("POST", f"{MODELS}/create", name="summarizer") == (
        "RESOURCE_ALREADY_EXISTS"
    )


@pytest.mark.parametrize("name", ["", " ", "a/b", "a:b", "..", "x" * 257, "a\x00", None, 3])
def test_name_invalid_in_uri_is_rejected(mlflow, name):
    assert mlflow.error_code("POST", f"{MODELS}/create", name=name) == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"{MODELS}/get"),
        ("PATCH", f"{MODELS}/update"),
        ("DELETE", f"{MODELS}/delete"),
        ("POST", f"{MODELS}/get-latest-versions"),
    ],
)
def test_unknown_name_is_not_found(mlflow, method, path):
    assert mlflow.error_code(method, path, name="nobody") == "RESOURCE_DOES_NOT_EXIST"


def test_rename_keeps_the_versions(mlflow):
    mlflow.register()
    mlflow.add_version()

    mlflow.ok("POST", f"{MODELS}/rename", name="summarizer", new_name="writer")

    assert mlflow.version(name="writer")["name"] == "writer"
    assert mlflow.error_code("GET", f"{MODELS}/get", name="summarizer") == "RESOURCE_DOES_NOT_EXIST"


def test_rename_rejects_taken_name(mlflow):
    mlflow.register("a")
    mlflow.register("b")

    error_code = mlflow.error_code("POST", f"{MODELS}/rename", name="a", new_name="b")

    assert error_code == "RESOURCE_ALREADY_EXISTS"


def test_update_changes_the_description(mlflow):
    mlflow.register()

    response = mlflow.ok("PATCH", f"{MODELS}/update", name="summarizer", description="new")

    assert response["registered_model"]["description"] == "new"


def test_delete_removes_model_and_versions(mlflow):
    mlflow.register()
    mlflow.add_version()

    mlflow.ok("DELETE", f"{MODELS}/delete", name="summarizer")

    assert mlflow.error_code("GET", f"{MODELS}/get", name="summarizer") == "RESOURCE_DOES_NOT_EXIST"
    assert mlflow.ok("GET", f"{VERSIONS}/search")["model_versions"] == []


def test_tag_of_a_model_is_set_and_deleted(mlflow):
    mlflow.register()
    mlflow.ok("POST", f"{MODELS}/set-tag", name="summarizer", key="a", value="1")
    mlflow.ok("POST", f"{MODELS}/set-tag", name="summarizer", key="b", value="2")

    mlflow.ok("DELETE", f"{MODELS}/delete-tag", name="summarizer", key="a")

    model = mlflow.ok("GET", f"{MODELS}/get", name="summarizer")["registered_model"]
    assert model["tags"] == [{"key": "b", "value": "2"}]


def test_search_returns_consecutive_pages(mlflow):
    for name in "abcde":
        mlflow.register(name)

    names, token = [], ""
    for _page in range(3):
        page = mlflow.ok("GET", f"{MODELS}/search", max_results=2, page_token=token)
        names += [model["name"] for model in page["registered_models"]]
        token = page.get("next_page_token", "")

    assert names == list("abcde")
    assert token == ""


def test_search_orders_and_filters(mlflow):
    for name in ("a1", "a2", "b"):
        mlflow.register(name)

    page = mlflow.ok("GET", f"{MODELS}/search", filter="name LIKE 'a%'", order_by=["name DESC"])

    assert [model["name"] for model in page["registered_models"]] == ["a2", "a1"]


@pytest.mark.parametrize(
    "message",
    [
        {"max_results": 0},
        {"max_results": 1001},
        {"max_results": "x"},
        {"page_token": "x"},
        {"page_token": "LTE="},
        {"page_token": "é"},
        {"page_token": "OTk5OTk5OTk5OTk5OTk5OTk5OTk="},
        {"filter": "nonsense"},
        {"order_by": ["nonsense"]},
    ],
)
@pytest.mark.parametrize("path", [f"{MODELS}/search", f"{VERSIONS}/search"])
def test_invalid_search_is_rejected(mlflow, path, message):
    if path.startswith(VERSIONS) and message == {"max_results": 1001}:
        message = {"max_results": 200_001}

    assert mlflow.error_code("GET", path, **message) == "INVALID_PARAMETER_VALUE"


def test_search_query_count_is_constant(mlflow):
    counts = []
    for name in "ab":
        mlflow.register(name)
        mlflow.add_version(name)
        mlflow.ok("POST", f"{MODELS}/alias", name=name, alias="x", version="1")
        with CaptureQueriesContext(connection) as queries:
            mlflow.ok("GET", f"{MODELS}/search")
            mlflow.ok("GET", f"{VERSIONS}/search")
        counts.append(len(queries))

    assert counts[0] == counts[1]


def test_latest_versions_are_the_newest_in_each_stage(mlflow):
    mlflow.register()
    for number, stage in enumerate(["Production", "None", "Production", "Staging"], start=1):
        mlflow.add_version()
        message = {"name": "summarizer", "version": str(number), "stage": stage}
        mlflow.ok("POST", f"{VERSIONS}/transition-stage", **message)

    def latest(**stages):
        message = {"name": "summarizer", **stages}
        response = mlflow.ok("POST", f"{MODELS}/get-latest-versions", **message)
        return {item["current_stage"]: item["version"] for item in response["model_versions"]}

    assert latest() == {"Production": "3", "None": "2", "Staging": "4"}
    assert latest(stages=["production"]) == {"Production": "3"}


# --- versions --------------------------------------------------------------------------------


def test_get_returns_the_created_version(mlflow):
    run = RunFactory()
    mlflow.register()

    mlflow.add_version(
        run_id=run.pk,
        description="first",
        run_link="http://external",
        tags=[{"key": "a", "value": "1"}],
    )

    version = mlflow.version()
    assert (version["version"], version["status"]) == ("1", "READY")
    assert (version["source"], version["run_id"]) == ("s3://external/model", run.pk)
    assert (version["description"], version["run_link"]) == ("first", "http://external")
    assert (version["current_stage"], version["aliases"]) == ("None", [])
    assert version["tags"] == [{"key": "a", "value": "1"}]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"source": ""}, "INVALID_PARAMETER_VALUE"),
        ({"source": "mlflow-artifacts:/a/../b"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "http://[x/model"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "models:/a/b"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "models:/nobody/1"}, "RESOURCE_DOES_NOT_EXIST"),
        ({"source": "models:/m-" + "0" * 32}, "RESOURCE_DOES_NOT_EXIST"),
        ({"source": "s3://x", "model_id": "nobody"}, "RESOURCE_DOES_NOT_EXIST"),
        ({"source": "/etc"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "file:///etc"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "fi\tle:///etc"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "C:\\models"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "s3://bucket/%2e%2e/x"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "s3://bucket/a%252F..%252Fx"}, "INVALID_PARAMETER_VALUE"),
        ({"source": "relative/path"}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_invalid_source_is_rejected(mlflow, fields, code):
    mlflow.register()

    assert mlflow.error_code("POST", f"{VERSIONS}/create", name="summarizer", **fields) == code
    assert mlflow.ok("GET", f"{VERSIONS}/search")["model_versions"] == []


@pytest.mark.parametrize("number", ["", "x", "-1", "1.0", "²", "9" * 10, "9" * 11])
def test_invalid_version_number_is_rejected(mlflow, number):
    mlflow.register()

    assert mlflow.error_code("GET", f"{VERSIONS}/get", name="summarizer", version=number) in (
        "INVALID_PARAMETER_VALUE",
        "RESOURCE_DOES_NOT_EXIST",
    )


def test_update_of_a_version_changes_the_description(mlflow):
    mlflow.register()
    mlflow.add_version()

    message = {"name": "summarizer", "version": "1", "description": "new"}
    response = mlflow.ok("PATCH", f"{VERSIONS}/update", **message)

    assert response["model_version"]["description"] == "new"


def test_delete_removes_version_and_aliases(mlflow):
    mlflow.register()
    mlflow.add_version()
    mlflow.ok("POST", f"{MODELS}/alias", name="summarizer", alias="best", version="1")

    mlflow.ok("DELETE", f"{VERSIONS}/delete", name="summarizer", version="1")

    assert mlflow.error_code("GET", f"{VERSIONS}/get", name="summarizer", version="1") == (
        "RESOURCE_DOES_NOT_EXIST"
    )
    model = mlflow.ok("GET", f"{MODELS}/get", name="summarizer")["registered_model"]
    assert model["aliases"] == []


def test_versions_are_filtered_by_supported_fields(mlflow):
    run = RunFactory()
    mlflow.register("a")
    mlflow.register("b")
    mlflow.add_version("a", run_id=run.pk)
    mlflow.add_version("a", tags=[{"key": "k", "value": "v"}])
    mlflow.add_version("b", source="s3://b")

    def search(text):
        page = mlflow.ok("GET", f"{VERSIONS}/search", filter=text, order_by=["version_number ASC"])
        return [(version["name"], version["version"]) for version in page["model_versions"]]

    assert search("name = 'a'") == [("a", "1"), ("a", "2")]
    assert search(f"run_id = '{run.pk}'") == [("a", "1")]
    assert search("tags.k = 'v'") == [("a", "2")]
    assert search("source_path LIKE 's3://b%'") == [("b", "1")]
    assert search("name = 'a' AND version_number > 1") == [("a", "2")]


def test_versions_of_one_number_are_in_the_order_of_their_names(mlflow):
    for name in ("b", "c", "a"):
        mlflow.register(name)
        mlflow.add_version(name)

    found = mlflow.ok("GET", f"{VERSIONS}/search", order_by=["version_number DESC"])

    assert [version["name"] for version in found["model_versions"]] == ["a", "b", "c"]


@pytest.mark.parametrize("order", [[], ["version_number DESC"], ["run_id ASC", "name DESC"]])
def test_version_search_returns_consecutive_pages(mlflow, order):
    mlflow.register("a")
    mlflow.register("b")
    for name in "aba":
        mlflow.add_version(name)

    paged, token = [], ""
    while not paged or token:
        message = {"order_by": order, "max_results": 1, "page_token": token}
        page = mlflow.ok("GET", f"{VERSIONS}/search", **message)
        paged += [(item["name"], item["version"]) for item in page["model_versions"]]
        token = page["next_page_token"]

    versions = mlflow.ok("GET", f"{VERSIONS}/search", order_by=order)["model_versions"]
    assert paged == [(item["name"], item["version"]) for item in versions]
    assert sorted(paged) == [("a", "1"), ("a", "2"), ("b", "1")]


def test_tag_of_a_version_is_set_and_deleted(mlflow):
    mlflow.register()
    mlflow.add_version()
    version = {"name": "summarizer", "version": "1"}
    mlflow.ok("POST", f"{VERSIONS}/set-tag", **version, key="a", value="1")
    mlflow.ok("POST", f"{VERSIONS}/set-tag", **version, key="b", value="2")

    mlflow.ok("DELETE", f"{VERSIONS}/delete-tag", **version, key="a")

    assert mlflow.version()["tags"] == [{"key": "b", "value": "2"}]


# --- aliases and stages ----------------------------------------------------------------------


def test_alias_moves_to_another_version(mlflow):
    mlflow.register()
    mlflow.add_version()
    mlflow.add_version()
    for number in ("1", "2"):
        mlflow.ok("POST", f"{MODELS}/alias", name="summarizer", alias="best", version=number)

    message = {"name": "summarizer", "alias": "best"}
    version = mlflow.ok("GET", f"{MODELS}/alias", **message)["model_version"]

    assert (version["version"], version["aliases"]) == ("2", ["best"])
    assert mlflow.version("1")["aliases"] == []


def test_deleted_alias_is_an_error(mlflow):
    mlflow.register()
    mlflow.add_version()
    mlflow.ok("POST", f"{MODELS}/alias", name="summarizer", alias="best", version="1")

    mlflow.ok("DELETE", f"{MODELS}/alias", name="summarizer", alias="best")

    error_code = mlflow.error_code("GET", f"{MODELS}/alias", name="summarizer", alias="best")
    assert error_code == "INVALID_PARAMETER_VALUE"


def test_alias_latest_is_the_newest_version(mlflow):
    mlflow.register()
    mlflow.add_version()
    mlflow.add_version()

    response = mlflow.ok("GET", f"{MODELS}/alias", name="summarizer", alias="latest")

    assert response["model_version"]["version"] == "2"


@pytest.mark.parametrize("alias", ["", "latest", "Latest", "v1", "V12", "a b", "a/b", "x" * 256])
def test_invalid_or_reserved_alias_is_rejected(mlflow, alias):
    mlflow.register()
    mlflow.add_version()

    error_code = mlflow.error_code(
        "POST", f"{MODELS}/alias", name="summarizer", alias=alias, version="1"
    )

    assert error_code == "INVALID_PARAMETER_VALUE"


def last_updated(mlflow):
    model = mlflow.ok("GET", f"{MODELS}/get", name="summarizer")["registered_model"]
    return model["last_updated_timestamp"]


@pytest.mark.parametrize(
    ("method", "path", "fields"),
    [
        ("POST", f"{VERSIONS}/transition-stage", {"stage": "Staging"}),
        ("DELETE", f"{VERSIONS}/delete", {}),
    ],
)
@pytest.mark.parametrize("of_checkpoint", [False, True])
def test_change_of_a_version_updates_its_model(mlflow, method, path, fields, of_checkpoint):
    mlflow.register()
    artifact = checkpoint(RunFactory())
    mlflow.add_version(source=artifact.path if of_checkpoint else "s3://external/model")
    RegisteredModel.objects.update(updated_at=LONG_AGO)

    mlflow.ok(method, path, name="summarizer", version="1", **fields)

    assert last_updated(mlflow) > milliseconds(LONG_AGO)


def test_unknown_stage_is_rejected(mlflow):
    mlflow.register()
    mlflow.add_version()

    message = {"name": "summarizer", "version": "1", "stage": "Beta"}
    error_code = mlflow.error_code("POST", f"{VERSIONS}/transition-stage", **message)

    assert error_code == "INVALID_PARAMETER_VALUE"


def test_archiving_existing_versions_requires_active_stage(mlflow):
    mlflow.register()
    mlflow.add_version()

    message = {"name": "summarizer", "version": "1", "stage": "Archived"}
    error_code = mlflow.error_code(
        "POST", f"{VERSIONS}/transition-stage", **message, archive_existing_versions=True
    )

    assert error_code == "INVALID_PARAMETER_VALUE"


# --- checkpoints -----------------------------------------------------------------------------


def sources_of(artifact):
    run = artifact.run
    return [
        artifact.path,
        f"mlflow-artifacts:/{run.project_id}/{run.pk}/artifacts/{artifact.file}",
        f"mlflow-artifacts://trainhub:8000/{run.project_id}/{run.pk}/artifacts/{artifact.file}",
        f"runs:/{run.pk}/{artifact.file}",
    ]


@pytest.mark.parametrize("form", range(4))
def test_stage_tags_the_source_checkpoint(mlflow, form):
    artifact = checkpoint(RunFactory())
    mlflow.register()
    mlflow.add_version(source=sources_of(artifact)[form])

    message = {"name": "summarizer", "version": "1", "stage": "Production"}
    mlflow.ok("POST", f"{VERSIONS}/transition-stage", **message)

    tag = artifact.tags.get()
    assert (tag.value, tag.applied_by.get_username()) == ("发布", "admin")


def test_checkpoint_tagged_in_trainhub_is_released_in_registry(mlflow):
    artifact = checkpoint(RunFactory())
    mlflow.register()
    mlflow.add_version(source=artifact.path)

    artifact.tag(TagValue.RELEASED, notes="", by=None)

    version = mlflow.ok("GET", f"{MODELS}/alias", name="summarizer", alias="released")
    assert version["model_version"]["version"] == "1"
    assert version["model_version"]["current_stage"] == "Production"


def test_alias_tags_the_checkpoint(mlflow):
    artifact = checkpoint(RunFactory())
    mlflow.register()
    mlflow.add_version(source=artifact.path)

    mlflow.ok("POST", f"{MODELS}/alias", name="summarizer", alias="candidate", version="1")

    assert artifact.tags.get().value == "候选"
    assert mlflow.version()["current_stage"] == "Staging"


@pytest.mark.parametrize("form", range(4))
def test_checkpoint_is_downloaded_through_trainhub(mlflow, form):
    artifact = checkpoint(RunFactory())
    run = artifact.run
    mlflow.register()
    mlflow.add_version(source=sources_of(artifact)[form])

    response = mlflow.ok("GET", f"{VERSIONS}/get-download-uri", name="summarizer", version="1")

    assert response["artifact_uri"] == (
        f"mlflow-artifacts:/{run.project_id}/{run.pk}/artifacts/{artifact.file}"
    )


def test_renamed_checkpoint_is_downloaded_from_its_current_path(mlflow):
    artifact = checkpoint(RunFactory())
    mlflow.register()
    mlflow.add_version(source=artifact.path)
    artifact.file = "elsewhere.pt"
    artifact.save()

    response = mlflow.ok("GET", f"{VERSIONS}/get-download-uri", name="summarizer", version="1")

    assert response["artifact_uri"].endswith("/artifacts/elsewhere.pt")


def test_external_source_is_downloaded_directly(mlflow):
    mlflow.register()
    mlflow.add_version(source="s3://external/model")

    response = mlflow.ok("GET", f"{VERSIONS}/get-download-uri", name="summarizer", version="1")

    assert response["artifact_uri"] == "s3://external/model"


def test_copied_version_refers_to_the_same_checkpoint(mlflow):
    artifact = checkpoint(RunFactory())
    mlflow.register("a")
    mlflow.register("b")
    mlflow.add_version("a", source=artifact.path)

    mlflow.add_version("b", source="models:/a/1")

    assert artifact.model_versions.count() == 2


# --- logged models ---------------------------------------------------------------------------


def test_get_returns_the_created_logged_model(mlflow):
    run = RunFactory()

    model_id = mlflow.log_model(
        run.project,
        name="best",
        model_type="agent",
        source_run_id=run.pk,
        params=[{"key": "lr", "value": "0.1"}],
        tags=[{"key": "a", "value": "1"}],
    )["info"]["model_id"]

    model = mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]
    info = model["info"]
    assert (info["name"], info["model_type"], info["source_run_id"]) == ("best", "agent", run.pk)
    assert (info["experiment_id"], info["status"]) == (run.project_id, "LOGGED_MODEL_PENDING")
    assert info["artifact_uri"] == (
        f"mlflow-artifacts:/{run.project_id}/models/{model_id}/artifacts"
    )
    assert info["tags"] == [{"key": "a", "value": "1"}]
    assert model["data"] == {"params": [{"key": "lr", "value": "0.1"}], "metrics": []}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"experiment_id": "nobody"}, "RESOURCE_DOES_NOT_EXIST"),
        ({"name": "a/b"}, "INVALID_PARAMETER_VALUE"),
        ({"name": ""}, "INVALID_PARAMETER_VALUE"),
        ({"params": [{"key": "\x00"}]}, "INVALID_PARAMETER_VALUE"),
        ({"tags": [{"key": "k", "value": "\ud800"}]}, "INVALID_PARAMETER_VALUE"),
    ],
)
def test_invalid_logged_model_is_rejected(mlflow, fields, code):
    message = {"experiment_id": ProjectFactory().pk, **fields}

    assert mlflow.error_code("POST", LOGGED, **message) == code
    assert not LoggedModel.objects.exists()


@pytest.mark.parametrize("status", ["LOGGED_MODEL_READY", 2, "LOGGED_MODEL_UPLOAD_FAILED"])
def test_logged_model_is_finalized(mlflow, status):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]

    response = mlflow.ok("PATCH", f"{LOGGED}/{model_id}", model_id=model_id, status=status)

    assert response["model"]["info"]["status"] == {2: "LOGGED_MODEL_READY"}.get(status, status)


def test_unknown_status_is_rejected(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]

    error_code = mlflow.error_code("PATCH", f"{LOGGED}/{model_id}", status="DONE")

    assert error_code == "INVALID_PARAMETER_VALUE"


def test_deleted_logged_model_requires_allow_deleted(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]

    mlflow.ok("DELETE", f"{LOGGED}/{model_id}", model_id=model_id)

    assert mlflow.error_code("GET", f"{LOGGED}/{model_id}") == "RESOURCE_DOES_NOT_EXIST"
    assert mlflow.ok("GET", f"{LOGGED}/{model_id}", allow_deleted="true")["model"]


def test_tags_of_a_logged_model_are_set_and_deleted(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]
    tags = [{"key": "a/b", "value": "1"}, {"key": "c", "value": "2"}]
    mlflow.ok("PATCH", f"{LOGGED}/{model_id}/tags", tags=tags)

    mlflow.ok("DELETE", f"{LOGGED}/{model_id}/tags/a/b")

    model = mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]
    assert model["info"]["tags"] == [{"key": "c", "value": "2"}]


def test_tag_that_a_logged_model_does_not_have_is_not_found(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]

    assert mlflow.error_code("DELETE", f"{LOGGED}/{model_id}/tags/nope") == (
        "RESOURCE_DOES_NOT_EXIST"
    )


def test_version_of_a_logged_model_is_noted_in_its_tags(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]
    mlflow.register()

    mlflow.add_version(model_id=model_id)
    mlflow.add_version(source=f"models:/{model_id}")

    info = mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]["info"]
    noted = {tag["key"]: json.loads(tag["value"]) for tag in info["tags"]}
    assert noted == {
        "mlflow.modelVersions": [
            {"name": "summarizer", "version": 1},
            {"name": "summarizer", "version": 2},
        ]
    }


def test_params_of_a_logged_model_are_added(mlflow):
    model_id = mlflow.log_model(ProjectFactory())["info"]["model_id"]

    params = [{"key": "lr", "value": "1"}]
    mlflow.ok("POST", f"{LOGGED}/{model_id}/params", model_id=model_id, params=params)

    changed = [{"key": "lr", "value": "2"}]
    error_code = mlflow.error_code("POST", f"{LOGGED}/{model_id}/params", params=changed)
    assert error_code == "INVALID_PARAMETER_VALUE"
    assert mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]["data"]["params"] == params


def test_logged_model_search_is_limited_to_experiments(mlflow):
    project, other = ProjectFactory(), ProjectFactory()
    run = RunFactory(project=project)
    mlflow.log_model(project, name="a", source_run_id=run.pk)
    mlflow.log_model(project, name="b", params=[{"key": "lr", "value": "1"}])
    mlflow.log_model(other, name="a")

    def search(filter="", **fields):
        message = {"experiment_ids": [project.pk], "filter": filter, **fields}
        page = mlflow.ok("POST", f"{LOGGED}/search", **message)
        return [model["info"]["name"] for model in page["models"]]

    assert sorted(search()) == ["a", "b"]
    assert search("name = 'a'") == ["a"]
    assert search(f"source_run_id='{run.pk}'") == ["a"]
    assert search("params.lr = '1'") == ["b"]
    assert search(order_by=[{"field_name": "name", "ascending": False}]) == ["b", "a"]
    assert search(max_results=1, order_by=[{"field_name": "name"}]) == ["a"]


def test_logged_models_are_filtered_and_sorted_by_metrics(mlflow):
    run = RunFactory()
    for name, loss in (("a", 0.5), ("b", 0.1), ("c", None)):
        model_id = mlflow.log_model(run.project, name=name)["info"]["model_id"]
        if loss is not None:
            point = ModelPoint(model_id, "loss", loss, 0, 0, dataset_name="eval")
            LoggedModel.objects.record_metrics(run.pk, [point])

    def search(**message):
        message = {"experiment_ids": [run.project_id], **message}
        page = mlflow.ok("POST", f"{LOGGED}/search", **message)
        return [model["info"]["name"] for model in page["models"]]

    assert search(filter="metrics.loss < 0.3") == ["b"]
    assert search(filter="metrics.loss < 0.3", datasets=[{"dataset_name": "train"}]) == []
    assert search(datasets=[{"dataset_name": "eval"}]) == ["b", "a"]
    assert search(order_by=[{"field_name": "metrics.loss"}]) == ["b", "a", "c"]
    assert search(order_by=[{"field_name": "metrics.loss", "ascending": False}]) == ["a", "b", "c"]


def test_logged_models_without_a_name_get_one_each(mlflow):
    project = ProjectFactory()

    names = {mlflow.log_model(project)["info"]["name"] for _number in range(2)}

    assert len(names) == 2


def test_logged_model_search_sorted_by_metric_returns_consecutive_pages(mlflow):
    run = RunFactory()
    for name, loss in {"a": 0.5, "b": float("nan"), "c": None, "d": 0.1, "e": 0.5}.items():
        model_id = mlflow.log_model(run.project, name=name)["info"]["model_id"]
        if loss is not None:
            points = [
                ModelPoint(model_id, "loss", loss, 0, 0, dataset_name="eval"),
                ModelPoint(model_id, "loss", 1 - loss, 0, 1, dataset_name="train"),
            ]
            LoggedModel.objects.record_metrics(run.pk, points)
    order = [{"field_name": "metrics.loss", "dataset_name": "eval"}]
    message = {"experiment_ids": [run.project_id], "order_by": order, "max_results": 1}

    names, token = [], ""
    while not names or token:
        page = mlflow.ok("POST", f"{LOGGED}/search", **message, page_token=token)
        names += [model["info"]["name"] for model in page["models"]]
        token = page["next_page_token"]

    assert names == ["d", "e", "a", "b", "c"]  # ties: newest first


@pytest.mark.parametrize("field", ["nonsense", "tags.a", "params.a", "metrics", "name DESC"])
def test_invalid_sort_field_of_logged_models_is_rejected(mlflow, field):
    error_code = mlflow.error_code("POST", f"{LOGGED}/search", order_by=[{"field_name": field}])

    assert error_code == "INVALID_PARAMETER_VALUE"


def test_non_finite_model_metric_is_a_string(mlflow):
    run = RunFactory()
    model_id = mlflow.log_model(run.project)["info"]["model_id"]
    points = [ModelPoint(model_id, key, float(key), 5, 1) for key in ("nan", "inf", "-inf", "1")]

    LoggedModel.objects.record_metrics(run.pk, points)

    metrics = mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]["data"]["metrics"]
    assert {metric["key"]: metric["value"] for metric in metrics} == {
        "nan": "NaN",
        "inf": "Infinity",
        "-inf": "-Infinity",
        "1": 1.0,
    }
    assert (metrics[0]["timestamp"], metrics[0]["step"], metrics[0]["run_id"]) == (5, 1, run.pk)


def test_logged_model_file_is_stored_in_its_run(mlflow):
    run = RunFactory()
    info = mlflow.log_model(run.project, source_run_id=run.pk)["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:")

    root = "/api/2.0/mlflow-artifacts/artifacts"
    response = mlflow.http.put(f"{root}{path}/MLmodel", b"x", "text/plain")

    assert response.status_code == 200
    assert run.artifacts.get().file == f"models/{info['model_id']}/MLmodel"


@pytest.mark.parametrize("model_id", ["m-nobody", "%00"])
def test_file_of_unknown_logged_model_is_not_found(mlflow, model_id):
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/models/{model_id}/artifacts/MLmodel"

    assert mlflow.http.put(path, b"x", "text/plain").status_code == 404


@pytest.mark.parametrize("source_run_id", ["", "123"])
def test_model_of_no_run_here_makes_no_run(mlflow, source_run_id):
    project = ProjectFactory()
    info = mlflow.log_model(project, name="best", source_run_id=source_run_id)["info"]
    path = f"{FILES}/{project.pk}/models/{info['model_id']}/artifacts/MLmodel"
    assert mlflow.http.put(path, b"text", "text/plain").status_code == 200

    search = {"experiment_ids": [project.pk], "run_view_type": "ALL"}
    assert mlflow.ok("POST", "/api/2.0/mlflow/runs/search", **search)["runs"] == []
    assert info["source_run_id"] == source_run_id
    assert b"".join(mlflow.http.get(path).streaming_content) == b"text"


def test_version_keeps_the_id_of_a_run_that_is_elsewhere(mlflow):
    mlflow.register()

    mlflow.add_version(run_id="0123456789abcdef0123456789abcdef")

    assert mlflow.version()["run_id"] == "0123456789abcdef0123456789abcdef"
    search = {"filter": "run_id = '0123456789abcdef0123456789abcdef'"}
    assert len(mlflow.ok("GET", f"{VERSIONS}/search", **search)["model_versions"]) == 1


def test_source_of_a_prompt_may_be_any_text(mlflow):
    mlflow.register("prompt")
    tags = [{"key": "mlflow.prompt.is_prompt", "value": "true"}]

    version = mlflow.add_version("prompt", source="dummy-source", tags=tags)

    assert version["source"] == "dummy-source"


def test_logged_model_in_default_experiment_is_found(mlflow):
    model_id = mlflow.ok("POST", LOGGED, experiment_id="0")["model"]["info"]["model_id"]

    page = mlflow.ok("POST", f"{LOGGED}/search", experiment_ids=["0"])

    assert [model["info"]["model_id"] for model in page["models"]] == [model_id]


def test_metric_with_model_id_is_recorded_on_the_model(mlflow):
    run = RunFactory()
    model_id = mlflow.log_model(run.project)["info"]["model_id"]
    metric = {"key": "loss", "value": 0.5, "timestamp": 1, "step": 1, "model_id": model_id}

    mlflow.ok("POST", "/api/2.0/mlflow/runs/log-metric", run_id=run.pk, **metric)
    later = {**metric, "value": "NaN", "step": 2, "dataset_name": "eval", "dataset_digest": "d"}
    other = {**metric, "key": "acc", "model_id": "m-nobody"}
    mlflow.ok("POST", "/api/2.0/mlflow/runs/log-batch", run_id=run.pk, metrics=[later, other])

    metrics = mlflow.ok("GET", f"{LOGGED}/{model_id}")["model"]["data"]["metrics"]
    assert [(item["key"], item["value"], item.get("dataset_name")) for item in metrics] == [
        ("loss", 0.5, None),
        ("loss", "NaN", "eval"),
    ]


@pytest.mark.parametrize("field", ["model_id", "dataset_name", "dataset_digest"])
def test_metric_with_invalid_model_field_is_rejected(mlflow, field):
    run = RunFactory()
    metric = {"key": "loss", "value": 0.5, "timestamp": 1, "model_id": "m-0", field: "\x00"}

    error_code = mlflow.error_code(
        "POST", "/api/2.0/mlflow/runs/log-batch", run_id=run.pk, metrics=[metric]
    )

    assert error_code == "INVALID_PARAMETER_VALUE"


def test_stage_tags_checkpoint_in_logged_model(mlflow):
    artifact = checkpoint(RunFactory())
    run = artifact.run
    model_id = mlflow.log_model(run.project, source_run_id=run.pk)["info"]["model_id"]
    artifact.file = f"models/{model_id}/checkpoint-100/model.safetensors"
    artifact.save()
    mlflow.register()
    version = mlflow.add_version(source=f"models:/{model_id}", model_id=model_id)

    message = {"name": "summarizer", "version": "1", "stage": "Staging"}
    mlflow.ok("POST", f"{VERSIONS}/transition-stage", **message)

    assert (version["run_id"], version["model_id"]) == (run.pk, model_id)
    assert artifact.tags.get().value == "候选"
    response = mlflow.ok("GET", f"{VERSIONS}/get-download-uri", name="summarizer", version="1")
    assert response["artifact_uri"] == (
        f"mlflow-artifacts:/{run.project_id}/models/{model_id}/artifacts"
    )


def test_released_logged_model_is_neither_changed_nor_deleted(mlflow):
    run = RunFactory()
    info = mlflow.log_model(run.project, source_run_id=run.pk)["info"]
    path = info["artifact_uri"].removeprefix("mlflow-artifacts:")
    mlflow.http.put(f"{FILES}{path}/MLmodel", b"ours", "text/plain")
    mlflow.register()
    # As MLflow 3 registers it.
    mlflow.add_version(source=info["artifact_uri"], model_id=info["model_id"], run_id=run.pk)
    message = {"name": "summarizer", "version": "1", "stage": "Production"}
    mlflow.ok("POST", f"{VERSIONS}/transition-stage", **message)

    for name in ("MLmodel", "evil.py"):
        assert mlflow.http.put(f"{FILES}{path}/{name}", b"evil", "text/plain").status_code == 409
    assert mlflow.http.delete(f"{FILES}{path}/MLmodel").status_code == 409
    assert mlflow("DELETE", f"{LOGGED}/{info['model_id']}").status_code == 409
    mlflow.ok("POST", f"{VERSIONS}/transition-stage", **{**message, "stage": "Archived"})

    mlflow.ok("DELETE", f"{LOGGED}/{info['model_id']}")


# --- runs/log-model --------------------------------------------------------------------------


def model_json(path="model", **fields):
    return json.dumps({"artifact_path": path, "flavors": {}, "run_id": "x", **fields})


def test_log_model_is_recorded_once_in_history_tag(mlflow):
    run = RunFactory(tags={"kept": "yes"})

    for path in ("a", "b", "b"):
        mlflow.ok(
            "POST", "/api/2.0/mlflow/runs/log-model", run_id=run.pk, model_json=model_json(path)
        )

    run.refresh_from_db()
    history = json.loads(run.tags["mlflow.log-model.history"])
    assert [model["artifact_path"] for model in history] == ["a", "b"]
    assert run.tags["kept"] == "yes"


def test_log_model_history_is_bounded(mlflow):
    run = RunFactory(tags={"mlflow.log-model.history": json.dumps([{"n": n} for n in range(100)])})

    mlflow.ok("POST", "/api/2.0/mlflow/runs/log-model", run_id=run.pk, model_json=model_json())

    run.refresh_from_db()
    history = json.loads(run.tags["mlflow.log-model.history"])
    assert (len(history), history[0]) == (100, {"n": 1})


def test_run_in_the_trash_takes_no_model(mlflow):
    run = RunFactory(deleted_at=timezone.now())
    message = {"run_id": run.pk, "model_json": model_json()}

    error_code = mlflow.error_code("POST", "/api/2.0/mlflow/runs/log-model", **message)

    assert error_code == "INVALID_PARAMETER_VALUE"


def test_history_that_makes_the_run_too_large_is_rejected(mlflow):
    run = RunFactory(tags={"mlflow.log-model.history": json.dumps(["x" * 2 * 1024 * 1024])})
    message = {"run_id": run.pk, "model_json": model_json()}

    error_code = mlflow.error_code("POST", "/api/2.0/mlflow/runs/log-model", **message)

    assert error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", "3", '{"run_id": 1}', "[" * 10_000])
def test_invalid_model_json_is_rejected(mlflow, text):
    run = RunFactory()

    error_code = mlflow.error_code(
        "POST", "/api/2.0/mlflow/runs/log-model", run_id=run.pk, model_json=text
    )

    assert error_code == "INVALID_PARAMETER_VALUE"


@pytest.mark.parametrize("tag", ["x", "{}", "3"])
def test_overwritten_history_tag_is_reset(mlflow, tag):
    run = RunFactory(tags={"mlflow.log-model.history": tag})

    mlflow.ok("POST", "/api/2.0/mlflow/runs/log-model", run_id=run.pk, model_json=model_json())

    run.refresh_from_db()
    assert len(json.loads(run.tags["mlflow.log-model.history"])) == 1


def test_unsupported_method_is_endpoint_not_found(mlflow):
    assert mlflow.error_code("PUT", f"{MODELS}/alias") == "ENDPOINT_NOT_FOUND"
    assert mlflow.error_code("GET", f"{MODELS}/create") == "ENDPOINT_NOT_FOUND"
    assert mlflow.error_code("PUT", f"{LOGGED}/m-0") == "ENDPOINT_NOT_FOUND"


def test_unauthenticated_caller_cannot_see_registry(mlflow, settings):
    settings.OPEN_MODE = False

    assert mlflow.error_code("GET", f"{MODELS}/search") == "UNAUTHENTICATED"
    assert mlflow.error_code("POST", f"{MODELS}/alias") == "UNAUTHENTICATED"


@pytest.mark.parametrize("resource", ["registered-models", "model-versions"])
def test_filter_over_the_limit_is_rejected(mlflow, resource):
    filter = " AND ".join(["name = 'a'"] * 51)

    response = mlflow.http.get(f"/api/2.0/mlflow/{resource}/search", {"filter": filter})

    assert response.status_code == 400
    assert response.json()["error_code"] == "INVALID_PARAMETER_VALUE"


# --- other projects --------------------------------------------------------------------------


def test_what_a_hidden_run_has_measured_of_a_model_is_not_told(settings):
    settings.OPEN_MODE = False
    project, elsewhere = ProjectFactory(), RunFactory()
    model = LoggedModel.objects.create(project=project, name="shared")
    mine = RunFactory(project=project)
    for run, key in ((mine, "seen"), (elsewhere, "hidden")):
        LoggedModel.objects.record_metrics(
            run.pk, [ModelPoint(model.pk, key, 0.5, 1_780_000_000_000, 1)]
        )
    secret = Token.issue(member_of(project))[1]
    client = ApiClient(headers={"authorization": f"Bearer {secret}"})

    one = client.get(f"{LOGGED}/{model.pk}").json()["model"]
    [found] = client.post_json(f"{LOGGED}/search", {"experiment_ids": [project.pk]}).json()[
        "models"
    ]

    for told in (one, found):
        assert [metric["run_id"] for metric in told["data"]["metrics"]] == [mine.pk]


def test_model_of_another_project_is_left_out_of_a_run(settings):
    settings.OPEN_MODE = False
    run = RunFactory()
    hidden = LoggedModel.objects.create(project=ProjectFactory(), name="hidden")
    mine = LoggedModel.objects.create(project=run.project, name="mine")
    inputs.log_outputs(run.pk, [(hidden.pk, 1), (mine.pk, 1), ("m-elsewhere", 1)])
    secret = Token.issue(member_of(run.project))[1]
    client = ApiClient(headers={"authorization": f"Bearer {secret}"})

    found = client.get("/api/2.0/mlflow/runs/get", {"run_id": run.pk}).json()["run"]

    models = {output["model_id"] for output in found["outputs"]["model_outputs"]}
    assert models == {mine.pk, "m-elsewhere"}
