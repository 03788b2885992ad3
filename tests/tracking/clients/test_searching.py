"""Search, metric history, and trash through the MLflow clients."""

import pytest

pytestmark = pytest.mark.django_db(serialized_rollback=True)


@pytest.fixture(scope="package")
def searching(client):
    return client.run("searching")


def test_filters_match_expected_runs(searching):
    matches = {
        text: [int(name[-1]) for name in names] for text, names in searching["matches"].items()
    }

    assert matches == {
        "": [0, 1, 2, 3],
        "metrics.loss < 0.5": [0, 1],
        "metrics.loss >= 0.25 AND params.optimizer = 'adamw'": [1, 2, 3],
        "metrics.loss < 0.2 OR metrics.loss > 0.7": [0, 3],
        "tags.`group` = 'group 1'": [1, 3],
        "params.optimizer LIKE 'ada%'": [1, 2, 3],
        "attributes.run_name ILIKE '%RUN 3'": [3],
        "attributes.run_name IN ('run 1', 'run 2')": [1, 2],
        "attributes.status = 'FINISHED' and params.layers != '0'": [1, 2, 3],
        "attributes.status = 'RUNNING'": [],
    }


def test_runs_are_sorted_and_paged(searching):
    assert searching["ordered"] == ["run 3", "run 2", "run 1", "run 0"]
    assert searching["pages"] == [["run 0", "run 1", "run 2"], ["run 3"]]


def test_runs_load_into_a_data_frame(searching):
    assert searching["columns"] == ["metrics.loss", "params.layers", "params.optimizer"]


def test_invalid_filter_is_rejected(searching):
    assert searching["nonsense"] == "INVALID_PARAMETER_VALUE"


def test_history_is_complete(searching):
    assert searching["history"]


def test_experiment_filters_match(searching):
    assert searching["experiments"] == {
        "name LIKE '搜索%'": ["搜索", "搜索之外"],
        "tags.team = 'nlp'": ["搜索"],
        "name = '搜索之外'": ["搜索之外"],
    }
    assert searching["unknown"] is None


def test_experiment_is_renamed_and_taken_name_is_rejected(searching, hub):
    assert searching["renamed"] == "另一个"
    assert searching["taken"] == "RESOURCE_ALREADY_EXISTS"
    assert hub.project("另一个")["status"] == "已归档"


def test_deleted_run_moves_to_trash_and_is_restored(searching, hub):
    assert searching["without the deleted"] == ["run 3", "run 2", "run 1"]
    assert searching["deleted"] == ["run 0"]
    assert searching["into the trash"] == "INVALID_PARAMETER_VALUE"
    assert searching["restored"] == "active"
    assert hub.runs("搜索").keys() == {"run 0", "run 2", "run 3", "long"}


def test_deleted_experiment_is_archived_and_restored(searching):
    assert searching["experiment deleted"] == "deleted"
    assert "另一个" in searching["deleted experiments"]  # and those of other scripts
    assert searching["experiment restored"] == "active"
    assert searching["deleted cannot be used"] == "INVALID_PARAMETER_VALUE"
