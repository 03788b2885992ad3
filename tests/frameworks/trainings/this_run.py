"""What TrainHub tells a training, and how the trainings here report; needs no framework."""

import itertools
import json
import os
import time
from pathlib import Path

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


def report(step, **metrics):
    """A line of metrics, for scripts without a logger that TrainHub understands."""
    print(f"step {step}: {metrics}")
    with Path(os.environ.get("TRAINHUB_METRICS_FILE", os.devnull)).open("a") as file:
        file.write(json.dumps({"step": step, "total_steps": MAX_STEPS, **metrics}) + "\n")
