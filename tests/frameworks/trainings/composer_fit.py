"""Composer: ``python composer_fit.py``; ``composer -n 2 composer_fit.py sharded`` with FSDP, whose
ranks save together."""

import sys

import tiny
import torch
from composer import Trainer
from composer.models import ComposerModel
from composer.utils import dist
from torch.utils.data import DataLoader


class Model(ComposerModel):
    def __init__(self):
        super().__init__()
        self.network = tiny.network()

    def forward(self, batch):
        return self.network(batch[0])

    def loss(self, outputs, batch):
        return torch.nn.functional.mse_loss(outputs, batch[1])


def options():
    if sys.argv[1:] != ["sharded"]:
        return {}
    # Composer asks for the GPU to shard on, and there may be none.
    torch.cuda.current_device = lambda: torch.device("cpu")
    return {"parallelism_config": {"fsdp": {"state_dict_type": "sharded"}}}


model, rows = Model(), tiny.Rows()
Trainer(
    model=model,
    optimizers=torch.optim.AdamW(model.parameters(), lr=0.01),
    train_dataloader=DataLoader(rows, batch_size=4, sampler=dist.get_sampler(rows, shuffle=True)),
    max_duration=f"{tiny.MAX_STEPS}ba",
    save_interval=f"{tiny.SAVE_STEPS}ba",
    save_folder=str(tiny.FOLDER),
    load_path=tiny.RESUME_FROM,
    device="cpu",
    progress_bar=False,
    **options(),
).fit()
