"""Cheap proofs that the files of a checkpoint are complete, without loading the weights.

A training can be killed while it saves, with pauses between its writes, so that a file at rest may
be half of one. Formats with a proof: ZIP (torch.save, NumPy's .npz), which ends in a directory of
its entries; safetensors, whose header gives the length; indexes of sharded weights and DCP's
``.metadata``, which name the other files; JSON. Weights in any other format must not be empty. What
a framework writes last must be there, and no mark of a checkpoint in the making.
"""

from __future__ import annotations

import json
import os
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, Final, TypeAlias

from django.utils.translation import gettext as _

from artifacts.layouts import DCP_SHARD, HUGGING_FACE
from core.numbers import MAX_BIGINT

Opener: TypeAlias = Callable[[], IO[bytes]]

ZIP_START: Final = b"PK\x03\x04"
MAX_HEADER_BYTES: Final = 100_000_000  # of safetensors, as its own reader limits it
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
MAX_PICKLE_START_BYTES: Final = 4096
LIGHTNING_VERSION: Final = b"pytorch-lightning_version"
INDEX_SUFFIX: Final = ".index.json"
DCP_METADATA: Final = ".metadata"
TRAINER_STATE: Final = "trainer_state.json"
TRAINING_ARGUMENTS: Final = "training_args.bin"
# Hugging Face's Trainer writes this before it saves at SIGTERM, and deletes it afterwards.
UNFINISHED_MARK: Final = "checkpoint-is-incomplete.txt"


def problem_in(files: Mapping[str, Opener], layout: str = "") -> str | None:
    """Why the checkpoint that consists of ``files`` (path → how to open it) is incomplete; None if
    nothing is known against it. ``layout``: the name of its layout. Raises OSError."""
    if not files:
        return _("it has no files")
    problem = _problem_by_names(files, layout)
    if problem is not None:
        return problem
    for path, opener in files.items():
        with opener() as file:
            problem = _problem_of(path, file, files)
        if problem is not None:
            return f"{path}: {problem}" if len(files) > 1 else problem
    return None


def _problem_by_names(paths: Collection[str], layout: str) -> str | None:
    if UNFINISHED_MARK in paths:
        return _("%(file)s says so") % {"file": UNFINISHED_MARK}
    last = {
        str(PurePosixPath(path).with_name(DCP_METADATA))
        for path in paths
        if DCP_SHARD.fullmatch(PurePosixPath(path).name)
    }
    # Next to a final model, the arguments stand without a state.
    if layout == HUGGING_FACE.name and TRAINING_ARGUMENTS in paths:
        last.add(TRAINER_STATE)
    return next((_is_missing(path) for path in sorted(last) if path not in paths), None)


def is_provable(path: str, opener: Opener) -> bool:
    """Whether the file is of a format that shows whether it is complete."""
    if path.endswith(".json"):
        return True
    with opener() as file:
        start = file.read(9)
    return start.startswith(ZIP_START) or start[8:9] == b"{"  # safetensors' header


def _problem_of(path: str, file: IO[bytes], files: Mapping[str, Opener]) -> str | None:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    name = PurePosixPath(path).name
    if name.endswith(".safetensors"):
        return _safetensors_problem(file, size)
    if name.endswith(INDEX_SUFFIX):
        return _missing(path, _shards(file, size), files)
    if name.endswith(".json") and size <= MAX_INDEX_BYTES:
        return None if _is_json(file) else _("it is cut off")
    if name == DCP_METADATA:
        return _missing(path, _dcp_shards(file, size), files)
    start = file.read(len(ZIP_START))
    if start == ZIP_START:
        return _zip_problem(file)
    is_weights = name.rpartition(".")[2] in {"pt", "pth", "ckpt", "bin", "npz", "distcp"}
    return _("it is empty") if is_weights and not start else None


def _is_json(file: IO[bytes]) -> bool:
    try:
        json.load(file)
    except (ValueError, RecursionError):
        return False
    return True


def _zip_problem(file: IO[bytes]) -> str | None:
    try:
        with zipfile.ZipFile(file):
            return None
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return _("the end of its ZIP archive is missing")


def _safetensors_problem(file: IO[bytes], size: int) -> str | None:
    """https://huggingface.co/docs/safetensors: the header's length, the header, the tensors."""
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
        return _("its header is cut off")
    try:
        header = json.loads(file.read(length))
        ends = [item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"]
        announced = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        return _("its header is malformed")
    if size == announced:
        return None
    return _("it has %(size)d of %(announced)d bytes") % {"size": size, "announced": announced}


def _shards(file: IO[bytes], size: int) -> set[str] | None:
    """The files that an index of sharded weights names; None if it is malformed."""
    if size > MAX_INDEX_BYTES:
        return set()
    try:
        return set(json.load(file)["weight_map"].values())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _dcp_shards(file: IO[bytes], size: int) -> set[str] | None:
    """The files that DCP's metadata names; read from the pickle without executing it."""
    if size > MAX_INDEX_BYTES:
        return set()
    try:
        return {
            argument
            for _opcode, argument, _position in pickletools.genops(file)
            if isinstance(argument, str) and argument.endswith(".distcp")
        }
    except (ValueError, IndexError, KeyError):
        return None


def _missing(path: str, names: set[str] | None, files: Mapping[str, Opener]) -> str | None:
    if names is None:
        return _("it is cut off")
    folder = PurePosixPath(path).parent
    missing = sorted(str(name) for name in names if str(folder / str(name)) not in files)
    return _is_missing(missing[0]) if missing else None


def _is_missing(path: str) -> str:
    return _("%(file)s is missing") % {"file": path}


# Of files that are cut off, or of other programs.
_NO_STEP: Final = (
    *(OSError, EOFError, ValueError, TypeError, LookupError, RuntimeError, StopIteration),
    *(zipfile.BadZipFile, zlib.error),
)


def recorded_step(files: Mapping[str, Opener]) -> int | None:
    """The step that Hugging Face's trainer_state.json or Lightning's checkpoint file records; None
    without a valid one."""
    for path, opener in files.items():
        read = _trainers_step if path == TRAINER_STATE else None
        if path.lower().endswith(".ckpt") and len(files) == 1:
            read = _lightnings_step
        if read is None:
            continue
        try:
            with opener() as file:
                step = read(file)
        except _NO_STEP:
            continue
        if type(step) is int and 0 <= step <= MAX_BIGINT:
            return step
    return None


def _trainers_step(file: IO[bytes]) -> Any:
    return json.load(file)["global_step"]


def _lightnings_step(file: IO[bytes]) -> Any:
    """Read from the pickle without executing it: the value after the key ``global_step``, which
    stands before the weights. None in any other file."""
    with zipfile.ZipFile(file) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        with archive.open(name) as content:
            start = content.read(MAX_PICKLE_START_BYTES)
    if LIGHTNING_VERSION not in start:
        return None
    operations = pickletools.genops(start)
    next(argument for _opcode, argument, _position in operations if argument == "global_step")
    return next(
        argument for opcode, argument, _position in operations if not opcode.name.endswith("PUT")
    )
