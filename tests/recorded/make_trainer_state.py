"""Writes trainer_state.json and an event file with Hugging Face's Trainer.

In an environment of its own: pip install torch transformers accelerate tensorboard;
python tests/recorded/make_trainer_state.py
"""

import os
import shutil
from pathlib import Path

import torch
from transformers import Trainer, TrainingArguments

FOLDER = Path(__file__).parent / "trainer"
KEPT = ("trainer_state.json", "events.out.tfevents")


class Line(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self.layer(x)
        return {"loss": (outputs - labels).square().mean(), "logits": outputs}


def main() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    os.chdir(FOLDER)  # the files name the folders that they were written to
    os.environ["TENSORBOARD_LOGGING_DIR"] = "tensorboard"
    rows = [{"x": torch.tensor([float(i)]), "labels": torch.tensor([2.0 * i])} for i in range(8)]
    arguments = TrainingArguments(
        output_dir="tiny-line",
        max_steps=8,
        per_device_train_batch_size=2,
        logging_steps=2,
        eval_strategy="steps",
        eval_steps=4,
        save_steps=4,
        load_best_model_at_end=True,
        learning_rate=1e-3,
        report_to="tensorboard",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(Line(), arguments, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    trainer.evaluate()
    trainer.save_state()
    for path in sorted(FOLDER.rglob("*"), reverse=True):
        if path.is_file() and not path.name.startswith(KEPT):
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


if __name__ == "__main__":
    main()
