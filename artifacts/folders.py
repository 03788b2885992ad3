"""Which file of a checkpoint folder is missing, as far as the names of the others tell.

- Hugging Face: ``model-00001-of-00003.safetensors`` says how many there are. Its Trainer writes
  ``training_args.bin`` with the weights and ``trainer_state.json`` at the end.
- DCP: ``.metadata`` (``__0.metadata`` if ranks save alone) is written after the shards.
- Megatron: ``common.pt`` is written first, ``metadata.json`` last; without it, nothing is loaded.
- DeepSpeed: the optimizer's states are numbered by rank, and each belongs to a model's states.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from pathlib import PurePosixPath
from typing import Final

from artifacts.layouts import DCP_SHARD, HUGGING_FACE, MEGATRON, TRAINER_STATE, Layout

_NUMBERED: Final = re.compile(
    r"(?P<before>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})(?P<after>\.(?:safetensors|bin|pt|pth))",
    re.ASCII,
)
_OPTIMIZER: Final = re.compile(
    r"(?P<before>(?:bf16_|fp16_)?zero_pp_rank_)(?P<rank>\d+)"
    r"(?P<after>_mp_rank_(?P<part>\d+)_optim_states\.pt)",
    re.ASCII,
)
TRAINING_ARGUMENTS: Final = "training_args.bin"
MEGATRON_COMMON: Final = "common.pt"
MEGATRON_METADATA: Final = "metadata.json"
# Hugging Face's Trainer writes this before it saves at SIGTERM, and deletes it afterwards.
UNFINISHED_MARK: Final = "checkpoint-is-incomplete.txt"
_TELLING: Final = {
    *(TRAINING_ARGUMENTS, TRAINER_STATE, UNFINISHED_MARK),
    *(MEGATRON_COMMON, MEGATRON_METADATA),
}


def tells_of_others(path: str) -> bool:
    """Whether the name of this file can show that another one is missing, or is such a one."""
    name = PurePosixPath(path).name
    return (
        name in _TELLING
        or name.endswith((".metadata", "_states.pt", ".index.json"))
        or DCP_SHARD.fullmatch(name) is not None
        or _NUMBERED.fullmatch(name) is not None
    )


def missing_file(paths: Collection[str], *, folder: str = "") -> str | None:
    """A file that is not among ``paths`` (within the folder) although it should be; None if the
    names show none. ``folder``: the folder's name."""
    by_folder: defaultdict[PurePosixPath, set[str]] = defaultdict(set)
    for path in paths:
        pure = PurePosixPath(path)
        by_folder[pure.parent].add(pure.name)
    for inside, names in sorted(by_folder.items()):
        for missing in _missing(names, folder if inside == PurePosixPath() else ""):
            return str(inside / missing)
    return None


def _missing(names: set[str], folder: str) -> Iterator[str]:
    yield from _missing_numbers(names)
    yield from _missing_ranks(names)
    if any(map(DCP_SHARD.fullmatch, names)) and not any(it.endswith(".metadata") for it in names):
        yield ".metadata"
    yield from _missing_last(names, folder, HUGGING_FACE, TRAINING_ARGUMENTS, TRAINER_STATE)
    yield from _missing_last(names, folder, MEGATRON, MEGATRON_COMMON, MEGATRON_METADATA)


def _missing_last(
    names: set[str], folder: str, layout: Layout, early: str, last: str
) -> Iterator[str]:
    """The file that ends a folder of this layout, if one that is written before it is there."""
    is_of_layout = layout.folder is not None and layout.folder.fullmatch(folder)
    if is_of_layout and early in names and last not in names:
        yield last


def _missing_numbers(names: Iterable[str]) -> Iterator[str]:
    for match in filter(None, map(_NUMBERED.fullmatch, sorted(names))):
        first = 0 if f"{match['before']}-00000-of-{match['count']}{match['after']}" in names else 1
        for number in range(first, first + int(match["count"])):
            name = f"{match['before']}-{number:05d}-of-{match['count']}{match['after']}"
            if name not in names:
                yield name
                return


def _missing_ranks(names: set[str]) -> Iterator[str]:
    for match in filter(None, map(_OPTIMIZER.fullmatch, sorted(names))):
        rank, part = int(match["rank"]), match["part"]
        earlier = f"{match['before']}{rank - 1}{match['after']}"
        if rank > 0 and earlier not in names:
            yield earlier
        # Of ZeRO 3, each rank has a part of the model.
        of_all = f"mp_rank_{part}_model_states.pt"
        of_rank = f"zero_pp_rank_{rank}_mp_rank_{part}_model_states.pt"
        is_zero_3 = any(
            name.startswith("zero_pp_rank_") and name.endswith(of_all) for name in names
        )
        if (of_rank if is_zero_3 else of_all) not in names:
            yield of_rank if is_zero_3 else of_all
