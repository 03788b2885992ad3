"""The MLflow model registry and TrainHub's checkpoint tags stay in sync."""

import pytest

pytestmark = pytest.mark.django_db(serialized_rollback=True)


@pytest.fixture(scope="package")
def registering(client):
    return client.run("registering")


def test_checkpoints_become_versions(registering):
    assert registering["version 100"] == ["summary", "1", "READY"]
    assert registering["version 200"] == ["summary", "2", "READY"]
    assert registering["matches"] == ["1", "2"]
    assert registering["models"] == ["summary"]
    assert registering["description"] == "BLEU 32.5"


def test_alias_and_stage_tag_the_checkpoints(registering, hub):
    tags = {
        artifact["step"]: [tag["value"] for tag in artifact["tags"]]
        for artifact in hub.files("登记", "trained").values()
    }

    assert tags == {100: ["候选"], 200: ["发布"]}


def test_checkpoint_tags_become_aliases_and_stages(registering):
    assert registering["by alias"] == "1"
    assert registering["aliases"] == {"candidate": "1", "released": "2"}
    assert registering["latest"] == {"Staging": "1", "Production": "2"}


def test_version_is_downloaded(registering):
    assert registering["downloaded bytes"] == len("weights") * 100


def test_taken_and_unknown_names_are_errors(registering):
    assert registering["taken"] == "RESOURCE_ALREADY_EXISTS"
    assert registering["unknown"] == "RESOURCE_DOES_NOT_EXIST"


def test_logged_model_is_registered_and_downloaded(registering, hub):
    assert {"MLmodel", "artifacts", "python_model.pkl"} <= set(registering["pyfunc"])
    paths = hub.files("登记", "pyfunc")
    assert any(path.endswith("artifacts/weights.bin") for path in paths)
