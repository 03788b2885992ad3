"""Recognizes checkpoints and their steps by the paths of logged files.

Layouts written by the loggers of frameworks:

- Lightning's MLFlowLogger: ``<prefix>/<name>/<name>.ckpt`` next to ``metadata.yaml`` and
  ``aliases.txt``; ``<name>`` is ``epoch=1-step=200`` by default.
- Hugging Face's Trainer: a folder ``checkpoint-200`` with the weights and the state of the
  optimizer (optimizer.pt, …) and the trainer. The folder is one checkpoint, represented by its main
  weights.
- Others: ``.pt``, ``.pth`` or ``.safetensors`` with a file or folder name that indicates a
  checkpoint.
"""

from __future__ import annotations

import re
from typing import Final

from core.numbers import MAX_BIGINT

# Of a Hugging Face checkpoint: full model or adapter, single file or index of a sharded one.
MAIN_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
)

_FOLDER = re.compile(r"checkpoint-(\d{1,19})", re.ASCII)
_WEIGHTS = re.compile(r".\.(pt|pth|safetensors)\Z", re.IGNORECASE)
_PLACE = re.compile(r"checkpoint|ckpt|(step|epoch|iter)[-_=]?\d", re.IGNORECASE | re.ASCII)
# Files that are only part of a checkpoint.
_STATE = re.compile(r"(optimizer|scheduler|scaler|rng_state\w*|training_args)\.\w+", re.ASCII)
_STEP = re.compile(r"(?:step|iter)s?[-_=]?(\d{1,19})", re.IGNORECASE | re.ASCII)
_NUMBERED = re.compile(r"(?:checkpoint|ckpt)[-_=]?(\d{1,19})", re.IGNORECASE | re.ASCII)


def is_checkpoint(path: str) -> bool:
    folder, _slash, name = path.rpartition("/")
    if checkpoint_folder(path):
        return name in MAIN_WEIGHTS and folder == checkpoint_folder(path)
    if name.lower().endswith(".ckpt"):
        return True
    if _STATE.fullmatch(name) or not _WEIGHTS.search(name):
        return False
    return _PLACE.search(path) is not None


def checkpoint_folder(path: str) -> str:
    """The innermost parent folder ``…/checkpoint-<step>`` of ``path``; empty if there is none."""
    parts = path.split("/")[:-1]
    for count in range(len(parts), 0, -1):
        if _FOLDER.fullmatch(parts[count - 1]):
            return "/".join(parts[:count])
    return ""


def main_weights_in(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in MAIN_WEIGHTS]


def step_of(path: str) -> int | None:
    """The step in ``path``, innermost name first: step=200, checkpoint-200; None without one."""
    for part in reversed(path.split("/")):
        numbers = _STEP.findall(part) or _NUMBERED.findall(part)
        if numbers and int(numbers[-1]) <= MAX_BIGINT:
            return int(numbers[-1])
    return None
