"""What a checkpoint is: the layouts in which frameworks write them, by path.

One table for the folder of a training on a worker's host and for uploaded files. A checkpoint is a
file, or a folder with all of its files. Sources:

- Hugging Face Trainer: ``checkpoint-200/`` with the weights (single, or sharded with an index) and
  the state of the optimizer and the trainer; with DeepSpeed or FSDP, folders of those inside.
  ``save_model()``, ``save_pretrained()``: the weights next to ``config.json``, without the state.
- Accelerate ``save_state()``: a folder with ``random_states_0.pkl``. Its automatic names, such as
  ``checkpoints/checkpoint_3``, count the checkpoints, not the steps.
- Lightning: ``<name>.ckpt``, a file, or a folder with DeepSpeed or FSDP. Its MLFlowLogger uploads
  ``<prefix>/<name>/<name>.ckpt`` next to ``metadata.yaml`` and ``aliases.txt``.
- DeepSpeed: ``global_step200/``; ``latest`` next to it contains its name.
- Megatron-LM: ``iter_0000200/``; ``latest_checkpointed_iteration.txt`` next to it.
- PyTorch Distributed Checkpoint (DCP): a folder with ``.metadata`` and ``__0_0.distcp`` …
- Orbax: ``200/`` with ``_CHECKPOINT_METADATA``; ``200.orbax-checkpoint-tmp/`` while it is written.
- Composer: ``ep1-ba200-rank0.pt``.
- Others: a file of weights, or a folder with some.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from core.numbers import MAX_BIGINT

_STATES = r"(?:bf16_|fp16_)?(?:zero_pp_rank_\d+_)?mp_rank_\d+_(?:model|optim)_states\.pt"
_MODEL_STATES = r"(?:zero_pp_rank_\d+_)?mp_rank_\d+_model_states\.pt"


@dataclass(frozen=True, slots=True)
class Layout:
    """How a kind of checkpoint folder is recognized.

    ``folder`` matches the folder's name, with the step as the group ``step`` if the name has it.
    ``main`` matches paths within the folder. Of the uploaded files of a folder, one of these
    represents the checkpoint; and a folder of any name that contains one is a checkpoint, if
    ``is_telling``. ``pointer``: the file next to the folder that names it, for loaders that read
    the parent folder; ``{name}`` and ``{step}`` are filled in.
    """

    name: str
    main: re.Pattern[str]
    folder: re.Pattern[str] | None = None
    is_telling: bool = False
    pointer: tuple[str, str] | None = None


HUGGING_FACE: Final = Layout(
    "huggingface",
    # Of a full model or an adapter, a single file or the index of a sharded one.
    re.compile(
        r"(?:model|adapter_model)\.safetensors(?:\.index\.json)?"
        r"|(?:pytorch_model|adapter_model)\.bin(?:\.index\.json)?"
        rf"|global_step\d+/{_MODEL_STATES}"
        r"|pytorch_model_fsdp(?:_\d+)?(?:/\.metadata|\.bin)"
    ),
    re.compile(r"checkpoint-(?P<step>\d{1,19})", re.ASCII),
)
LIGHTNING: Final = Layout(
    "lightning",
    re.compile(rf"\.metadata|meta\.pt|checkpoint/{_MODEL_STATES}"),
    re.compile(r".+\.ckpt", re.IGNORECASE),
)
DEEPSPEED: Final = Layout(
    "deepspeed",
    re.compile(_MODEL_STATES),
    re.compile(r"global_step(?P<step>\d{1,19})", re.ASCII),
    is_telling=True,
    pointer=("latest", "{name}"),
)
MEGATRON: Final = Layout(
    "megatron",
    re.compile(r"mp_rank_00(?:_000)*/(?:model_optim_rng|model_rng)\.pt|\.metadata"),
    re.compile(r"iter_(?P<step>\d{7,19})", re.ASCII),
    pointer=("latest_checkpointed_iteration.txt", "{step}"),
)
ORBAX: Final = Layout("orbax", re.compile(r"_CHECKPOINT_METADATA"), is_telling=True)
DCP: Final = Layout("dcp", re.compile(r"\.metadata"), is_telling=True)
ACCELERATE: Final = Layout("accelerate", re.compile(r"random_states_0\.pkl"), is_telling=True)
LAYOUTS: Final = (HUGGING_FACE, LIGHTNING, DEEPSPEED, MEGATRON, ORBAX, DCP, ACCELERATE)
BY_NAME: Final = {layout.name: layout for layout in LAYOUTS}

# Layouts whose folders contain those of others.
_CONTAINERS: Final = (HUGGING_FACE, LIGHTNING)
# Weights without the state of the training: a model to release, not a checkpoint to resume from.
TRAINER_STATE: Final = "trainer_state.json"  # of Hugging Face
MODEL: Final = "model"
FOLDER: Final = "folder"  # of no known framework

_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}\.\w+\Z", re.ASCII)
DCP_SHARD: Final = re.compile(r"__\d+_\d+\.distcp", re.ASCII)
_WEIGHTS: Final = re.compile(r".\.(pt|pth|safetensors)\Z", re.IGNORECASE)
_SAVED: Final = re.compile(r".\.(pt|pth|ckpt|bin|safetensors|npz|msgpack)\Z", re.IGNORECASE)
_PLACE: Final = re.compile(
    r"checkpoint|ckpt|(step|epoch|iter|ba)[-_=]?\d", re.IGNORECASE | re.ASCII
)
# Files that are only part of a checkpoint.
_STATE: Final = re.compile(
    r"(optimizer|scheduler|scaler|rng_state\w*|training_args)(_\d+)?\.\w+"
    r"|random_states_\d+\.pkl|.*-rank[1-9]\d*\.\w+",
    re.ASCII,
)
# Still being written.
_BEING_SAVED: Final = "orbax-checkpoint-tmp"
_TEMPORARY: Final = re.compile(
    rf"\..*|tmp[-_].*|.*\.(tmp|part|partial|incomplete)|.*\.tmp.*|.*{_BEING_SAVED}.*|.*~",
    re.IGNORECASE,
)
_STEP: Final = re.compile(
    r"(?<![a-z])(?:global[-_]?)?(?:step|iter(?:ation)?|ba)s?[-_=]?(\d{1,19})(?!\d)",
    re.IGNORECASE | re.ASCII,
)
# Not "checkpoint3.pt" or "checkpoint_1_500.pt", which are fairseq's epochs.
_NUMBERED: Final = re.compile(
    r"(?:checkpoint|ckpt)[-_=](\d{1,19})(?![\d]|[-_=.]\d)", re.IGNORECASE | re.ASCII
)
_COUNTED: Final = re.compile(r"checkpoint_\d+", re.ASCII)  # by Accelerate


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is still being written."""
    return _TEMPORARY.fullmatch(name) is not None


def is_checkpoint(path: str) -> bool:
    """Whether the uploaded file ``path`` is a checkpoint, or represents that of its folder."""
    folder, layout = folder_of(path)
    if _BEING_SAVED in folder:
        return False
    if layout is not None:
        return layout.main.fullmatch(path.removeprefix(f"{folder}/")) is not None
    name = path.rpartition("/")[2]
    if name.lower().endswith(".ckpt"):
        return True
    if _STATE.fullmatch(name) or _SHARD.search(name) or not _WEIGHTS.search(name):
        return False
    return _PLACE.search(path) is not None


def folder_of(path: str) -> tuple[str, Layout | None]:
    """The checkpoint folder that contains the file ``path``, and its layout; "" and None without
    one.

    The innermost one, as a logged model may contain a copy of a checkpoint; but a folder that a
    framework nests in its own, such as DeepSpeed's in Hugging Face's, belongs to the outer one.
    """
    parts = path.split("/")
    found: tuple[int, Layout] | None = None
    for count in range(len(parts) - 1, 0, -1):
        layout = _layout_of(parts[count - 1], "/".join(parts[count:]))
        if layout is None:
            continue
        if found is None or (layout in _CONTAINERS and layout is not found[1]):
            found = count, layout
    return ("", None) if found is None else ("/".join(parts[: found[0]]), found[1])


def _layout_of(folder: str, inside: str) -> Layout | None:
    """The layout of a folder, by its name or by one of its files."""
    for layout in LAYOUTS:
        if layout.folder is not None and layout.folder.fullmatch(folder):
            return layout
    if DCP_SHARD.fullmatch(inside):
        return DCP
    if re.fullmatch(_STATES, inside):
        return DEEPSPEED
    return next((it for it in LAYOUTS if it.is_telling and it.main.fullmatch(inside)), None)


def layout_of_folder(name: str, files: Collection[str]) -> str | None:
    """The layout of a folder on disk: a layout's name, MODEL, FOLDER, or None if it is none.

    ``files``: the paths of its files, within it.
    """
    if not files:
        return None
    for path in sorted(files):
        layout = _layout_of(name, path)
        if layout is not None:
            return layout.name
    here = {path for path in files if "/" not in path}
    if any(HUGGING_FACE.main.fullmatch(path) for path in here):
        if name and TRAINER_STATE in here:  # a renamed checkpoint, such as "best"
            return HUGGING_FACE.name
        if "config.json" in here:
            return MODEL
    # A folder of numbered checkpoints is not one itself.
    inner = {part for path in files for part in path.split("/")[:-1]}
    if any(step_in(part) is not None for part in inner):
        return None
    if step_in(name) is not None:
        return FOLDER
    saved = [path for path in here if is_saved(path)]
    return FOLDER if saved and all(step_in(path) is None for path in saved) else None


def is_saved(path: str) -> bool:
    """Whether a file that a training leaves in its checkpoint folder is a checkpoint."""
    name = path.rpartition("/")[2]
    if _STATE.fullmatch(name) or _SHARD.search(name):
        return False
    return _SAVED.search(name) is not None or step_in(name) is not None


def step_of(path: str) -> int | None:
    """The step in the path of an uploaded file, innermost name first; None without one."""
    folder, layout = folder_of(path)
    if layout is None:
        return _innermost_step(path.split("/"))
    inside = [] if layout is ORBAX else path.removeprefix(f"{folder}/").split("/")
    step = _innermost_step(inside)
    return step_of_checkpoint(folder, layout.name) if step is None else step


def step_of_checkpoint(path: str, layout: str) -> int | None:
    """The step in the path of a checkpoint of this layout, innermost name first. The folder of
    Orbax is named by a number alone; Accelerate's automatic names count the checkpoints."""
    *parents, name = path.split("/")
    if layout == ORBAX.name and name.isdecimal():
        name = f"step{name}"
    counts = layout == ACCELERATE.name and _COUNTED.fullmatch(name) is not None
    return _innermost_step(parents if counts else [*parents, name])


def _innermost_step(names: Sequence[str]) -> int | None:
    return next((step for name in reversed(names) if (step := step_in(name)) is not None), None)


def step_in(name: str) -> int | None:
    """The step in the name of a file or folder: the number after step, iter, ba or checkpoint-.

    Never an epoch, a score, a date or a size.
    """
    numbers = _STEP.findall(name) or _NUMBERED.findall(name)
    step = int(numbers[-1]) if numbers else None
    return step if step is None or step <= MAX_BIGINT else None


def pointer_to(layout: str, folder: PurePosixPath) -> tuple[str, str] | None:
    """The name and content of the file that loaders of this layout read next to ``folder``."""
    pointer = BY_NAME[layout].pointer if layout in BY_NAME else None
    if pointer is None:
        return None
    name, content = pointer
    return name, content.format(name=folder.name, step=step_in(folder.name) or 0)
