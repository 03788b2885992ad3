"""Which of the files that trainings log are checkpoints, and of which step.

The layouts, as the frameworks' loggers write them:

- Lightning's MLFlowLogger: ``<prefix>/<name>/<name>.ckpt``, ``metadata.yaml`` and ``aliases.txt``
  beside it; ``<name>`` is ``epoch=1-step=200`` by default.
- Hugging Face's Trainer: a folder ``checkpoint-200`` with the weights, the optimizer's state
  (optimizer.pt, …) and the trainer's. The folder is one checkpoint: its main weights stand for it.
- Others: ``.pt``, ``.pth`` or ``.safetensors``, named or filed as checkpoints.
"""

from __future__ import annotations

import re
from typing import Final

MAX_STEP: Final = 2**63 - 1
# Of a Hugging Face checkpoint, whole or an adapter, in one file or in parts with an index.
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
# Parts of a checkpoint that is not this file alone.
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
    """The innermost folder ``…/checkpoint-<step>`` that ``path`` lies in; empty if in none."""
    parts = path.split("/")[:-1]
    for count in range(len(parts), 0, -1):
        if _FOLDER.fullmatch(parts[count - 1]):
            return "/".join(parts[:count])
    return ""


def main_weights_in(folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in MAIN_WEIGHTS]


def step_of(path: str) -> int | None:
    """What the names say, the innermost first: step=200, checkpoint-200; None if nothing."""
    for part in reversed(path.split("/")):
        numbers = _STEP.findall(part) or _NUMBERED.findall(part)
        if numbers and int(numbers[-1]) <= MAX_STEP:
            return int(numbers[-1])
    return None
