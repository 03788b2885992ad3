"""The recipe hf-finetune of examples/hf_finetune: Trainer with two ranks under torchrun, on one
node, and on the two nodes of a real Slurm where there is one."""

from __future__ import annotations

import getpass
import io
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.models import Artifact
from metrics.models import MetricPoint
from runs.models import FailureKind
from runs.status import RunStatus
from tests.frameworks.hub import Hub, Training
from tests.frameworks.recipes import HF_FINETUNE, HF_FINETUNE_SLURM
from tests.slurm.cluster import Cluster, missing
from tests.workers import WorkerProcess

pytestmark = [
    pytest.mark.django_db(serialized_rollback=True),
    pytest.mark.xdist_group("hf-finetune"),
]

STEPS = 24
WANTED = {"max_steps": STEPS, "logging_steps": 1, "eval_steps": 12, "save_steps": 12}
SLOW = {"hidden_size": 128, "context_length": 256}  # so that there is time to cancel


@pytest.fixture(scope="module")
def undisturbed(hub: Hub, django_db_blocker) -> Training:
    """A training that nothing has disturbed."""
    with django_db_blocker.unblock():
        training = hub.start(HF_FINETUNE, **WANTED, **SLOW)
        training.wait_for_end()
    return training


@pytest.fixture(scope="module")
def slurm_hub(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """The hub with a worker that submits to a real Slurm of two nodes."""
    if reason := missing():
        pytest.skip(reason)
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        worker = WorkerProcess(
            "frameworks-slurm",
            TRAINHUB_DATA_DIR=hub.server.data,
            TRAINHUB_PORT=hub.server.port,
            TRAINHUB_EXECUTORS="slurm",
            TRAINHUB_SLURM_POLL_SECONDS=0.2,
            USER=getpass.getuser(),
            **{name: cluster.environment()[name] for name in ("PATH", "SLURM_CONF")},
        )
        yield hub
        worker.terminate()
        assert worker.wait() == 0
        assert "Traceback" not in worker.output(), worker.output()
    finally:
        cluster.stop()


def points(training: Training) -> Counter[tuple[str, int]]:
    """How many points there are of each key and step, but those that TrainHub itself takes."""
    found = MetricPoint.objects.filter(series__run=training.run)
    return Counter(
        (key, step)
        for key, step in found.values_list("series__key", "step")
        if not key.startswith("system/")
    )


def steps_of(training: Training) -> list[int]:
    return [step for step, _loss in training.losses()]


def files(hub: Hub, training: Training, artifact: Artifact) -> dict[str, bytes]:
    """The content of each file in the folder that an artifact is."""
    answer = hub.api.get(f"{training.path}/artifacts/{artifact.pk}/download")
    assert answer.status == 200, answer.body
    with tarfile.open(fileobj=io.BytesIO(answer.body)) as archive:
        opened = {member.name: archive.extractfile(member) for member in archive}
        return {Path(name).name: file.read() for name, file in opened.items() if file}


def weights(hub: Hub, training: Training) -> bytes:
    """The weights of its last step."""
    [checkpoint] = training.run.artifacts.filter(step=STEPS, metadata__layout="huggingface")
    return files(hub, training, checkpoint)["model.safetensors"]


def kept_after_cancel(training: Training) -> Artifact:
    training.wait_for_step(4)
    training.cancel()
    assert training.run.status == RunStatus.CANCELLED, training.report()
    return training.run.artifacts.kept_at_cancel().get()


def assert_goes_on_where_it_was(cancelled: Training, kept: Artifact, resumed: Training) -> None:
    assert kept.step is not None
    assert kept.damage == ""
    assert 4 <= kept.step < STEPS
    assert steps_of(cancelled) == list(range(1, kept.step + 1))
    assert resumed.run.status == RunStatus.COMPLETED, resumed.report()
    assert steps_of(resumed) == list(range(kept.step + 1, STEPS + 1))


def test_training_reports_its_curves_once_and_keeps_its_checkpoints(
    hub: Hub, undisturbed: Training
):
    run = undisturbed.run

    assert run.status == RunStatus.COMPLETED, undisturbed.report()
    assert (run.step, run.total_steps) == (STEPS, STEPS)
    assert steps_of(undisturbed) == list(range(1, STEPS + 1))
    counted = points(undisturbed)
    assert [step for key, step in sorted(counted) if key == "eval_loss"] == [12, 24]
    assert set(counted.values()) == {1}
    saved = run.artifacts.filter(metadata__layout="huggingface").order_by("step")
    assert [(item.step, item.damage) for item in saved] == [(12, ""), (24, "")]


def test_training_leaves_its_model_and_its_evaluation(hub: Hub, undisturbed: Training):
    [model] = undisturbed.run.artifacts.filter(metadata__layout="model")
    names = files(hub, undisturbed, model).keys()
    [evaluation] = undisturbed.run.artifacts.filter(type="evaluation")
    content = hub.api.get(f"{undisturbed.path}/artifacts/{evaluation.pk}/download").json

    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert content["step"] == STEPS
    assert content["eval_loss"] == undisturbed.run.series.get(key="eval_loss").last_value


def test_cancelled_training_ends_as_if_it_had_not_been_interrupted(hub: Hub, undisturbed: Training):
    cancelled = hub.start(HF_FINETUNE, **WANTED, **SLOW)
    kept = kept_after_cancel(cancelled)

    resumed = cancelled.resume(kept)
    resumed.wait_for_end()

    assert_goes_on_where_it_was(cancelled, kept, resumed)
    assert cancelled.losses() + resumed.losses() == undisturbed.losses()
    assert max(points(resumed).values()) == 1
    assert weights(hub, resumed) == weights(hub, undisturbed)


def test_steps_follow_from_epochs(hub: Hub):
    training = hub.start(HF_FINETUNE, max_steps=None, num_epochs=0.1, logging_steps=1, batch_size=2)

    training.wait_for_end()

    assert training.run.status == RunStatus.COMPLETED, training.report()
    assert training.run.total_steps == training.run.step > 1


def test_setting_that_cannot_be_used_fails_the_run_with_its_name(hub: Hub):
    training = hub.start(HF_FINETUNE, precision="fp8")

    training.wait_for_end()

    assert training.run.status == RunStatus.FAILED, training.report()
    assert "precision must be one of auto, bf16, fp16, fp32" in str(training.run.status_reason)
    assert training.run.failure_kind == FailureKind.EXIT_CODE


def test_training_over_two_nodes_is_cancelled_and_goes_on_where_it_was(slurm_hub: Hub):
    whole = slurm_hub.start(HF_FINETUNE_SLURM, **WANTED, **SLOW)
    whole.wait_for_end()
    cancelled = slurm_hub.start(HF_FINETUNE_SLURM, **WANTED, **SLOW)
    kept = kept_after_cancel(cancelled)

    resumed = cancelled.resume(kept)
    resumed.wait_for_end()

    assert whole.run.status == RunStatus.COMPLETED, whole.report()
    assert_goes_on_where_it_was(cancelled, kept, resumed)
    assert cancelled.losses() + resumed.losses() == whole.losses()
    assert max(points(resumed).values()) == 1
    assert weights(slurm_hub, resumed) == weights(slurm_hub, whole)
