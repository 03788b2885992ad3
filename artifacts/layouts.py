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

# Any of these directly in a folder makes it a checkpoint.
TELLING_FILES: Final = (
    ".metadata",
    "_CHECKPOINT_METADATA",
    "random_states_0.pkl",
    "mp_rank_00_model_states.pt",
)
# Layouts whose folders contain those of others.
_CONTAINERS: Final = (HUGGING_FACE, LIGHTNING)
# Weights without the state of the training: a model to release, not a checkpoint to resume from.
TRAINER_STATE: Final = "trainer_state.json"  # of Hugging Face
MODEL: Final = "model"
ROOT: Final = "."  # where it was saved: loose in the checkpoint folder
FOLDER: Final = "folder"  # of no known framework
# Of uploads, such a folder is known by the step in its name.
OTHER: Final = Layout(FOLDER, HUGGING_FACE.main)

_SHARD: Final = re.compile(r"-\d{5}-of-\d{5}\.\w+\Z", re.ASCII)
DCP_SHARD: Final = re.compile(r"__\d+_\d+\.distcp", re.ASCII)
_SAVED: Final = re.compile(
    r".\.((pt|pth)(\.tar)?|ckpt|bin|safetensors|npz|msgpack)\Z", re.IGNORECASE | re.ASCII
)
# What trainings write at a step that is no checkpoint: images, sounds, texts, tables.
_NOT_SAVED: Final = re.compile(
    r".\.(png|jpe?g|gif|webp|bmp|tiff?|svg|pdf|mp[34]|avi|webm|mov|wav|flac|ogg|html?|xml|txt|md|rst"
    r"|log|out|err|csv|tsv|json[cl]?|ya?ml|toml|ini|parquet|arrow|npy|pyc?|sh|db|ply|obj|glb)"
    r"\Z",
    re.IGNORECASE,
)
_PLACE: Final = re.compile(
    r"checkpoint|ckpt|(step|epoch|iter|ba)[-_=]?\d", re.IGNORECASE | re.ASCII
)
# Files that are only part of a checkpoint: they are needed to continue a training.
_STATE_OF_TRAINING: Final = re.compile(
    r"(optim|optimizer|scheduler|lr_scheduler|scaler|rng_state\w*)(_\d+)?\.\w+"
    r"|random_states_\d+\.pkl",
    re.ASCII,
)
_PART: Final = re.compile(r"training_args(_\d+)?\.\w+|.*-rank[1-9]\d*\.\w+", re.ASCII)
# What ``save_pretrained`` writes of a model, its tokenizer and its processor.
_OF_MODEL: Final = re.compile(
    r"(?:model|adapter_model|pytorch_model)(?:-\d{5}-of-\d{5})?"
    r"\.(?:safetensors|bin)(?:\.index\.json)?"
    r"|(?:\w+_)?config\.json|trainer_state\.json|training_args\.bin|chat_template\.\w+|\w+\.(?:py|model)"
    r"|(?:tokenizer|vocab|merges|special_tokens_map|added_tokens)\w*\.\w+",
    re.ASCII,
)
# What grows beside a checkpoint that is not in a folder of its own.
_GROWING: Final = re.compile(r".*\.(?:jsonl|log|csv|out|err|md)|.*tfevents.*", re.IGNORECASE)
# Still being written.
_BEING_SAVED: Final = "orbax-checkpoint-tmp"
_TEMPORARY: Final = re.compile(
    rf"\..*|tmp[-_].*|.*\.(tmp|part|partial|incomplete)|.*\.tmp.*|.*{_BEING_SAVED}.*|.*~",
    re.IGNORECASE,
)
_STEP: Final = re.compile(
    r"(?<![a-z0-9])(?:global[-_]?)?(?:step|iter(?:ation)?|ba)s?[-_=]?(\d{1,19})(?!\d)",
    re.IGNORECASE | re.ASCII,
)
# The number may be an epoch.
_NUMBERED: Final = re.compile(r"(?:checkpoint|ckpt)[-_]?\d+", re.IGNORECASE | re.ASCII)


def is_temporary(name: str) -> bool:
    """Whether a file or folder of this name is still being written."""
    return _TEMPORARY.fullmatch(name) is not None


def is_checkpoint(path: str) -> bool:
    """Whether the uploaded file ``path`` is a checkpoint, or represents that of its folder."""
    folder, layout = folder_of(path)
    if _BEING_SAVED in folder:
        return False
    if layout is not None:
        inside = path.removeprefix(f"{folder}/")
        is_main = layout.main.fullmatch(inside) is not None
        return is_main or (layout is OTHER and is_saved(inside))
    if any(map(is_temporary, path.split("/"))) or not is_saved(path):
        return False
    return path.lower().endswith(".ckpt") or _PLACE.search(path) is not None


def checkpoint_folder(path: str) -> tuple[str, Layout | None]:
    """The folder that the uploaded file ``path`` represents as a checkpoint, and its layout; "" and
    None if it is a checkpoint by itself, or none."""
    return folder_of(path) if is_checkpoint(path) else ("", None)


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
        if layout is None and found is None and _is_of_step(parts[count - 1], parts[count:]):
            layout = OTHER
        if layout is None:
            continue
        if found is None or (layout in _CONTAINERS and layout is not found[1]):
            found = count, layout
    return ("", None) if found is None else ("/".join(parts[: found[0]]), found[1])


def _is_of_step(folder: str, inside: Sequence[str]) -> bool:
    """Whether a folder named by a step is a checkpoint with the file ``inside``: not if that is one
    by itself, as Lightning's is that its logger uploads in a folder of its name."""
    names = [folder, *inside]
    is_by_itself = inside[-1].lower().endswith((".ckpt", ".yaml", "aliases.txt"))
    return (
        step_in(folder) is not None
        and not is_by_itself
        and not any(map(is_temporary, names[:-1]))
        and not any(step_in(name) is not None or _is_numbered(name) for name in inside[:-1])
    )


def _is_numbered(folder: str) -> bool:
    return _NUMBERED.fullmatch(folder) is not None


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
    layouts = (_layout_of(name, path) for path in sorted(files))
    layout = next((it for it in layouts if it is not None), None)
    if layout is not None and (layout.is_telling or any(map(_is_content, files))):
        return layout.name
    here = {path for path in files if "/" not in path}
    if any(HUGGING_FACE.main.fullmatch(path) for path in here):
        # A checkpoint of another name, such as "best"; or of a loop that saves as Trainer does.
        if any(map(_STATE_OF_TRAINING.fullmatch, here)) or (name and TRAINER_STATE in here):
            return HUGGING_FACE.name
        if step_in(name) is None and here & {"config.json", "adapter_config.json"}:
            return MODEL
    # A folder of numbered checkpoints is not one itself.
    inner = {part for path in files for part in path.split("/")[:-1]}
    if any(step_in(part) is not None or _is_numbered(part) for part in inner):
        return None
    if step_in(name) is not None:
        return FOLDER if any(map(_is_content, files)) else None
    saved = [path for path in here if is_saved(path)]
    return FOLDER if saved and all(step_in(path) is None for path in saved) else None


def names_checkpoint(folder: str) -> bool:
    """Whether a folder's name alone says that it is a checkpoint."""
    patterns = (layout.folder for layout in LAYOUTS if layout.folder is not None)
    return step_in(folder) is not None or any(it.fullmatch(folder) for it in patterns)


def files_of(layout: str, files: Collection[str]) -> set[str]:
    """Those of the loose ``files`` of a folder that belong to the checkpoint in it."""
    if layout == MODEL:
        return {path for path in files if _OF_MODEL.fullmatch(path)}
    return {
        path
        for path in files
        if not _GROWING.fullmatch(path) and not (is_saved(path) and step_in(path) is not None)
    }


def is_saved(path: str) -> bool:
    """Whether a file that a training leaves in its checkpoint folder is a checkpoint."""
    name = path.rpartition("/")[2]
    if _STATE_OF_TRAINING.fullmatch(name) or _PART.fullmatch(name) or _SHARD.search(name):
        return False
    if _SAVED.search(name) or _NUMBERED.fullmatch(name):
        return True
    return step_in(name) is not None and not _NOT_SAVED.search(name)


def _is_content(path: str) -> bool:
    """Whether the file holds something of a model or of a training's state."""
    name = path.rpartition("/")[2]
    return not _NOT_SAVED.search(name) and not is_temporary(name)


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
    Orbax is named by a number alone."""
    *parents, name = path.split("/")
    pattern = BY_NAME[layout].folder if layout in BY_NAME else None
    match = None if pattern is None else pattern.fullmatch(name)
    if match is not None and match.groupdict().get("step"):
        name = f"step{match['step']}"
    elif layout == ORBAX.name and name.isdecimal():
        name = f"step{name}"
    return _innermost_step([*parents, name])


def _innermost_step(names: Sequence[str]) -> int | None:
    return next((step for name in reversed(names) if (step := step_in(name)) is not None), None)


def step_in(name: str) -> int | None:
    """The step in the name of a file or folder: the number after step, iter or ba.

    Never an epoch, a score, a date or a size.
    """
    numbers = _STEP.findall(name)
    step = int(numbers[-1]) if numbers else None
    return step if step is None or step <= MAX_BIGINT else None


def pointer_to(layout: str, folder: PurePosixPath) -> tuple[str, str] | None:
    """The name and content of the file that loaders of this layout read next to ``folder``."""
    pointer = BY_NAME[layout].pointer if layout in BY_NAME else None
    if pointer is None:
        return None
    name, content = pointer
    return name, content.format(name=folder.name, step=step_in(folder.name) or 0)
