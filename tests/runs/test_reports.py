"""Hyperparameters, tags and data that a training reports."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.checkpoints import resume_run
from execution.outputs import configuration
from projects.hyperparameters import number_of
from runs import inputs, params_tags, reports, unmanaged
from runs.models import DatasetInput, EventKind, ModelLink
from runs.status import RunStatus
from tests.concurrency import in_parallel
from tests.factories import RunFactory, checkpoint, running, unmanaged_run

with_two_connections = pytest.mark.django_db(transaction=True, serialized_rollback=True)


# --- hyperparameters -------------------------------------------------------------------------


@pytest.mark.django_db
def test_params_are_stored_unchanged():
    run = unmanaged_run()

    params_tags.log_params(run.pk, {"learning_rate": "3e-5", "a/b.c-d e:f": "", "中": "文"})

    run.refresh_from_db()
    assert run.hyperparameters == {"learning_rate": "3e-5", "a/b.c-d e:f": "", "中": "文"}
    assert run.reported_at is not None


@pytest.mark.django_db
def test_repeated_param_does_nothing(django_assert_num_queries):
    run = unmanaged_run(hyperparameters={"a": "1"})

    with django_assert_num_queries(4):  # savepoint, lock, reported_at, release
        params_tags.log_params(run.pk, {"a": "1"})


@pytest.mark.django_db
def test_script_of_a_recipe_may_change_a_param_with_an_event():
    run = RunFactory(hyperparameters={"max_steps": 100})

    params_tags.log_params(run.pk, {"max_steps": "-1"})

    assert run.events.get(kind=EventKind.PARAMS_CHANGED).reason == "max_steps: 100 → -1"


@pytest.mark.django_db
def test_changed_param_is_refused_with_mlflows_message_and_nothing_is_stored():
    run = unmanaged_run(hyperparameters={"a": "1"})

    with pytest.raises(params_tags.ParamChanged) as refusal:
        params_tags.log_params(run.pk, {"b": "new", "a": "2"})

    assert str(refusal.value) == (
        "Changing param values is not allowed. Param with key='a' was already logged with "
        f"value='1' for run ID='{run.pk}'. Attempted logging new value '2'."
    )
    run.refresh_from_db()
    assert run.hyperparameters == {"a": "1"}


@pytest.mark.django_db
@pytest.mark.parametrize("fields", [{"attempt": 2}, {"status": RunStatus.FAILED}], ids=str)
def test_continued_run_may_change_a_param_with_an_event(fields):
    run = unmanaged_run(hyperparameters={"a": "1", "b": "1"}, **fields)
    if run.is_terminal:
        unmanaged.report_status(run, RunStatus.RUNNING, by=None)

    params_tags.log_params(run.pk, {"a": "2", "b": "1"})

    run.refresh_from_db()
    assert run.hyperparameters == {"a": "2", "b": "1"}
    assert run.events.get(kind=EventKind.PARAMS_CHANGED).reason == "a: 1 → 2"


@pytest.mark.django_db
def test_reported_params_do_not_become_the_configuration_of_a_recipes_run():
    run = running(hyperparameters={"save_steps": 6})

    params_tags.log_params(run.pk, {"save_steps": "500"})
    params_tags.log_params(run.pk, {"seed": "x"})

    run.refresh_from_db()
    assert run.hyperparameters == {"save_steps": "500", "seed": "x"}
    assert run.configured_hyperparameters == {"save_steps": 6}
    assert configuration(run)["hyperparameters"] == {"save_steps": 6}


@pytest.mark.django_db
def test_resumed_run_is_configured_as_its_source_was():
    source = running(hyperparameters={"save_steps": 6, "max_steps": 100}, total_steps=100)
    params_tags.log_params(source.pk, {"save_steps": "500", "seed": "x"})
    source.refresh_from_db()

    resumed = resume_run(source, checkpoint(source, step=4), by=None)

    assert resumed.hyperparameters == {"save_steps": 6, "max_steps": 100}
    assert resumed.total_steps == 100


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["3e-05", "3e-5", "0.00003", ".00003"])
def test_number_equals_any_text_that_denotes_it(text):
    run = running(hyperparameters={"learning_rate": 3e-5})

    params_tags.log_params(run.pk, {"learning_rate": text})

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
    assert params_tags.text_of(value) == text
    assert params_tags.equals_text(value, text)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "2"), (1, "x"), ("1", "1.0"), (True, "1"), (1, "1e999")]
)
def test_text_with_another_meaning_is_not_equal(value, text):
    assert not params_tags.equals_text(value, text)


@given(st.text())
def test_only_texts_of_numbers_are_parsed_as_numbers(text):
    number = number_of(text)

    assert number is None or float(text) == float(number)


@pytest.mark.django_db
def test_text_that_is_too_long_is_truncated_and_can_be_repeated():
    run = unmanaged_run()

    for _ in range(2):
        params_tags.log_params(run.pk, {"prompt": "x" * 6001, "fits": "x" * 6000})
        params_tags.set_tags(run.pk, {"a": "x" * 9000})

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
def test_invalid_param_is_refused_and_nothing_is_stored(params):
    run = unmanaged_run()

    with pytest.raises(reports.InvalidReport):
        params_tags.log_params(run.pk, {"good": "x", **params})

    run.refresh_from_db()
    assert run.hyperparameters == {}


@pytest.mark.django_db
def test_largest_batch_of_a_client_is_accepted():
    run = unmanaged_run()

    params_tags.log_params(run.pk, {f"p{number}": "x" * 6000 for number in range(100)})
    params_tags.set_tags(run.pk, {f"t{number}": "x" * 8000 for number in range(100)})

    run.refresh_from_db()
    assert len(run.hyperparameters) == len(run.tags) == 100


@pytest.mark.django_db
def test_too_many_names_are_refused():
    run = unmanaged_run(hyperparameters={f"p{n}": "" for n in range(reports.MAX_NAMES)})

    with pytest.raises(reports.InvalidReport):
        params_tags.log_params(run.pk, {"one more": ""})


@pytest.mark.django_db
@pytest.mark.parametrize("log", [params_tags.log_params, params_tags.set_tags])
def test_run_in_the_trash_refuses_reports(log):
    run = unmanaged_run()
    run.move_to_trash(by=None)

    with pytest.raises(reports.InTrash):
        log(run.pk, {"a": "1"})


@with_two_connections
@pytest.mark.parametrize(
    ("log", "field"), [(params_tags.log_params, "hyperparameters"), (params_tags.set_tags, "tags")]
)
def test_concurrent_reports_are_all_stored(log, field):
    run = unmanaged_run()

    results = in_parallel(*[lambda n=n: log(run.pk, {f"k{n}": str(n)}) for n in range(8)])

    assert results == [None] * 8
    run.refresh_from_db()
    assert getattr(run, field) == {f"k{n}": str(n) for n in range(8)}


@with_two_connections
def test_one_of_two_conflicting_concurrent_reports_is_refused():
    run = unmanaged_run()

    results = in_parallel(*[lambda n=n: params_tags.log_params(run.pk, {"a": n}) for n in "12"])

    assert sorted(type(result).__name__ for result in results) == ["NoneType", "ParamChanged"]


# --- tags ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_last_tag_wins_and_the_name_tag_is_the_runs_name():
    run = unmanaged_run(tags={"a": "1"})

    params_tags.set_tags(run.pk, {"a": "2", "mlflow.runName": "bold-fox"})

    run.refresh_from_db()
    assert (run.tags, run.name) == ({"a": "2"}, "bold-fox")


@pytest.mark.django_db
def test_delete_tag_returns_whether_the_tag_existed():
    run = unmanaged_run(tags={"a": "1", "b": "2"})

    assert params_tags.delete_tag(run.pk, "a") is True
    assert params_tags.delete_tag(run.pk, "a") is False

    run.refresh_from_db()
    assert run.tags == {"b": "2"}


# --- data ------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_dataset_reported_twice_is_stored_once_and_sets_the_runs_dataset():
    run = unmanaged_run(dataset="")
    dataset = {"name": "corpus", "digest": "d1", "tags": {"mlflow.data.context": "training"}}

    inputs.log_inputs(run.pk, [dataset], ["m-1"])
    inputs.log_inputs(run.pk, [dataset], ["m-1"])

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
def test_invalid_dataset_is_refused(dataset):
    run = unmanaged_run()

    with pytest.raises(reports.InvalidReport):
        inputs.log_inputs(run.pk, [{"name": "good", "digest": "d"}, dataset])

    assert not DatasetInput.objects.exists()


@pytest.mark.django_db
def test_invalid_model_id_is_refused():
    with pytest.raises(reports.InvalidReport):
        inputs.log_outputs(unmanaged_run().pk, [("../m", 1)])
