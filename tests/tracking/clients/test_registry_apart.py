"""Runs, logged models and versions that are elsewhere, deleted or missing, as clients find them."""

import pytest

pytestmark = pytest.mark.django_db(serialized_rollback=True)


@pytest.fixture(scope="package")
def apart(client):
    return client.run("registry_apart")


@pytest.fixture
def in_3(version):
    if version == "2":
        pytest.skip("2.x has no logged models")


def test_deleted_experiment_takes_its_runs_along_and_frees_its_name(apart):
    assert apart["run of a deleted experiment"] == "deleted"
    assert apart["active runs of it"] == 0
    assert apart["its metric"] == "INVALID_PARAMETER_VALUE"
    assert apart["run of a restored experiment"] == "active"
    assert apart["name is free"]


def test_scheduled_is_a_status(apart):
    assert apart["scheduled"] == "SCHEDULED"


def test_version_names_a_run_elsewhere(apart):
    assert apart["version of a run elsewhere"] == ["1", True]


def test_version_is_not_made_from_a_local_path(apart):
    assert (apart["version from /etc"], apart["version from file:///etc"]) == (400, 400)


def test_stage_moves_the_registered_model(apart):
    assert apart["stage moves the model"]


def test_logged_model_is_no_file_of_its_run(apart, version):
    assert apart["files"] == (["a.txt"] if version == "3" else ["a.txt", "model"])


@pytest.mark.usefixtures("in_3")
def test_logged_model_needs_no_run_here(apart):
    assert apart["logged model without a run"] == ["", 0]
    assert apart["logged model of a run elsewhere"] == "123"


@pytest.mark.usefixtures("in_3")
def test_logged_model_knows_its_versions(apart):
    assert apart["versions of a logged model"] == [{"name": "apart", "version": 2}]


@pytest.mark.usefixtures("in_3")
def test_tag_that_is_not_there_is_an_error(apart):
    assert apart["tag that is not there"] == "RESOURCE_DOES_NOT_EXIST"


@pytest.mark.usefixtures("in_3")
def test_prompts_are_not_among_models(apart):
    assert apart["prompt"] == "hi {{x}}"
    assert apart["prompts among models"] == [0, 0]


@pytest.mark.usefixtures("in_3")
def test_trace_is_refused_with_a_sentence(apart):
    status, code, message = apart["trace"]

    assert (status, code) == (404, "ENDPOINT_NOT_FOUND")
    assert "trace" in message or "追踪" in message
