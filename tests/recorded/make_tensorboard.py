"""Writes the event files of this folder with the writers that trainings use.

In an environment of its own: pip install torch tensorboard lightning;
python tests/recorded/make_tensorboard.py
"""

import shutil
import time
from pathlib import Path

import numpy as np
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard import summary
from torch.utils.tensorboard import SummaryWriter

FOLDER = Path(__file__).parent / "tensorboard"


def torch_writer(folder: Path) -> None:
    """Scalars among all else that a summary may hold."""
    writer = SummaryWriter(str(folder))
    for step in range(5):
        writer.add_scalar("loss", 2.0 / (step + 1), step)
        writer.add_scalar(
            "odd", [float("nan"), float("inf"), -float("inf"), 0.0, 1e-30][step], step
        )
    writer.add_scalar("new_style", 0.25, 7, new_style=True)
    double = torch.tensor(0.1, dtype=torch.float64)
    writer.add_scalar("double", double, 7, new_style=True, double_precision=True)
    writer.add_histogram("weights", np.arange(10.0), 1)
    writer.add_image("picture", np.zeros((3, 4, 4), np.uint8), 1)
    writer.add_text("note", "hello", 1)
    writer.add_scalars("compared", {"a": 1.0, "b": 2.0}, 3)
    writer.add_hparams(
        {"lr": 0.1, "optimizer": "adam", "nesterov": True},
        {"hparam/accuracy": 0.9},
        run_name="trial",
    )
    writer.close()


def tensors(folder: Path) -> None:
    """Scalars as tensors, as TensorFlow 2 writes them."""
    writer = summary.Writer(str(folder))
    for step in range(4):
        writer.add_scalar(
            "epoch_loss", np.float32(1.0 / (step + 1)), step, wall_time=1_700_000_000.0 + step
        )
    writer.close()


def purged(folder: Path) -> None:
    """A training that crashed at step 5 and was started again from step 3."""
    with SummaryWriter(str(folder)) as writer:
        for step in range(6):
            writer.add_scalar("loss", float(step), step, walltime=1_700_000_000.0 + step)
    time.sleep(1.1)  # the files are ordered by the second in their names
    with SummaryWriter(str(folder), purge_step=3) as writer:
        for step in range(3, 6):
            writer.add_scalar("loss", 10.0 + step, step, walltime=1_700_000_100.0 + step)


class Line(LightningModule):
    def __init__(self, lr: float, layers: list[int]) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, 1)

    def training_step(self, batch: torch.Tensor) -> torch.Tensor:
        loss = self.layer(batch).square().mean()
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"])


def lightning(folder: Path) -> None:
    logger = TensorBoardLogger(folder.parent, name=folder.name, version=0)
    trainer = Trainer(
        max_epochs=1,
        logger=logger,
        log_every_n_steps=1,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    trainer.fit(Line(lr=0.01, layers=[4, 2]), torch.ones(4, 1))


if __name__ == "__main__":
    torch.manual_seed(0)
    shutil.rmtree(FOLDER, ignore_errors=True)
    for make in (torch_writer, tensors, purged, lightning):
        make(FOLDER / make.__name__)
