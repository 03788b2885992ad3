"""Layouts that the other trainings do not write: ``python other_layouts.py NAME``."""

import sys

import lightning
import tiny
import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning_fit import Module
from transformers import GPT2Config, GPT2LMHeadModel


def sharded_model():
    """Hugging Face: a model in several files with an index."""
    torch.manual_seed(7)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=32, n_positions=8, n_embd=16, n_layer=1, n_head=2)
    )
    model.save_pretrained(tiny.FOLDER / "final", max_shard_size="8KB")


def lightning_default():
    """Lightning: in its default folder, with a link to the last checkpoint."""
    loader = torch.utils.data.DataLoader(tiny.Rows(), batch_size=4)
    trainer = lightning.Trainer(
        default_root_dir=tiny.FOLDER,
        max_steps=tiny.MAX_STEPS,
        accelerator="cpu",
        callbacks=[ModelCheckpoint(every_n_train_steps=tiny.SAVE_STEPS, save_last="link")],
        logger=CSVLogger(tiny.FOLDER),
        log_every_n_steps=1,
    )
    trainer.fit(Module(), loader)


def accelerate_automatic():
    """Accelerate: names that count the checkpoints."""
    naming = ProjectConfiguration(project_dir=tiny.FOLDER, automatic_checkpoint_naming=True)
    accelerator = Accelerator(cpu=True, project_config=naming)
    network = tiny.network()
    accelerator.prepare(network, torch.optim.AdamW(network.parameters()))
    accelerator.save_state()
    accelerator.save_state()


{
    "sharded-model": sharded_model,
    "lightning-default": lightning_default,
    "accelerate-automatic": accelerate_automatic,
}[sys.argv[1]]()
