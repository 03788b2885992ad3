"""A model and data so small that a step takes milliseconds; what the trainings here share."""

import itertools
import json
import os
import time
from pathlib import Path

import torch

# Of the run, as TrainHub writes them; elsewhere the defaults.
hyperparameters = {"max_steps": 24, "save_steps": 6, "pause_seconds": 0.0, "fail_after": None}
if "TRAINHUB_CONFIG" in os.environ:
    hyperparameters |= json.loads(Path(os.environ["TRAINHUB_CONFIG"]).read_text())[
        "hyperparameters"
    ]
MAX_STEPS, SAVE_STEPS = hyperparameters["max_steps"], hyperparameters["save_steps"]

# Where checkpoints go, and the one to start from.
FOLDER = Path(os.environ.get("TRAINHUB_CHECKPOINT_DIR", "checkpoints"))
RESUME_FROM = os.environ.get("TRAINHUB_RESUME_FROM")


calls = itertools.count()


def work():
    """What a step of a real model does beyond this one: it takes long, and may fail."""
    time.sleep(hyperparameters["pause_seconds"])
    if next(calls) == hyperparameters["fail_after"]:
        raise ValueError("the learning rate is too high")


class Rows(torch.utils.data.Dataset):
    """Numbers to fit a line through; 40 rows, so that epochs of 2 and 4 rows a batch differ."""

    def __len__(self):
        return 40

    def __getitem__(self, number):
        generator = torch.Generator().manual_seed(number)
        row = torch.randn(8, generator=generator)
        return row, row.sum(0, keepdim=True)


def network():
    """With dropout: the random numbers must go on where they were."""
    torch.manual_seed(7)
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Dropout(0.1), torch.nn.Linear(16, 1)
    )


def report(step, **metrics):
    """A line of metrics, for scripts without a logger that TrainHub understands."""
    print(f"step {step}: {metrics}")
    with Path(os.environ.get("TRAINHUB_METRICS_FILE", os.devnull)).open("a") as file:
        file.write(json.dumps({"step": step, "total_steps": MAX_STEPS, **metrics}) + "\n")
