"""Which numbers of evaluations are kept, and of which step."""

import io
import json

import pytest
from django.core.management import call_command

from artifacts import evaluations, storing, uploads
from artifacts.kinds import ArtifactType
from artifacts.models import Artifact, EvaluationResult
from core.messages import in_english
from tests.factories import RunFactory, checkpoint, stored_path

pytestmark = pytest.mark.django_db


@pytest.fixture
def run():
    return RunFactory(step=900)


def store(run, *, step=None, **content):
    return storing.store_evaluation(run, io.BytesIO(json.dumps(content).encode()), step=step)


def upload(run, path="results.json", *, step=None, content=b'{"acc": 0.5}'):
    artifact, _is_new = uploads.store(
        run, path, io.BytesIO(content), type=ArtifactType.EVALUATION, step=step
    )
    return artifact


def kept(run):
    return list(
        EvaluationResult.objects.filter(run=run)
        .order_by("step", "key")
        .values_list("step", "key", "value")
    )


def test_numbers_are_kept_when_an_evaluation_is_stored(run):
    store(run, step=100, bleu=30.5)

    assert kept(run) == [(100, "bleu", 30.5)]
    assert EvaluationResult.objects.get().project_id == run.project_id


def test_rewritten_evaluation_keeps_the_numbers_of_other_steps(run):
    store(run, step=100, bleu=30.5, chrf=50)
    store(run, step=200, bleu=31.5)

    assert kept(run) == [(100, "bleu", 30.5), (100, "chrf", 50), (200, "bleu", 31.5)]


def test_evaluation_of_the_same_step_replaces_its_numbers(run):
    store(run, step=100, bleu=30.5, chrf=50)
    store(run, step=100, bleu=31.5)

    assert kept(run) == [(100, "bleu", 31.5)]


def test_numbers_of_the_oldest_steps_are_dropped_beyond_the_limit(run, monkeypatch):
    monkeypatch.setattr(evaluations, "MAX_STEPS", 2)

    for step in (100, 200, 300, 400):
        store(run, step=step, bleu=step)

    assert kept(run) == [(300, "bleu", 300), (400, "bleu", 400)]


def test_step_in_the_file_is_that_of_its_numbers(run):
    content = json.dumps({"step": 100, "bleu": 30.5}).encode()

    storing.store_evaluation(run, io.BytesIO(content), step=120)

    assert kept(run) == [(100, "bleu", 30.5)]


@pytest.mark.parametrize("name", ["step-00000500.pt", "elsewhere/step-00000500.pt"])
def test_checkpoint_named_in_the_file_gives_the_step(run, name):
    checkpoint(run, step=500)

    store(run, step=900, checkpoint=name, bleu=30.5)

    assert kept(run) == [(500, "bleu", 30.5)]


def test_checkpoint_can_be_named_by_its_id(run):
    artifact = checkpoint(run, step=500)

    store(run, step=900, checkpoint=artifact.pk, bleu=30.5)

    assert kept(run) == [(500, "bleu", 30.5)]


def test_unknown_checkpoint_gives_the_step_in_its_name(run):
    store(run, step=900, checkpoint="out/checkpoint-700", bleu=30.5)

    assert kept(run) == [(700, "bleu", 30.5)]


def test_upload_is_of_the_step_that_the_client_tells(run):
    upload(run, "checkpoint-200/results.json", step=300)

    assert kept(run) == [(300, "acc", 0.5)]


def test_upload_in_a_folder_of_a_checkpoint_is_of_its_step(run):
    upload(run, "checkpoint-200/results.json")

    assert kept(run) == [(200, "acc", 0.5)]


def test_upload_that_tells_no_step_is_of_the_runs_step(run):
    upload(run)

    assert kept(run) == [(900, "acc", 0.5)]


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("mmlu.json", "mmlu/acc"),
        ("eval/arc_challenge.json", "arc_challenge/acc"),
        ("eval_results.json", "acc"),
        ("step-200.json", "acc"),
        ("results_2026-11-29T10-00-00.json", "acc"),
        ("x" * 248 + ".json", None),
    ],
)
def test_upload_named_for_a_benchmark_has_keys_of_its_own(run, path, key):
    upload(run, path, step=1)

    assert kept(run) == ([] if key is None else [(1, key, 0.5)])


def test_file_that_is_no_evaluation_has_no_numbers(run):
    uploads.store(run, "evaluation.json", io.BytesIO(b'{"acc": 0.5}'))

    assert kept(run) == []


def test_damaged_upload_is_stored_and_says_why_it_is_ignored(run):
    artifact = upload(run, content=b'{"acc": 0.')

    stored = Artifact.objects.get(pk=artifact.pk)
    assert in_english(stored.ignored) == "it is not valid JSON"
    assert kept(run) == []


def test_mended_upload_is_no_longer_ignored(run):
    upload(run, content=b'{"acc": 0.')
    artifact = upload(run)

    assert Artifact.objects.get(pk=artifact.pk).ignored == ""
    assert kept(run) == [(900, "acc", 0.5)]


def test_numbers_do_not_keep_their_file_from_being_replaced(run):
    artifact = upload(run, step=1)

    assert not artifact.is_in_use()
    assert upload(run, step=1, content=b'{"acc": 0.75}').pk == artifact.pk
    assert kept(run) == [(1, "acc", 0.75)]


def test_numbers_go_with_their_run(run):
    store(run, step=100, bleu=30.5)

    run.delete()

    assert not EvaluationResult.objects.exists()


def test_command_keeps_the_numbers_of_an_earlier_version(run, capsys):
    artifact = store(run, step=100, bleu=30.5)
    Artifact.objects.filter(pk=artifact.pk).update(metadata={})
    EvaluationResult.objects.all().delete()

    call_command("index_evaluations")
    call_command("index_evaluations")

    assert kept(run) == [(100, "bleu", 30.5)]
    assert capsys.readouterr().out == "1 numbers of 1 evaluations\n0 numbers of 0 evaluations\n"


def test_command_says_which_bytes_are_missing(run, capsys):
    artifact = store(run, step=100, bleu=30.5)
    Artifact.objects.filter(pk=artifact.pk).update(metadata={})
    stored_path(artifact).unlink()

    call_command("index_evaluations")

    assert artifact.pk in capsys.readouterr().err
