"""Hyperparameters, tags and data that a training reports of itself."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from projects.hyperparameters import number_of
from runs import external, reports
from runs.models import DatasetInput, EventKind, ModelLink, Run
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.factories import RunFactory, running

with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


def external_run(**fields) -> Run:
    defaults = {"recipe": None, "status": RunStatus.RUNNING, "hyperparameters": {}}
    return RunFactory(**{**defaults, **fields})


# --- hyperparameters -------------------------------------------------------------------------


@pytest.mark.django_db
def test_params_are_kept_as_they_are():
    run = external_run()

    reports.log_params(run.pk, {"learning_rate": "3e-5", "a/b.c-d e:f": "", "中": "文"})

    run.refresh_from_db()
    assert run.hyperparameters == {"learning_rate": "3e-5", "a/b.c-d e:f": "", "中": "文"}
    assert run.reported_at is not None


@pytest.mark.django_db
def test_same_param_again_is_nothing_new(django_assert_num_queries):
    run = external_run(hyperparameters={"a": "1"})

    with django_assert_num_queries(4):  # savepoint, lock, sign of life, release
        reports.log_params(run.pk, {"a": "1"})


@pytest.mark.django_db
def test_script_of_a_recipe_may_know_better_and_that_is_noted():
    run = RunFactory(hyperparameters={"max_steps": 100})

    reports.log_params(run.pk, {"max_steps": "-1"})

    assert run.events.get(kind=EventKind.PARAMS_CHANGED).reason == "max_steps: 100 → -1"


@pytest.mark.django_db
def test_other_value_is_refused_with_mlflows_sentence_and_nothing_is_kept():
    run = external_run(hyperparameters={"a": "1"})

    with pytest.raises(reports.ParamChanged) as refusal:
        reports.log_params(run.pk, {"b": "new", "a": "2"})

    assert str(refusal.value) == (
        "Changing param values is not allowed. Param with key='a' was already logged with "
        f"value='1' for run ID='{run.pk}'. Attempted logging new value '2'."
    )
    run.refresh_from_db()
    assert run.hyperparameters == {"a": "1"}


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"attempt": 2}, {"status": RunStatus.FAILED}], ids=str)
def test_run_that_goes_on_may_say_another_and_the_drift_is_noted(fields):
    run = external_run(hyperparameters={"a": "1", "b": "1"}, **fields)
    if run.is_terminal:
        external.report_status(run, RunStatus.RUNNING, by=None)

    reports.log_params(run.pk, {"a": "2", "b": "1"})

    run.refresh_from_db()
    assert run.hyperparameters == {"a": "2", "b": "1"}
    assert run.events.get(kind=EventKind.PARAMS_CHANGED).reason == "a: 1 → 2"


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["3e-05", "3e-5", "0.00003", ".00003"])
def test_number_that_trainhub_holds_is_confirmed_by_any_text_of_it(text):
    run = running(hyperparameters={"learning_rate": 3e-5})

    reports.log_params(run.pk, {"learning_rate": text})

    run.refresh_from_db()
    assert run.hyperparameters == {"learning_rate": 3e-5}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("3e-5", "3e-5"),
        (3e-5, "3e-05"),
        (16, "16"),
        (1.0, "1.0"),
        (True, "true"),
        (None, "null"),
        ([1, "a"], '[1,"a"]'),
        ({"a": {"b": 1}}, '{"a":{"b":1}}'),
    ],
)
def test_text_of_a_hyperparameter(value, text):
    assert reports.text_of(value) == text
    assert reports.means(value, text)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "2"), (1, "x"), ("1", "1.0"), (True, "1"), (1, "1e999")]
)
def test_other_text_means_something_else(value, text):
    assert not reports.means(value, text)


@given(st.text())
def test_what_is_no_number_is_told_from_numbers(text):
    number = number_of(text)

    assert number is None or float(text) == float(number)


@pytest.mark.django_db
def test_text_that_is_too_long_is_cut_and_the_same_again_is_nothing_new():
    run = external_run()

    for _ in range(2):
        reports.log_params(run.pk, {"prompt": "x" * 6001, "fits": "x" * 6000})
        reports.set_tags(run.pk, {"a": "x" * 9000})

    run.refresh_from_db()
    assert run.hyperparameters == {"prompt": "x" * 5999 + "…", "fits": "x" * 6000}
    assert run.tags == {"a": "x" * 7999 + "…"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "params",
    [
        {"": "x"},
        {"a" * 251: "x"},
        {"/a": "x"},
        {"../a": "x"},
        {".": "x"},
        {"a//b": "x"},
        {"a/": "x"},
        {"a\n": "x"},
        {"a?": "x"},
        {"a": "\0"},
    ],
    ids=lambda params: repr(params)[:20],
)
def test_bad_param_is_refused_and_nothing_is_kept(params):
    run = external_run()

    with pytest.raises(reports.InvalidReport):
        reports.log_params(run.pk, {"good": "x", **params})

    run.refresh_from_db()
    assert run.hyperparameters == {}


@pytest.mark.django_db
def test_largest_batch_of_a_client_fits_in():
    run = external_run()

    reports.log_params(run.pk, {f"p{number}": "x" * 6000 for number in range(100)})
    reports.set_tags(run.pk, {f"t{number}": "x" * 8000 for number in range(100)})

    run.refresh_from_db()
    assert len(run.hyperparameters) == len(run.tags) == 100


@pytest.mark.django_db
def test_too_many_names_are_refused():
    run = external_run(hyperparameters={f"p{n}": "" for n in range(reports.MAX_NAMES)})

    with pytest.raises(reports.InvalidReport):
        reports.log_params(run.pk, {"one more": ""})


@pytest.mark.django_db
@pytest.mark.parametrize("log", [reports.log_params, reports.set_tags])
def test_run_in_the_trash_takes_nothing(log):
    run = external_run()
    run.move_to_trash(by=None)

    with pytest.raises(reports.InTrash):
        log(run.pk, {"a": "1"})


@with_two_connections
@pytest.mark.parametrize(
    ("log", "field"), [(reports.log_params, "hyperparameters"), (reports.set_tags, "tags")]
)
def test_reports_at_once_are_all_there(log, field):
    run = external_run()

    results = in_parallel(*[lambda n=n: log(run.pk, {f"k{n}": str(n)}) for n in range(8)])

    assert results == [None] * 8
    run.refresh_from_db()
    assert getattr(run, field) == {f"k{n}": str(n) for n in range(8)}


@with_two_connections
def test_of_two_that_disagree_at_once_one_is_refused():
    run = external_run()

    results = in_parallel(*[lambda n=n: reports.log_params(run.pk, {"a": n}) for n in "12"])

    assert sorted(type(result).__name__ for result in results) == ["NoneType", "ParamChanged"]


# --- tags ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_last_tag_wins_and_the_name_tag_is_the_runs_name():
    run = external_run(tags={"a": "1"})

    reports.set_tags(run.pk, {"a": "2", "mlflow.runName": "bold-fox"})

    run.refresh_from_db()
    assert (run.tags, run.name) == ({"a": "2"}, "bold-fox")


@pytest.mark.django_db
def test_deleted_tag_is_gone_and_a_missing_one_is_told():
    run = external_run(tags={"a": "1", "b": "2"})

    assert reports.delete_tag(run.pk, "a") is True
    assert reports.delete_tag(run.pk, "a") is False

    run.refresh_from_db()
    assert run.tags == {"b": "2"}


# --- data ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_dataset_reported_twice_is_there_once_and_names_the_runs_dataset():
    run = external_run(dataset="")
    dataset = {"name": "corpus", "digest": "d1", "tags": {"mlflow.data.context": "training"}}

    reports.log_inputs(run.pk, [dataset], ["m-1"])
    reports.log_inputs(run.pk, [dataset], ["m-1"])

    run.refresh_from_db()
    assert DatasetInput.objects.get().tags == {"mlflow.data.context": "training"}
    assert ModelLink.objects.get().model_id == "m-1"
    assert run.dataset == "corpus"


@pytest.mark.django_db
@pytest.mark.parametrize(
    "dataset",
    [
        {"name": "", "digest": "d"},
        {"name": "n", "digest": ""},
        {"name": "n" * 501, "digest": "d"},
        {"name": "n", "digest": "\0"},
        {"name": "n", "digest": "d", "tags": {"": "x"}},
        {"name": "n", "digest": "d", "tags": {"a": "\0"}},
    ],
    ids=lambda dataset: repr(dataset)[:30],
)
def test_bad_dataset_is_refused(dataset):
    run = external_run()

    with pytest.raises(reports.InvalidReport):
        reports.log_inputs(run.pk, [{"name": "good", "digest": "d"}, dataset])

    assert not DatasetInput.objects.exists()


@pytest.mark.django_db
def test_model_of_a_strange_id_is_refused():
    with pytest.raises(reports.InvalidReport):
        reports.log_outputs(external_run().pk, [("../m", 1)])
