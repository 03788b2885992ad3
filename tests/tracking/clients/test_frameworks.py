"""Runs reported by Hugging Face Trainer and Lightning through the MLflow client."""

import io
import tarfile

import pytest

pytestmark = pytest.mark.django_db(serialized_rollback=True)


@pytest.fixture(scope="package")
def frameworks(client):
    return client.run("frameworks")


def checkpoints(hub, project, name):
    artifacts = hub.files(project, name).items()
    return {path: artifact for path, artifact in artifacts if artifact["type"] == "checkpoint"}


def test_hugging_face_arguments_become_hyperparameters(frameworks, hub):
    run = hub.run("微调", "hugging-face")

    assert run["id"] == frameworks["hugging face"]
    assert run["status"] == "已完成"
    assert len(run["hyperparameters"]) == 235
    assert (
        run["hyperparameters"].items()
        >= {
            "learning_rate": "5e-05",
            "deepspeed": "None",
            "fsdp_config": "{'min_num_params': 0, 'xla': False}",
            "logging_dir": "",
        }.items()
    )
    assert run["tags"]["team"] == "nlp"


def test_hugging_face_logs_become_metrics(frameworks, hub):
    summaries = hub.metrics("微调", "hugging-face")

    assert {key: summary["count"] for key, summary in summaries.items()} == {
        **dict.fromkeys(("loss", "grad_norm", "learning_rate", "epoch"), 3),
        **dict.fromkeys(("train_runtime", "train_loss", "total_flos"), 1),
    }
    assert (summaries["loss"]["last"], summaries["loss"]["last_step"]) == (4 / 30, 30)


def test_hugging_face_checkpoint_is_registered(frameworks, hub):
    [(path, artifact)] = checkpoints(hub, "微调", "hugging-face").items()

    assert path.endswith("artifacts/checkpoint-30/model.safetensors")
    assert artifact["step"] == 30


def test_lightning_run_is_recorded(frameworks, hub):
    run = hub.run("lightning_logs", "lightning")

    assert run["id"] == frameworks["lightning"]
    assert (run["status"], run["metrics"]) == ("已完成", {"val_loss": 0.25, "epoch": 1})
    assert run["hyperparameters"] == {"lr": "0.001", "model/layers": "12"}


def test_lightning_checkpoints_are_registered(frameworks, hub):
    artifacts = checkpoints(hub, "lightning_logs", "lightning")

    assert {artifact["step"]: artifact["metadata"] for artifact in artifacts.values()} == {
        100: {"aliases": [], "score": 0.5, "monitor": "val_loss", "mode": "min"},
        200: {"aliases": ["latest", "best"], "score": 0.25, "monitor": "val_loss", "mode": "min"},
    }


def test_folder_of_shards_is_one_checkpoint(frameworks, hub):
    artifacts = checkpoints(hub, "sharded", "sharded")
    address = hub.path_of("sharded", "sharded")

    folders = {}
    for artifact in artifacts.values():
        archive = hub.api.get(f"{address}/artifacts/{artifact['id']}/archive").body
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            folders[artifact["step"]] = sorted(tar.getnames())

    assert [artifact["metadata"] for artifact in artifacts.values()] == [{}, {}]
    assert folders == {
        100: [
            *(
                f"global_step100/bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
                for rank in range(4)
            ),
            "global_step100/mp_rank_00_model_states.pt",
        ],
        300: [f"epoch=2-step=300.ckpt/{name}" for name in (".metadata", "__0_0.distcp", "meta.pt")],
    }
