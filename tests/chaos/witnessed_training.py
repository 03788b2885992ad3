"""A training that keeps a ledger of what it does, outside TrainHub: what is stored is compared with
it afterwards.

Each step is a line of output, a metric, and then an entry in the ledger, so that a kill leaves at
most one step that is not in it. Its state is a sum that depends on every step: a resumed training
that repeated or skipped one would end with another. It locks each of its GPUs, and its run, as long
as it lives: two trainings that have the same one notice that themselves.

With several GPUs, it has a second process, which does not end by itself.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

RANK_PROCESS = "--rank-process"
STATE = "state.json"  # in a checkpoint, whose format proves that it is whole, as torch.save's does
_held = []  # files whose locks this process holds


def next_sum(total, step):
    return (total * 31 + step) % 1_000_003


def read_state(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(STATE))


class Ledger:
    """Entries of one process, each written at once."""

    def __init__(self, folder, run):
        self._folder = Path(folder)
        self._file = os.open(self._folder / f"{run}.jsonl", os.O_CREAT | os.O_APPEND | os.O_WRONLY)
        self.attempt = int(os.environ["TRAINHUB_ATTEMPT"])

    def note(self, kind, **content):
        entry = {"kind": kind, "attempt": self.attempt, "at": time.time(), **content}
        os.write(self._file, json.dumps(entry).encode() + b"\n")

    def lock(self, name):
        file = (self._folder / f"{name}.lock").open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.note("conflict", name=name)
        _held.append(file)


class Training:
    def __init__(self, hyperparameters, ledger):
        self.config = hyperparameters
        self.ledger = ledger
        self.rank = int(os.environ.get("TRAINHUB_NODE_RANK", 0))
        self.nodes = int(os.environ.get("TRAINHUB_NODES", 1))
        self.checkpoints = Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
        self.output = Path(os.environ["TRAINHUB_OUTPUT_DIR"])
        self.asked = False
        self.step = self.sum = 0
        self.other = None

    def ask(self, *_):
        self.asked = True

    def run(self):
        """Returns the exit code."""
        if source := os.environ.get("TRAINHUB_RESUME_FROM"):
            state = read_state(Path(source))
            self.step, self.sum = state["step"], state["sum"]
        self.ledger.note("began", rank=self.rank, step=self.step)
        with Path(os.environ["TRAINHUB_METRICS_FILE"]).open("a") as metrics:
            code = self._train(metrics)
        if self.rank == 0 and code in {0, 143}:
            self._save()
        if self.other is not None and self.other.poll() is None:
            self.other.terminate()
            self.other.wait()
        self.ledger.note("ended", rank=self.rank, code=code, step=self.step)
        return code

    def _train(self, metrics):
        while self.step < self.config["max_steps"]:
            if not self._all_are_at(self.step + 1):
                return 143
            time.sleep(self.config["pause_seconds"])
            if self.other is not None and self.other.poll() is not None:
                return 128 - self.other.returncode  # as a shell tells a signal
            self.step += 1
            self.sum = next_sum(self.sum, self.step)
            if self.rank == 0:
                self._report(metrics)
            self._meet_fate()
        return 0

    def _all_are_at(self, step):
        """Wait until all nodes are at the step; False once one of them is to stop."""
        if self.nodes == 1:
            return not self.asked
        mine = self.output / f"rank-{self.rank}"
        draft = mine.with_suffix(".draft")
        draft.write_text(json.dumps({"step": step, "stop": self.asked}))
        draft.rename(mine)
        while True:
            paths = [self.output / f"rank-{rank}" for rank in range(self.nodes)]
            told = [json.loads(path.read_text()) for path in paths if path.exists()]
            if self.asked or any(item["stop"] for item in told):
                return False
            if len(told) == self.nodes and all(item["step"] >= step for item in told):
                return True
            time.sleep(0.005)

    def _report(self, metrics):
        print(f"attempt {self.ledger.attempt} step {self.step}", flush=True)
        metrics.write(json.dumps({"step": self.step, "train_loss": 1 / self.step}) + "\n")
        metrics.flush()
        self.ledger.note("step", step=self.step)
        if self.step % self.config["save_steps"] == 0:
            self._save()

    def _save(self):
        draft = self.checkpoints / f".step-{self.step}"
        with zipfile.ZipFile(draft, "w") as archive:
            archive.writestr(STATE, json.dumps({"step": self.step, "sum": self.sum}))
        draft.rename(self.checkpoints / f"step-{self.step:06d}.pt")
        self.ledger.note("saved", step=self.step)

    def _meet_fate(self):
        if self.step == self.config.get("fails_at"):
            self.ledger.note("fails", step=self.step)
            raise ValueError(f"planned failure at step {self.step}")
        if self.step == self.config.get("dies_at"):
            self.ledger.note("dies", step=self.step)
            os.kill(os.getpid(), signal.SIGKILL)


def main():
    run = os.environ["TRAINHUB_RUN_ID"]
    config = json.loads(Path(os.environ["TRAINHUB_CONFIG"]).read_text())
    ledger = Ledger(config["hyperparameters"]["ledger"], run)
    node = os.environ.get("SLURMD_NODENAME", "host")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    devices = [
        f"gpu-{node}-{name}" for name in visible.split(",") if name not in {"", "NoDevFiles"}
    ]
    if sys.argv[1:] == [RANK_PROCESS]:
        ledger.lock(devices[-1])
        while True:
            signal.pause()
    training = Training(config["hyperparameters"], ledger)
    is_deaf = config["hyperparameters"].get("is_deaf")
    signal.signal(signal.SIGTERM, signal.SIG_IGN if is_deaf else training.ask)
    if training.rank == 0:
        ledger.lock(run)
    if len(devices) > 1 and training.nodes == 1 and not is_deaf:
        training.other = subprocess.Popen([sys.executable, __file__, RANK_PROCESS])
        devices.pop()
    for device in devices:
        ledger.lock(device)
    sys.exit(training.run())


if __name__ == "__main__":
    main()
