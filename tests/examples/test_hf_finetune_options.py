"""What the recipe hf-finetune understands; its trainings are in tests/frameworks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "hf_finetune"))

from options import OptionError, Options

RECIPES = sorted((Path(__file__).resolve().parents[2] / "examples" / "hf_finetune").glob("*.json"))


def loaded(tmp_path: Path, **hyperparameters: object) -> Options:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"hyperparameters": hyperparameters}))
    return Options.load(
        {"TRAINHUB_CONFIG": str(config), "TRAINHUB_DATASET_DIRS": str(tmp_path / "texts")}
    )


def test_arguments_of_trainer_have_its_names_or_those_of_trainhub(tmp_path):
    options = loaded(tmp_path, batch_size=4, num_epochs=2, learning_rate=2e-5, warmup_steps=10.0)

    assert options.trainer == {
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2.0,
        "learning_rate": 2e-5,
        "warmup_steps": 10,
    }


def test_name_of_trainer_comes_before_that_of_trainhub(tmp_path):
    options = loaded(tmp_path, num_epochs=3, num_train_epochs=1, batch_size=None)

    assert options.trainer == {"num_train_epochs": 1.0}


def test_what_it_does_not_know_is_ignored_and_named(tmp_path):
    options = loaded(tmp_path, lora_rank=8, adapter="x", num_layers=3)

    assert options.ignored == ("adapter", "lora_rank")
    assert options.num_layers == 3


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"max_steps": 0}, "max_steps must be at least 1, not 0"),
        ({"max_steps": 1.5}, "max_steps must be a whole number, not 1.5"),
        ({"max_steps": True}, "max_steps must be a number, not True"),
        ({"learning_rate": "fast"}, "learning_rate must be a number, not 'fast'"),
        ({"gradient_checkpointing": 1}, "gradient_checkpointing must be true or false, not 1"),
        ({"lr_scheduler_type": 1}, "lr_scheduler_type must be a text, not 1"),
        ({"precision": "fp8"}, "precision must be one of auto, bf16, fp16, fp32, not 'fp8'"),
        ({"hidden_size": 30, "num_heads": 4}, "hidden_size must be a multiple of num_heads"),
    ],
)
def test_value_that_cannot_be_used_is_named(tmp_path, hyperparameters, message):
    with pytest.raises(OptionError, match=message):
        loaded(tmp_path, **hyperparameters)


def test_model_is_a_folder_of_the_datasets_or_a_name_of_the_hub(tmp_path):
    options = loaded(tmp_path)
    (tmp_path / "texts" / "qwen").mkdir(parents=True)

    assert options.path_of("qwen") == tmp_path / "texts" / "qwen"
    assert options.path_of("Qwen/Qwen3-0.6B") is None


@pytest.mark.parametrize("name", ["/etc/passwd", "../secret", "here/../secret", "~/secret"])
def test_files_outside_the_datasets_are_refused(tmp_path, monkeypatch, name):
    options = loaded(tmp_path)
    for folder in ("texts", "secret", "here"):
        (tmp_path / folder).mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(OptionError, match="is not below TRAINHUB_DATASET_DIRS"):
        options.path_of(name)


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_sets_only_what_the_script_knows(tmp_path, file):
    [recipe] = json.loads(file.read_text())

    options = loaded(tmp_path, **recipe["fields"]["default_hyperparameters"])

    assert options.ignored == ()
