"""A training over all nodes of a job: every rank counts, rank 0 reports and saves.

Ranks meet in the attempt's folder: a step is done when each rank has written it, as an all-reduce
is. Its state is a sum that depends on every step, so that a resumed training that repeated or
skipped one would end with other bytes.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

rank, nodes = int(os.environ["TRAINHUB_NODE_RANK"]), int(os.environ["TRAINHUB_NODES"])
assert os.environ["MASTER_ADDR"]
assert int(os.environ["PET_NNODES"]) == nodes
config = json.loads(Path(os.environ["TRAINHUB_CONFIG"]).read_text())["hyperparameters"]
output = Path(os.environ["TRAINHUB_OUTPUT_DIR"])
checkpoints = Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(True))

state = {"step": 0, "sum": 0}
if source := os.environ.get("TRAINHUB_RESUME_FROM"):
    state = json.loads(Path(source).read_text())


def save():
    draft = checkpoints / f".step-{state['step']}"
    draft.write_text(json.dumps(state))
    draft.rename(checkpoints / f"step-{state['step']:06d}.bin")


def all_reduce(step):
    """Wait until every rank is at the step; False if one of them is to stop."""
    mine = output / f"rank-{rank}"
    mine.with_suffix(".draft").write_text(json.dumps({"step": step, "stop": bool(asked)}))
    mine.with_suffix(".draft").rename(mine)
    while True:
        told = []
        for other in range(nodes):
            try:
                told.append(json.loads((output / f"rank-{other}").read_text()))
            except FileNotFoundError:
                break
        if any(item["stop"] for item in told):
            return False
        if len(told) == nodes and all(item["step"] >= step for item in told):
            return True
        if asked:
            return False
        time.sleep(0.002)


print(f"rank {rank} of {nodes} begins at step {state['step']}")  # noqa: T201
with Path(os.environ["TRAINHUB_METRICS_FILE"]).open("a") as metrics:
    while state["step"] < config["max_steps"] and all_reduce(state["step"] + 1):
        time.sleep(config.get("pause_seconds", 0.01))
        state["step"] += 1
        state["sum"] = (state["sum"] * 31 + state["step"]) % 1_000_003
        if rank == 0:
            row = {"step": state["step"], "train_loss": 1 / state["step"]}
            metrics.write(json.dumps(row) + "\n")
            metrics.flush()
            if state["step"] % 50 == 0:
                save()
if rank == 0:
    save()
print(f"rank {rank} ends at step {state['step']}")  # noqa: T201
sys.exit(0 if state["step"] >= config["max_steps"] else 143)
