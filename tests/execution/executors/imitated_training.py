"""A training whose files a test writes itself, without a process: the launcher never starts, and
how the attempt ends is what the test writes down in its place.

It keeps a model of its own of what it has saved: which versions are whole, and of which step.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

from execution.executors.attempt import Attempt
from tests.saved_files import dcp_metadata, index, safetensors, trainer_state, zipped

SETTLED_SECONDS = 6.0  # by then, whatever was written last counts as complete


class Clock:
    """Stands in for the module ``time`` where ages of files are judged."""

    START: ClassVar[float] = 4.1e9  # later than what the machine's clock says

    def __init__(self) -> None:
        self.now = self.START

    def time(self) -> float:
        return self.now


@dataclass(frozen=True)
class Version:
    """What one save wrote to ``path``: file → content, within a folder; "" for a single file."""

    number: int
    path: str
    layout: str
    step: int
    files: dict[str, bytes] = field(hash=False, compare=False)
    at: float = field(hash=False, compare=False)  # Unix seconds

    @property
    def is_folder(self) -> bool:
        return "" not in self.files


# Layout → the name of what is saved at a step. "unnamed" tells no step.
NAMES = {
    "zip": "step-{}.pt",
    "safetensors": "step_{}.safetensors",
    "raw": "iter_{}.bin",
    "unnamed": "last.ckpt",
    "huggingface": "checkpoint-{}",
    "sharded": "out/checkpoint-{}",
    "deepspeed": "global_step{}",
    "dcp": "dcp-step-{}",
    "orbax": "orbax/{}",
}
# Those whose format shows that one of them is incomplete.
PROVABLE = ("zip", "safetensors", "unnamed", "huggingface", "sharded", "deepspeed", "dcp")
PROVABLE_FILES = ("zip", "safetensors", "unnamed")


def files_of(layout: str, number: int, step: int) -> dict[str, bytes]:
    """The files of a checkpoint, different for each ``number``. The last one may be cut off, or
    missing, to make it provably incomplete."""
    text = str(number).encode()
    match layout:
        case "zip" | "unnamed":
            return {"": zipped(text)}
        case "safetensors":
            return {"": safetensors(text)}
        case "raw":
            return {"": b"\x80\x02" + text}
        case "huggingface":
            state = {"trainer_state.json": trainer_state(step), "config.json": b"{}"}
            return {**state, "model.safetensors": safetensors(text), "optimizer.pt": zipped(text)}
        case "sharded":
            shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
            return {
                "trainer_state.json": trainer_state(step),
                "model.safetensors.index.json": index(*shards),
                **{shard: safetensors(text) for shard in shards},
            }
        case "deepspeed":
            return {
                "zero_pp_rank_0_mp_rank_00_optim_states.pt": zipped(text),
                "mp_rank_00_model_states.pt": zipped(text),
            }
        case "dcp":
            shards = ("__0_0.distcp", "__1_0.distcp")
            return {".metadata": dcp_metadata(*shards), **{name: zipped(text) for name in shards}}
        case "orbax":
            return {"_CHECKPOINT_METADATA": b"{}", "default/d/0": text}
    raise AssertionError(layout)


def half_of(version: Version, *, cut: bool) -> dict[str, bytes]:
    """Its files, of which the last is cut off, or missing where others name it."""
    *names, last = version.files
    half = {name: version.files[name] for name in names}
    if version.layout == "dcp" and not cut:
        return {name: content for name, content in version.files.items() if name != ".metadata"}
    if version.layout == "sharded" and not cut:
        return half
    return {**half, last: version.files[last][:-3]}


class ImitatedTraining:
    """One attempt: what it has on disk, and what it has reported."""

    def __init__(self, attempt: Attempt, clock: Clock, *, step: int) -> None:
        self.attempt = attempt
        self.clock = clock
        self.step = step
        self.folder = attempt.directory / "checkpoints"
        self.whole: dict[str, Version] = {}  # by path
        self.half: dict[str, Version] = {}  # what it would be if it were whole
        # Path → the version that a line has declared, and that an earlier poll has read.
        self.declared: dict[str, int] = {}
        self.read: dict[str, int] = {}

    # --- files -------------------------------------------------------------------------------

    def save(self, version: Version) -> None:
        self._write(version.path, version.files)
        self.half.pop(version.path, None)
        self.whole[version.path] = version

    def save_half(self, version: Version, *, cut: bool) -> None:
        self._write(version.path, half_of(version, cut=cut))
        self.whole.pop(version.path, None)
        self.half[version.path] = version

    def save_under_a_temporary_name(self, version: Version) -> None:
        draft = f"{os.path.dirname(version.path)}/tmp-{os.path.basename(version.path)}".lstrip("/")
        self._write(draft, version.files)
        self._remove(version.path)
        (self.folder / draft).rename(self.folder / version.path)
        self.half.pop(version.path, None)
        self.whole[version.path] = version

    def finish(self, path: str) -> Version:
        version = replace(self.half[path], at=self.clock.now)
        self.save(version)
        return version

    def rename(self, path: str, new: str) -> Version:
        self.prune(new)
        (self.folder / new).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / path).rename(self.folder / new)
        version = replace(self.whole.pop(path), path=new)
        self.whole[new] = version
        return version

    def link(self, path: str, new: str, *, hard: bool) -> Version | None:
        """The further version that a hard link is; a symbolic one is none."""
        self.prune(new)
        target, link = self.folder / path, self.folder / new
        if not hard or target.is_dir():
            link.symlink_to(target)
            return None
        os.link(target, link)
        self.whole[new] = replace(self.whole[path], path=new)
        return self.whole[new]

    def prune(self, path: str) -> None:
        self._remove(path)
        self.whole.pop(path, None)
        self.half.pop(path, None)

    def _write(self, path: str, files: dict[str, bytes]) -> None:
        self._remove(path)
        for name, content in files.items():
            file = self.folder / path / name if name else self.folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            for changed in (file, *file.parents[: len(file.relative_to(self.folder).parts) - 1]):
                os.utime(changed, (self.clock.now, self.clock.now))

    def _remove(self, path: str) -> None:
        target = self.folder / path
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)

    # --- metrics -----------------------------------------------------------------------------

    def append(self, text: str) -> None:
        path = self.attempt.directory / "metrics.jsonl"
        with path.open("a") as metrics:
            metrics.write(text)
        os.utime(path, (self.clock.now, self.clock.now))

    def report(self, step: int, **values: float) -> None:
        self.step = max(self.step, step)
        row = {"step": step, "timestamp": self.clock.now, **values}
        self.append(json.dumps(row) + "\n")

    def declare(self, path: str) -> None:
        version = self.whole[path]
        self.declared[path] = version.number
        self.append(json.dumps({"checkpoint": path, "step": version.step}) + "\n")

    def note_poll(self) -> None:
        self.read = self.declared.copy()

    # --- the end -----------------------------------------------------------------------------

    def end(self, returncode: int, *, asked: bool = False) -> None:
        note = {
            "returncode": returncode,
            "at": self.clock.now,
            "asked": asked,
            "cut_off": returncode < 0,
        }
        (self.attempt.directory / "exit.json").write_text(json.dumps(note))

    def settled(self, *, killed_at: float | None = None, ended: bool = False) -> list[Version]:
        """The whole versions on disk that have to be taken now, because the training has been
        quiet for long enough, has declared them, has ended by itself, or their format proves it."""
        if ended and killed_at is None:
            return list(self.whole.values())
        now = self.clock.now if killed_at is None else killed_at
        return [
            version
            for path, version in self.whole.items()
            if now - version.at >= SETTLED_SECONDS
            or (self.declared if ended else self.read).get(path) == version.number
            or (ended and version.layout in PROVABLE_FILES)
        ]


def content_at(path: Path) -> dict[str, bytes]:
    """The files of a restored checkpoint, in the form of ``Version.files``."""
    if path.is_file():
        return {"": path.read_bytes()}
    files = (file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
