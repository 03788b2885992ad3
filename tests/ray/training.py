"""A training over nodes that share nothing but a network: every rank counts, rank 0 saves.

Ranks meet at MASTER_ADDR and MASTER_PORT: a step is done when each rank is there, as an all-reduce
is. Its state is a sum that depends on every step, so that a resumed training that repeated or
skipped one would end with other bytes.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

rank, nodes = int(os.environ["TRAINHUB_NODE_RANK"]), int(os.environ["TRAINHUB_NODES"])
meeting = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
config = json.loads(Path(os.environ["TRAINHUB_CONFIG"]).read_text())["hyperparameters"]
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


def meet():
    """Connections to the other ranks: of rank 0 all of them, of another one that to rank 0."""
    if rank == 0:
        with socket.create_server(meeting) as listener:
            return [listener.accept()[0] for _other in range(nodes - 1)]
    while True:
        try:
            return [socket.create_connection(meeting)]
        except ConnectionRefusedError:
            time.sleep(0.05)


def all_reduce(others):
    """Whether any rank is to stop, once all are there. A rank that is gone ends the others."""
    stop = bool(asked)
    if rank:
        others[0].sendall(b"\1" if stop else b"\0")
        return bool(exactly(others[0])[0])
    stop = sum(exactly(other)[0] for other in others) > 0 or stop
    for other in others:
        other.sendall(b"\1" if stop else b"\0")
    return stop


def exactly(connection):
    byte = connection.recv(1)
    if not byte:
        sys.exit("a rank is gone")
    return byte


print(f"rank {rank} of {nodes} begins at step {state['step']}")  # noqa: T201
print("devices", os.environ.get("CUDA_VISIBLE_DEVICES"))  # noqa: T201
connections = meet()
with Path(os.environ["TRAINHUB_METRICS_FILE"]).open("a") as metrics:
    while state["step"] < config["max_steps"] and not all_reduce(connections):
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
