"""Recognition of checkpoints in the layouts written by the loggers of frameworks."""

import pytest

from artifacts.recognition import checkpoint_folder, is_checkpoint, step_of


@pytest.mark.parametrize(
    ("path", "step"),
    [
        # Lightning's MLFlowLogger
        ("epoch=1-step=200/epoch=1-step=200.ckpt", 200),
        ("model/checkpoints/epoch=0-step=10/epoch=0-step=10.ckpt", 10),
        ("last/last.ckpt", None),
        # Hugging Face's Trainer, logged as a folder and by pyfunc.log_model
        ("checkpoint-200/model.safetensors", 200),
        ("out/checkpoint-1000/pytorch_model.bin", 1000),
        ("checkpoint-200/artifacts/checkpoint-200/adapter_model.safetensors", 200),
        ("checkpoint-200/model.safetensors.index.json", 200),
        # others
        ("checkpoints/last.pt", None),
        ("step-100.pt", 100),
        ("ckpt_500.pth", 500),
        ("weights/step_000300.safetensors", 300),
    ],
)
def test_checkpoint_and_its_step(path, step):
    assert is_checkpoint(path)
    assert step_of(path) == step


@pytest.mark.parametrize(
    "path",
    [
        "model.pt",
        "model/data/model.pth",
        "epoch=1-step=200/metadata.yaml",
        "epoch=1-step=200/aliases.txt",
        "checkpoint-200/optimizer.pt",
        "checkpoint-200/scheduler.pt",
        "checkpoint-200/rng_state.pth",
        "checkpoint-200/training_args.bin",
        "checkpoint-200/config.json",
        "checkpoint-200/model-00001-of-00002.safetensors",
        "checkpoint-200/nested/model.safetensors",
        "checkpoints/optimizer.pt",
        "checkpoint.txt",
        "notes/step-100.md",
        ".pt",
    ],
)
def test_other_file_is_not_a_checkpoint(path):
    assert not is_checkpoint(path)


def test_step_too_large_for_its_column_is_none():
    assert step_of("step=9999999999999999999.ckpt") is None


def test_innermost_checkpoint_folder():
    assert checkpoint_folder("checkpoint-1/artifacts/checkpoint-2/x") == (
        "checkpoint-1/artifacts/checkpoint-2"
    )
    assert checkpoint_folder("checkpoint-x/model.safetensors") == ""
    assert checkpoint_folder("checkpoint-200") == ""
