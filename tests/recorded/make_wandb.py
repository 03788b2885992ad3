"""Writes an offline run with the wandb package, and its history as the public API exports it.

In an environment of its own: pip install wandb pandas pyarrow;
python tests/recorded/make_wandb.py
"""

import os
import shutil
import tempfile
from pathlib import Path

import pandas as pd
import wandb

FOLDER = Path(__file__).parent / "wandb"
CONFIG = {"learning_rate": 3e-5, "optimizer": {"name": "adamw", "betas": [0.9, 0.95]}}


def offline(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        settings = wandb.Settings(
            x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True
        )
        run = wandb.init(
            project="summaries",
            name="tiny-run",
            id="abc123de",
            config=CONFIG,
            tags=["baseline"],
            notes="a first try",
            dir=scratch,
            settings=settings,
        )
        run.log({"train/loss": float("nan")})
        for step in range(1, 6):
            run.log({"train/loss": 2.0 / (step + 1), "eval": {"bleu": step / 10}})
        # Longer than a block of the file.
        run.log({"text": "x" * 33_000, "hist": wandb.Histogram([1, 2]), "acc": 1}, step=9)
        run.finish()
        (source,) = Path(scratch, "wandb").glob("offline-run-*")
        (log,) = source.glob("*.wandb")
        (folder / source.name).mkdir(parents=True)
        shutil.copy2(log, folder / source.name)


def history(folder: Path) -> None:
    """The columns of Run.history(): _step, _runtime, _timestamp and the metrics."""
    rows = [
        {
            "_step": step,
            "_runtime": step * 1.5,
            "_timestamp": 1_700_000_000.25 + step * 1.5,
            "train/loss": 2.0 / (step + 1),
            "eval.bleu": step / 10 if step % 2 else None,
            "done": step == 3,
            "note": "text",
        }
        for step in range(4)
    ]
    frame = pd.DataFrame(rows)
    frame.to_csv(folder / "history.csv", index=False)
    frame.to_csv(folder / "history-with-index.csv")
    frame.to_json(folder / "history-columns.json")
    frame.to_json(folder / "history-records.json", orient="records")
    frame.to_json(folder / "history.jsonl", orient="records", lines=True)
    frame.to_parquet(folder / "history.parquet", index=False)


if __name__ == "__main__":
    os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    offline(FOLDER)
    history(FOLDER)
