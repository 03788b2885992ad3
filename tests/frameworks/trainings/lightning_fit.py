"""Lightning: Trainer.fit with ModelCheckpoint; reports to MLflow by MLFlowLogger."""

import os

import lightning
import tiny
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from torch.utils.data import DistributedSampler
from torchdata.stateful_dataloader import StatefulDataLoader


class Module(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = tiny.network()

    def training_step(self, batch, _number):
        tiny.work()
        rows, targets = batch
        loss = torch.nn.functional.mse_loss(self.network(rows), targets)
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01)


class RandomNumbers(lightning.Callback):
    """Lightning saves no random numbers: with these, a step's depend on its number alone."""

    def on_train_batch_start(self, trainer, *_):
        torch.manual_seed(trainer.global_step)


def main():
    lightning.seed_everything(7)
    checkpoints = ModelCheckpoint(
        dirpath=tiny.FOLDER,
        every_n_train_steps=tiny.SAVE_STEPS,
        monitor="step",
        mode="max",
        save_top_k=2,
        save_last=True,
        save_on_exception=True,  # saves on SIGTERM
    )
    logger = False
    if "MLFLOW_TRACKING_URI" in os.environ:
        logger = MLFlowLogger(
            tracking_uri=os.environ["MLFLOW_TRACKING_URI"], run_id=os.environ["MLFLOW_RUN_ID"]
        )
    trainer = lightning.Trainer(
        max_steps=tiny.MAX_STEPS,
        accelerator="cpu",
        devices=1,
        callbacks=[RandomNumbers(), checkpoints],
        logger=logger,
        log_every_n_steps=1,
    )
    # The order depends on the epoch, which Lightning tells the sampler; and a checkpoint within an
    # epoch says where the loader was. A plain one would begin again.
    order = DistributedSampler(tiny.Rows(), num_replicas=1, rank=0, seed=7)
    rows = StatefulDataLoader(tiny.Rows(), batch_size=1, sampler=order)
    trainer.fit(Module(), rows, ckpt_path=tiny.RESUME_FROM)


if __name__ == "__main__":
    main()
