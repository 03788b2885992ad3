"""A training that reports every step and saves often: ``python training.py SECONDS``."""

import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

STEP_SECONDS = 0.2
CHECKPOINT_STEPS = 25
CHECKPOINT_BYTES = 100_000


def main(seconds: float) -> None:
    steps = int(seconds / STEP_SECONDS)
    folder = Path(os.environ["TRAINHUB_CHECKPOINT_DIR"])
    first = 1 + resumed_step(os.environ.get("TRAINHUB_RESUME_FROM", ""))
    with open(os.environ["TRAINHUB_METRICS_FILE"], "a", encoding="utf-8") as metrics:
        for step in range(first, steps + 1):
            time.sleep(STEP_SECONDS)
            report(metrics, {"step": step, "loss": 1 / step})
            if step % CHECKPOINT_STEPS == 0:
                save(folder / f"step-{step}.pt", step)


def resumed_step(path: str) -> int:
    return int(Path(path).read_bytes().split(b"\n", 1)[0]) if path else 0


def report(metrics, values) -> None:
    """Again and again while the disk is full: this training would rather wait than end."""
    line = json.dumps(values) + "\n"
    while line:
        try:
            written = os.write(metrics.fileno(), line.encode())
        except OSError:
            time.sleep(STEP_SECONDS)
        else:
            line = line[written:]


def save(path: Path, step: int) -> None:
    """If the disk is full, the next one has to do; its output may have no place either."""
    with suppress(OSError):
        path.with_suffix(".tmp").write_bytes(b"%d\n" % step + os.urandom(CHECKPOINT_BYTES))
        path.with_suffix(".tmp").rename(path)


if __name__ == "__main__":
    main(float(sys.argv[1]))
