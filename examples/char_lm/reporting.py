"""Output of a run: log lines, metrics, the last evaluation, and a progress bar."""

from __future__ import annotations

import io
import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from atomic import write_atomically

BAR_WIDTH = 30  # characters


def log(message: str) -> None:
    """Write one line to standard output and flush it."""
    print(message, flush=True)


def use_any_encoding() -> None:
    """Escape characters that the terminal cannot encode instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class MetricsFile:
    """``metrics.jsonl``: one flat JSON object per reported step.

    ``step``, ``timestamp`` (Unix seconds) and ``total_steps`` have a fixed meaning; every other
    number is a metric under its own name.
    """

    def __init__(self, path: Path, total_steps: int) -> None:
        """Open ``path`` for appending; raise OSError if that fails."""
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        self._total_steps = total_steps

    def append(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append the line of ``step``; raise ValueError if a number is not finite."""
        line = {
            "step": step,
            "timestamp": time.time(),
            "total_steps": self._total_steps,
            **metrics,
        }
        # Write the whole line at once: a concurrent reader never sees a partial line, and a killed
        # process does not leave one.
        os.write(self._descriptor, json.dumps(line, allow_nan=False).encode() + b"\n")


def write_evaluation(
    directory: Path, step: int, eval_loss: float, unigram_loss: float, sample: str
) -> None:
    """Replace ``evaluation.json``. Losses are in nats per character."""
    content = {
        "step": step,
        "eval_loss": eval_loss,
        "eval_perplexity": perplexity(eval_loss),
        "unigram_loss": unigram_loss,
        "sample": sample,
    }
    text = json.dumps(content, ensure_ascii=False, indent=2) + "\n"
    write_atomically(directory / "evaluation.json", text.encode())


def perplexity(loss: float) -> float:
    """Return e to the ``loss``, capped so that it is finite for any finite loss."""
    return math.exp(min(loss, 700.0))


class ProgressBar:
    """A progress bar on standard error, redrawn in place; does nothing unless enabled."""

    def __init__(self, is_enabled: bool) -> None:
        self._is_enabled = is_enabled
        self._shown = ""

    def show(self, step: int, total_steps: int) -> None:
        """Draw the bar at ``step`` if it has changed."""
        share = step / total_steps
        filled = "#" * int(share * BAR_WIDTH)
        self._draw(f"[{filled:<{BAR_WIDTH}}] {share:4.0%} {step}/{total_steps}")

    def close(self) -> None:
        """End the line, so that later output starts on a new one."""
        if self._shown:
            print(file=sys.stderr, flush=True)
            self._shown = ""

    def _draw(self, bar: str) -> None:
        if self._is_enabled and bar != self._shown:
            print(f"\r{bar}", end="", file=sys.stderr, flush=True)
            self._shown = bar
