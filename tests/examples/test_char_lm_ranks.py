"""examples/char_lm over several nodes, started as a launcher starts it on each."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.examples.test_char_lm import natural_text
from tests.up_process import free_port
from tests.waiting import wait_until

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "char_lm" / "train.py"
SMALL = {"batch_size": 33, "hidden_dim": 16, "embedding_dim": 4, "checkpoint_every": 10}


def start(folder, *, rank, port, hyperparameters, resume_from=None, nodes=2):
    folder.mkdir(parents=True, exist_ok=True)
    text = folder / "text.txt"
    text.write_text(natural_text())
    settings = {"dataset": str(text), "hyperparameters": {**SMALL, **hyperparameters}}
    (folder / "config.json").write_text(json.dumps(settings))
    variables = {
        "TRAINHUB_CONFIG": str(folder / "config.json"),
        "TRAINHUB_METRICS_FILE": str(folder / "metrics.jsonl"),
        "TRAINHUB_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "TRAINHUB_OUTPUT_DIR": str(folder),
        "TRAINHUB_RESUME_FROM": str(resume_from or ""),
        "TRAINHUB_NODES": str(nodes),
        "TRAINHUB_NODE_RANK": str(rank),
        "TRAINHUB_MASTER_ADDR": "127.0.0.1",
        "TRAINHUB_MASTER_PORT": str(port),
    }
    return subprocess.Popen([sys.executable, str(SCRIPT)], env={**os.environ, **variables})


def train(folder, hyperparameters, **options):
    """Train over two nodes until the end; the folder of rank 0's checkpoints."""
    port = free_port()
    ranks = [
        start(folder / str(rank), rank=rank, port=port, hyperparameters=hyperparameters, **options)
        for rank in range(2)
    ]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    return folder / "0" / "checkpoints"


def weights(path):
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files}


def test_resumed_training_over_two_nodes_ends_with_the_same_bytes(tmp_path):
    whole = train(tmp_path / "whole", {"max_steps": 30})
    part = train(tmp_path / "part", {"max_steps": 20})

    resumed = train(tmp_path / "resumed", {"max_steps": 30}, resume_from=part / "step-00000020.npz")

    assert weights(resumed / "step-00000030.npz") == weights(whole / "step-00000030.npz")
    assert not (tmp_path / "whole" / "1" / "checkpoints" / "step-00000030.npz").exists()


def test_signal_to_one_rank_stops_all_at_the_same_step(tmp_path):
    port = free_port()
    ranks = [
        start(tmp_path / str(rank), rank=rank, port=port, hyperparameters={"max_steps": 10**6})
        for rank in range(2)
    ]
    wait_until(lambda: list((tmp_path / "0" / "checkpoints").glob("*.npz")))

    ranks[1].send_signal(signal.SIGTERM)

    assert [rank.wait(timeout=60) for rank in ranks] == [143, 143]
