"""A minimal training that follows the training-script contract: it counts its steps."""

import json
import os
import signal
import sys
import time
from pathlib import Path

config = json.loads(Path(os.environ["TRAINHUB_CONFIG"]).read_text())
hyperparameters = config["hyperparameters"]
total = hyperparameters["max_steps"]
checkpoints = Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
asked_to_stop = []
signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))


def save(step):
    draft = checkpoints / f".step-{step}"
    draft.write_text(json.dumps({"step": step}))
    draft.rename(checkpoints / f"step-{step:04d}.bin")


source = os.environ.get("TRAINHUB_RESUME_FROM")
step = json.loads(Path(source).read_text())["step"] if source else 0
print(f"attempt {os.environ['TRAINHUB_ATTEMPT']} from step {step}")  # noqa: T201
with Path(os.environ["TRAINHUB_METRICS_FILE"]).open("a") as metrics:
    while step < total and not asked_to_stop:
        time.sleep(hyperparameters.get("pause_seconds", 0.002))
        step += 1
        row = {"step": step, "total_steps": total, "train_loss": 1 / step, "pid": os.getpid()}
        metrics.write(json.dumps(row) + "\n")
        metrics.flush()
        print(f"step {step}")  # noqa: T201
        if step % 10 == 0:
            save(step)
save(step)
sys.exit(143 if step < total else 0)
