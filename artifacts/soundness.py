"""Cheap proofs that the files of a checkpoint are complete, without loading the weights.

A training can be killed while it saves, with pauses between its writes, so that a file at rest may
be half of one. Formats with a proof: ZIP (torch.save, NumPy's .npz), which ends in a directory of
its entries; safetensors, whose header gives the length; indexes of sharded weights and DCP's
``.metadata``, which name the other files; JSON, which must not end in the midst. Weights in any
other format must not be empty.
Names tell too (folders.py): of ``model-00001-of-00002`` and DeepSpeed's ranks, none may be missing.
"""

from __future__ import annotations

import codecs
import json
import os
import pickletools
import zipfile
import zlib
from collections.abc import Callable, Collection, Container, Iterable, Mapping
from pathlib import PurePosixPath
from typing import IO, Any, Final, NamedTuple, TypeAlias

from artifacts import folders
from artifacts.layouts import TRAINER_STATE
from core.messages import Message, Text
from core.numbers import MAX_BIGINT
from core.text import truncate

Opener: TypeAlias = Callable[[], IO[bytes]]

ZIP_START: Final = b"PK\x03\x04"
MAX_HEADER_BYTES: Final = 100_000_000  # of safetensors, as its own reader limits it
MAX_INDEX_BYTES: Final = 64 * 1024 * 1024
MAX_PICKLE_START_BYTES: Final = 4096
MAX_SHOWN: Final = 200  # characters of a file's name
LIGHTNING_VERSION: Final = b"pytorch-lightning_version"
INDEX_SUFFIX: Final = ".index.json"
DCP_METADATA: Final = ".metadata"
PICKLE_START: Final = b"\x80"
JSON_STARTS: Final = (b"{", b"[", b'"', b"\x00")


class Proof(NamedTuple):
    """What a file tells: why it is incomplete, if it is, and which files next to it it names."""

    problem: Text | None
    named: frozenset[str] = frozenset()


def problem_in(
    files: Mapping[str, Opener], *, folder: str = "", is_declared: bool = False
) -> Text | None:
    """Why the checkpoint that consists of ``files`` (path → how to open it) is incomplete; None if
    nothing is known against it. ``folder``: its name, if it is one.

    ``is_declared``: its training says that it is complete, so only weights that cannot be read
    prove the contrary: not the names of its files, nor its texts. Raises OSError.
    """
    if not files:
        return Message("it has no files")
    for path, opener in files.items():
        if is_declared and path.endswith(".json") and not names_others(path):
            continue
        with opener() as file:
            proof = proof_of(path, file)
        problem = proof.problem or missing_problem(path, proof.named, files)
        if problem is not None:
            return in_file(path, problem) if len(files) > 1 else problem
    return None if is_declared else gap_problem(files.keys(), folder=folder)


def missing_problem(path: str, named: Iterable[str], files: Container[str]) -> Text | None:
    """Which of the files that ``path`` names is not among ``files``; None if all are."""
    folder = PurePosixPath(path).parent
    missing = min((name for name in named if str(folder / name) not in files), default=None)
    return None if missing is None else _is_missing(missing)


def gap_problem(paths: Collection[str], *, folder: str = "") -> Text | None:
    """Which file is missing, as the names of the others tell, or which one says that the
    checkpoint is incomplete; None if none."""
    if folders.UNFINISHED_MARK in paths:
        return Message("%(file)s says so", file=folders.UNFINISHED_MARK)
    missing = folders.missing_file(paths, folder=folder)
    return None if missing is None else _is_missing(missing)


def _is_missing(name: str) -> Text:
    return Message("%(file)s is missing", file=truncate(name, MAX_SHOWN))


def in_file(name: str, problem: Text) -> Text:
    """``problem``, which is that of this file of several."""
    return Message("%(file)s: %(problem)s", file=truncate(name, MAX_SHOWN), problem=problem)


def names_others(path: str) -> bool:
    """Whether a file of this name names other files of its checkpoint."""
    name = PurePosixPath(path).name
    return name == DCP_METADATA or name.endswith(INDEX_SUFFIX)


def is_provable(path: str, opener: Opener) -> bool:
    """Whether the file is of a format that shows whether it is complete."""
    if path.endswith(".json"):
        return True
    with opener() as file:
        start = file.read(9)
    return start.startswith(ZIP_START) or start[8:9] == b"{"  # safetensors' header


def proof_of(path: str, file: IO[bytes]) -> Proof:
    """Reads the start and the end of the file, or all of a small file.

    What does not even start as its name says is another format, of which nothing is known.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    name = PurePosixPath(path).name
    if name.endswith(".safetensors"):
        return Proof(_safetensors_problem(file, size))
    if name.endswith(".json") or name == DCP_METADATA:
        return _proof_of_text(name, file) if size <= MAX_INDEX_BYTES else Proof(None)
    start = file.read(len(ZIP_START))
    if start == ZIP_START:
        return Proof(_zip_problem(file))
    is_weights = name.rpartition(".")[2] in {"pt", "pth", "ckpt", "bin", "npz", "distcp"}
    if not is_weights or (start and not ZIP_START.startswith(start)):
        return Proof(None)
    return Proof(Message("it is cut off") if start else Message("it is empty"))


def _proof_of_text(name: str, file: IO[bytes]) -> Proof:
    content = file.read()
    is_pickle = name == DCP_METADATA
    if (
        not content.removeprefix(codecs.BOM_UTF8)
        .lstrip()
        .startswith((PICKLE_START, b"\x00") if is_pickle else JSON_STARTS)
    ):
        return Proof(None if content else Message("it is empty"))
    try:
        if is_pickle:
            return Proof(None, _dcp_shards(content))
        text = content.decode("utf-8-sig").rstrip()
        value = json.loads(text)
    except json.JSONDecodeError as error:
        # Other faults are those of JSON Lines, comments and the like, which are complete.
        is_cut = error.pos >= len(text) or error.msg.startswith("Unterminated string")
        is_known = name.endswith(INDEX_SUFFIX) or name == TRAINER_STATE
        return Proof(Message("it is cut off") if is_cut or is_known else None)
    except UnicodeDecodeError:
        return Proof(None)
    except (ValueError, IndexError, KeyError, RecursionError):
        return Proof(Message("it is cut off") if is_pickle else None)
    return Proof(None, _shards(value) if name.endswith(INDEX_SUFFIX) else frozenset())


def _zip_problem(file: IO[bytes]) -> Text | None:
    try:
        with zipfile.ZipFile(file):
            return None
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return Message("the end of its ZIP archive is missing")


def _safetensors_problem(file: IO[bytes], size: int) -> Text | None:
    """https://huggingface.co/docs/safetensors: the header's length, the header, the tensors."""
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        return None
    if not 2 <= length <= size - 8:
        return Message("its header is cut off")
    try:
        header = json.loads(file.read(length))
        ends = [item["data_offsets"][1] for name, item in header.items() if name != "__metadata__"]
        announced = 8 + length + max(ends, default=0)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError):
        return Message("its header is malformed")
    if size == announced:
        return None
    return Message("it has %(size)d of %(announced)d bytes", size=size, announced=announced)


def _shards(index: Any) -> frozenset[str]:
    """The files that an index of sharded weights names."""
    weights = index.get("weight_map") if isinstance(index, dict) else None
    return frozenset(map(str, weights.values())) if isinstance(weights, dict) else frozenset()


def _dcp_shards(content: bytes) -> frozenset[str]:
    """The files that DCP's metadata names; read from the pickle without executing it. Raises
    ValueError, IndexError or KeyError if it is malformed."""
    return frozenset(
        argument
        for _opcode, argument, _position in pickletools.genops(content)
        if isinstance(argument, str) and argument.endswith(".distcp")
    )


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
