"""Recognition of checkpoints in the layouts written by the loggers of frameworks."""

import pytest

from artifacts.layouts import (
    FOLDER,
    MODEL,
    files_of,
    folder_of,
    is_checkpoint,
    is_saved,
    layout_of_folder,
    step_of,
)
from tests.saved_files import recorded


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
        ("ckpt_500.pth", None),  # maybe an epoch
        ("checkpoint-12.pth.tar", None),
        ("step_100.npz", 100),
        ("ckpts/step_100.bin", 100),
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
        "samples/step_500.png",
        "tmp-checkpoint-200/model.safetensors",
        "checkpoints/.tmp_step_5.pt",
        "notes/step-100.md",
        ".pt",
    ],
)
def test_other_file_is_not_a_checkpoint(path):
    assert not is_checkpoint(path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "hugging-face",
            {"checkpoint-2/model.safetensors": 2, "checkpoint-4/model.safetensors": 4},
        ),
        (
            "lightning",
            {"epoch=0-step=2.ckpt": 2, "epoch=0-step=4.ckpt": 4, "last.ckpt": None},
        ),
        ("torchrun-fsdp", {"step-2/.metadata": 2, "step-4/.metadata": 4}),
        (
            "deepspeed",
            {
                "global_step2/mp_rank_00_model_states.pt": 2,
                "global_step4/mp_rank_00_model_states.pt": 4,
            },
        ),
        ("orbax", {"2/_CHECKPOINT_METADATA": 2, "4/_CHECKPOINT_METADATA": 4}),
        (
            "orbax-alone",  # the step is not in every name
            {
                "final/_CHECKPOINT_METADATA": None,
                "named/state_000001/_CHECKPOINT_METADATA": None,
                "step_1/_CHECKPOINT_METADATA": 1,
            },
        ),
        ("orbax-killed", {"2/_CHECKPOINT_METADATA": 2}),
        ("composer", {"ep0-ba2-rank0.pt": 2, "ep0-ba4-rank0.pt": 4}),
        ("composer-sharded", {"ep0-ba2/.metadata": 2, "ep0-ba4/.metadata": 4}),
        ("megatron", {"iter_0000002/.metadata": 2, "iter_0000004/.metadata": 4}),
    ],
)
def test_folder_of_a_framework_uploaded_file_by_file(name, expected):
    """By the trees that tests/frameworks/record.py has recorded."""
    found = {path: step_of(path) for path in recorded(name) if is_checkpoint(path)}

    assert found == expected


def test_steps_of_accelerates_folders_uploaded_file_by_file():
    assert step_of("step_2/random_states_0.pkl") == 2
    assert step_of("checkpoints/checkpoint_3/random_states_0.pkl") is None
    assert step_of("step_5/checkpoint_3/random_states_0.pkl") == 5


def test_step_too_large_for_its_column_is_none():
    assert step_of("step=9999999999999999999.ckpt") is None


def test_innermost_checkpoint_folder():
    assert folder_of("checkpoint-1/artifacts/checkpoint-2/x")[0] == (
        "checkpoint-1/artifacts/checkpoint-2"
    )
    assert folder_of("checkpoint-x/model.safetensors") == ("", None)
    assert folder_of("checkpoint-200") == ("", None)


@pytest.mark.parametrize(
    ("main", "parts", "folder"),
    [
        (
            "global_step100/mp_rank_00_model_states.pt",
            ["global_step100/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"],
            "global_step100",
        ),
        (
            "epoch=1-step=200.ckpt/.metadata",
            ["epoch=1-step=200.ckpt/__0_0.distcp", "epoch=1-step=200.ckpt/other.txt"],
            "epoch=1-step=200.ckpt",
        ),
        ("dcp/step-5/.metadata", ["dcp/step-5/__0_0.distcp", "dcp/step-5/__1_0.distcp"],
         "dcp/step-5"),
        (
            "checkpoint-9/global_step9/mp_rank_00_model_states.pt",
            ["checkpoint-9/latest", "checkpoint-9/trainer_state.json"],
            "checkpoint-9",
        ),
        (
            "iter_0000300/mp_rank_00_000/model_optim_rng.pt",
            ["iter_0000300/mp_rank_01_000/model_optim_rng.pt", "iter_0000300/x/y.pt"],
            "iter_0000300",
        ),
    ],
)  # fmt: skip
def test_folder_is_represented_by_its_main_file(main, parts, folder):
    assert is_checkpoint(main)
    assert folder_of(main)[0] == folder
    assert [is_checkpoint(path) for path in parts] == [False] * len(parts)
    assert [folder_of(path)[0] for path in parts] == [folder] * len(parts)


@pytest.mark.parametrize(
    ("path", "step"),
    [
        ("global_step100/mp_rank_00_model_states.pt", 100),
        ("out/60/_CHECKPOINT_METADATA", 60),
        ("out/60/model.pt", None),
        ("20240101/model_epoch_3.pt", None),
        ("ep1-ba50-rank0.pt", 50),
        ("step_5/model_epoch_3.pt", 5),
        ("checkpoint-3.pth", None),
        ("checkpoint_1_500.pt", None),
    ],
)
def test_step_of_a_path(path, step):
    assert step_of(path) == step


@pytest.mark.parametrize(
    "name",
    [
        *("model.pt", "best.ckpt", "checkpoint.pth.tar", "checkpoint_100"),
        *("step_100", "step_7.pkl", "step-5.权重"),
    ],
)
def test_file_that_a_training_saves_is_a_checkpoint(name):
    assert is_saved(name)


@pytest.mark.parametrize(
    "name",
    [
        *("step_500.png", "eval_step_600.json", "notes_step_3.md", "scaler.pkl", "README.md"),
        *("optimizer.pt", "lr_scheduler.pt", "rng_state_0.pth", "training_args.bin"),
        *("model-00001-of-00002.safetensors", "ep1-ba50-rank1.pt", "vocabulary", "train.pkl"),
    ],
)
def test_other_file_of_a_training_is_none(name):
    assert not is_saved(name)


@pytest.mark.parametrize(
    ("name", "files", "layout"),
    [
        ("step_200", ["config.json", "model.safetensors", "optimizer.pt"], "huggingface"),
        ("step_200", ["config.json", "model.safetensors"], FOLDER),
        ("best", ["config.json", "model.safetensors", "scheduler.pt"], "huggingface"),
        ("best", ["model.safetensors", "trainer_state.json"], "huggingface"),
        ("final", ["config.json", "model.safetensors", "training_args.bin"], MODEL),
        ("adapter", ["adapter_config.json", "adapter_model.safetensors"], MODEL),
        ("step_200", ["encoder.pt", "decoder.pt"], FOLDER),
        ("step_700", ["0.png", "1.png"], None),
        ("checkpoint-700", ["0.png"], None),
        ("run", ["model.pt", "checkpoint-100/model.safetensors"], None),
        ("run", ["step_5.pt", "step_6.pt"], None),
    ],
)
def test_layout_of_a_folder(name, files, layout):
    assert layout_of_folder(name, files) == layout


def test_files_beside_a_model_do_not_belong_to_it():
    model = {"config.json", "model.safetensors", "tokenizer.json", "training_args.bin"}

    assert files_of(MODEL, model | {"step_500.pt", "trainer_log.jsonl", "README.md"}) == model


def test_files_that_grow_beside_a_checkpoint_do_not_belong_to_it():
    checkpoint = {"model.safetensors", "config.json", "optimizer.pt"}

    assert files_of("huggingface", checkpoint | {"train.log", "step_500.pt"}) == checkpoint
