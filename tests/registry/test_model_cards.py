"""Model cards: what they say, in Markdown and YAML that nothing breaks out of."""

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from django.utils.translation import override

from accounts.roles import Role
from artifacts import storing, uploads
from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact
from metrics.points import Point
from metrics.recording import record_metrics
from registry.markdown import inline
from registry.model_card_curves import _segments
from registry.model_card_facts import facts_of
from registry.model_card_metadata import metadata
from registry.model_cards import model_card
from registry.models import RegisteredModel, RunFile, Source
from runs.models import DatasetInput, EventKind, RunEvent
from runs.status import RunStatus
from tests.clients import ApiClient
from tests.factories import ProjectFactory, RunFactory, UserFactory, WorkerFactory, checkpoint

pytestmark = pytest.mark.django_db

# As huggingface_hub finds it (repocard.py).
FRONT_MATTER = re.compile(r"^(\s*---[\r\n]+)([\S\s]*?)([\r\n]+---(\r\n|\n|$))")
START = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def project():
    return ProjectFactory(name="Summaries", task_type="文本摘要", tags=["中文"])


def parsed(card):
    """(the front matter, the Markdown)."""
    match = FRONT_MATTER.search(card)
    return yaml.safe_load(match[2]), card[match.end() :]


def english_card(artifact):
    with override("en"):
        return model_card(artifact)


def body_of(artifact):
    return parsed(english_card(artifact))[1]


def evaluate(run, step, **numbers):
    return storing.store_evaluation(run, io.BytesIO(json.dumps(numbers).encode()), step=step)


def held(run, *intervals):
    """Events of workers that held the run from … to … hours after START."""
    for began, ended in intervals:
        for kind, hour in ((EventKind.CLAIMED, began), (EventKind.RECOVERED, ended)):
            event = RunEvent.objects.create(run=run, kind=kind, attempt=1)
            at = START + timedelta(hours=hour)
            RunEvent.objects.filter(pk=event.pk).update(created_at=at)


def stored_at(artifact, hours):
    at = START + timedelta(hours=hours)
    Artifact.objects.filter(pk=artifact.pk).update(created_at=at)
    artifact.refresh_from_db()
    return artifact


# --- front matter --------------------------------------------------------------------------------


def test_front_matter_holds_what_is_known(project):
    run = RunFactory(
        project=project,
        model="meta-llama/Llama-2-13b",
        dataset="ai/papers",
        tags={"license": "apache-2.0", "language": "zh, en"},
    )
    artifact = checkpoint(run, step=100)
    evaluate(run, 100, lcsts={"rouge_l": 0.41})

    front, _body = parsed(model_card(artifact))

    assert front == {
        "language": ["zh", "en"],
        "license": "apache-2.0",
        "pipeline_tag": "summarization",
        "base_model": "meta-llama/Llama-2-13b",
        "datasets": ["ai/papers"],
        "metrics": ["rouge_l"],
        "tags": ["中文"],
        "model-index": [
            {
                "name": "Summaries",
                "results": [
                    {
                        "task": {"type": "summarization"},
                        "dataset": {"name": "lcsts", "type": "lcsts"},
                        "metrics": [{"type": "rouge_l", "value": 0.41, "name": "rouge_l"}],
                    }
                ],
            }
        ],
    }


def test_nothing_is_invented():
    project = ProjectFactory(name="P", task_type="", base_model="", tags=[])
    artifact = checkpoint(RunFactory(project=project, model="", dataset=""))

    assert metadata(facts_of(artifact)) == {}


def test_path_is_neither_a_base_model_nor_a_dataset(project):
    run = RunFactory(project=project, model="/models/llama", dataset="/data/a b.jsonl")

    front = metadata(facts_of(checkpoint(run)))

    assert "base_model" not in front
    assert "datasets" not in front


def test_adapter_says_how_it_relates_to_its_base_model(project):
    run = RunFactory(project=project, model="gpt2")
    artifact, _is_new = uploads.store(
        run,
        "checkpoint-10/adapter_model.safetensors",
        io.BytesIO(b"\x02\0\0\0\0\0\0\0{}"),
        type=ArtifactType.CHECKPOINT,
    )

    front = metadata(facts_of(artifact))

    assert (front["library_name"], front["base_model"]) == ("peft", "gpt2")
    assert front["base_model_relation"] == "adapter"


def test_datasets_of_the_hub_come_from_their_sources(project):
    run = RunFactory(project=project, dataset="")
    source = json.dumps({"path": "HuggingFaceH4/ultrachat", "split": "train"})
    DatasetInput.objects.create(
        run=run, name="chat", digest="1", source_type="hugging_face", source=source
    )
    DatasetInput.objects.create(
        run=run, name="own", digest="2", source_type="local", source='{"path": "a/b"}'
    )

    assert metadata(facts_of(checkpoint(run)))["datasets"] == ["HuggingFaceH4/ultrachat"]


def test_flat_results_are_indexed_by_the_only_dataset_for_evaluation(project):
    run = RunFactory(project=project)
    DatasetInput.objects.create(
        run=run, name="lcsts", digest="1", tags={"mlflow.data.context": "evaluation"}
    )
    artifact = checkpoint(run, step=100)
    evaluate(run, 100, bleu=30.5)

    [index] = metadata(facts_of(artifact))["model-index"]

    assert index["results"][0]["dataset"]["name"] == "lcsts"


def test_results_without_a_dataset_are_in_the_text_alone(project):
    run = RunFactory(project=project)
    artifact = checkpoint(run, step=100)
    evaluate(run, 100, bleu=30.5)

    assert "model-index" not in metadata(facts_of(artifact))
    assert "| bleu | 30.5 |" in body_of(artifact)


@pytest.mark.parametrize(
    "hostile", ["x\n---\n# y", "a: b", "---", "'\"{[", "!!python/none", "\x85"]
)
def test_text_of_users_cannot_leave_its_field(hostile):
    project = ProjectFactory(name=hostile, task_type=hostile, tags=[hostile or "-"])
    run = RunFactory(project=project, tags={"license": hostile}, dataset=hostile, model=hostile)
    artifact = checkpoint(run, step=100)
    evaluate(run, 100, **{hostile: {"acc": 0.5}})

    front, body = parsed(model_card(artifact))

    allowed = {"language", "license", "pipeline_tag", "base_model", "datasets", "metrics", "tags"}
    assert front.keys() <= {*allowed, "model-index"}
    assert front["metrics"] == ["acc"]
    assert len(re.findall(r"^# ", body, re.M)) == 1


# --- text ----------------------------------------------------------------------------------------


def test_hyperparameters_and_what_changed_on_resuming_are_told(project):
    first = RunFactory(project=project, name="first", hyperparameters={"lr": 3e-5, "seed": 1})
    second = RunFactory(
        project=project,
        name="second",
        hyperparameters={"lr": 1e-5, "seed": 1},
        resumed_from_id=checkpoint(first, step=50).pk,
        start_step=50,
    )
    second.note(EventKind.PARAMS_CHANGED, reason="warmup: 10 → 20")

    text = body_of(checkpoint(second, step=100))

    assert "| lr | `1e-5` |" in text
    assert "### Changed on resuming" in text
    assert "| lr | `3e-5` | `1e-5` |" in text
    assert "| seed | `1` | `1` |" not in text
    assert "- warmup: 10 → 20" in text


def test_gpu_hours_are_summed_over_runs_and_attempts(project):
    first = RunFactory(project=project, gpu_count=8, status=RunStatus.COMPLETED)
    held(first, (0, 1), (2, 3))
    middle = stored_at(checkpoint(first, step=50), 2.5)
    second = RunFactory(project=project, gpu_count=4, resumed_from_id=middle.pk, start_step=50)
    held(second, (10, 13))
    last = stored_at(checkpoint(second, step=100), 12)

    facts = facts_of(last)

    assert facts.held == timedelta(hours=3.5)
    assert facts.gpu_hours == 8 * 1.5 + 4 * 2
    assert "| GPU-hours | 20 |" in body_of(last)


def test_gpu_hours_of_unknown_gpus_are_not_told(project):
    artifact = checkpoint(RunFactory(project=project, gpu_count=0))

    assert facts_of(artifact).gpu_hours is None
    assert "| GPU-hours | " not in body_of(artifact).replace("GPU-hours | Checkpoint", "")


def test_lineage_names_each_run_with_its_steps(project, settings):
    settings.PUBLIC_URL = "https://hub.example/"
    first = RunFactory(project=project, name="first")
    second = RunFactory(
        project=project, name="second", resumed_from_id=checkpoint(first, step=50).pk, start_step=50
    )

    text = body_of(checkpoint(second, step=100))

    url = f"https://hub.example/dashboard/projects/{project.pk}/runs"
    assert f"| [first](<{url}/{first.pk}>) | 0 – 50 |" in text
    assert f"| [second](<{url}/{second.pk}>) | 50 – 100 |" in text


def test_data_of_all_runs_is_told(project):
    first = RunFactory(project=project, dataset="pretraining")
    second = RunFactory(
        project=project, dataset="papers", resumed_from_id=checkpoint(first, step=50).pk
    )
    DatasetInput.objects.create(run=first, name="common", digest="d1", source_type="s3", source="x")

    text = body_of(checkpoint(second, step=100))

    assert "- pretraining\n- papers" in text
    assert "| common | `d1` |" in text


def test_metrics_are_those_at_the_checkpoints_step(project):
    run = RunFactory(project=project, status=RunStatus.RUNNING, worker=WorkerFactory())
    record_metrics(run, [Point("eval_loss", step, 3.0 - step / 100, 0) for step in (50, 100, 150)])
    project.key_metrics = ["eval_loss"]
    project.save()

    assert "| eval\\_loss | 2 |" in body_of(checkpoint(run, step=120))


def test_curves_of_the_main_metrics_are_pictures_in_the_card(project):
    run = RunFactory(project=project, status=RunStatus.RUNNING, worker=WorkerFactory())
    record_metrics(run, [Point("eval_loss", step, 3.0 - step / 100, 0) for step in (50, 100)])
    project.key_metrics = ["eval_loss"]
    project.save()

    text = body_of(checkpoint(run, step=120))

    assert "![eval\\_loss](data:image/png;base64,iVBOR" in text


def test_curve_has_the_steps_of_each_run_up_to_its_checkpoint(project):
    first = RunFactory(project=project, name="first", status=RunStatus.RUNNING)
    record_metrics(first, [Point("eval_loss", step, 1.0, 0) for step in (10, 50, 90)])
    second = RunFactory(
        project=project,
        name="second",
        status=RunStatus.RUNNING,
        resumed_from_id=checkpoint(first, step=50).pk,
        start_step=50,
    )
    record_metrics(second, [Point("eval_loss", step, 1.0, 0) for step in (60, 100, 150)])

    segments = [*_segments(facts_of(checkpoint(second, step=120)), "eval_loss")]

    assert [segment.curve.data.step.tolist() for segment in segments] == [[10, 50], [60, 100]]


def test_approvals_are_told_with_who_and_when_and_notes(project):
    artifact = checkpoint(RunFactory(project=project, created_by=UserFactory(username="ada")))
    bo = UserFactory(username="bo")
    project.roles.create(user=bo, role=Role.MAINTAINER)
    artifact.tag(TagValue.RELEASED, notes="Passed.\n# Not a heading", by=bo)

    text = body_of(artifact)

    assert re.search(r"\*\*Released\*\* · bo · \d{4}-\d\d-\d\d \d\d:\d\d UTC", text)
    assert "> Passed.\n> \\# Not a heading" in text
    assert "| Trained by | ada |" in text


def test_registered_versions_are_told(project):
    artifact = checkpoint(RunFactory(project=project), step=100)
    model = RegisteredModel.objects.register("summaries", description="", tags={}, by=None)
    source = Source("uri", "location", RunFile(artifact.run_id, artifact.file))
    model.add_version(source, run_link="", description="", tags={}, by=None)

    assert "| Registered as | summaries 1 |" in body_of(artifact)


def test_versions_of_frameworks_and_the_commit_are_told(project):
    run = RunFactory(
        project=project,
        hyperparameters={"transformers_version": "5.24.0"},
        tags={"mlflow.source.git.commit": "abc123"},
    )

    text = body_of(checkpoint(run))

    assert "| transformers\\_version | `5.24.0` |" in text
    assert "| mlflow.source.git.commit | `abc123` |" in text


def test_headings_are_in_the_readers_language(project):
    artifact = checkpoint(RunFactory(project=project))

    with override("zh-hans"):
        assert inline(project.name) in model_card(artifact)
        assert "## Hyperparameters" not in model_card(artifact)
    assert "## Hyperparameters" in english_card(artifact)


# --- API -----------------------------------------------------------------------------------------


def url_of(artifact):
    run = artifact.run
    return f"/projects/{run.project_id}/runs/{run.pk}/artifacts/{artifact.pk}/model-card"


def test_card_is_downloaded_as_a_readme(project):
    response = ApiClient().get(url_of(checkpoint(RunFactory(project=project))))

    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/markdown; charset=utf-8")
    assert response["Content-Disposition"] == 'attachment; filename="README.md"'
    assert response.content.decode().startswith("---\n")


def test_only_checkpoints_have_cards(project):
    run = RunFactory(project=project)

    response = ApiClient().get(url_of(storing.store_config(run, io.BytesIO(b"{}"))))

    assert response.status_code == 404


def test_card_is_found_below_its_own_run_alone(project):
    artifact = checkpoint(RunFactory(project=project))
    artifact.run = RunFactory(project=project)

    assert ApiClient().get(url_of(artifact)).status_code == 404
