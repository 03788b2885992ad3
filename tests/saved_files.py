"""Files as frameworks write them: complete by the rules of their formats, but tiny."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import time
import zipfile
from pathlib import Path
from typing import Any

HF_STATE = ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin")

RECORDED = Path(__file__).parent / "frameworks" / "recorded" / "layouts.json"


def zipped(content: bytes = b"weights") -> bytes:
    """As torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        # Without the time of day: the bytes become names of tests.
        file.writestr(zipfile.ZipInfo("archive/data.pkl"), pickle.dumps({}))
        file.writestr(zipfile.ZipInfo("archive/data/0"), content)
    return buffer.getvalue()


def safetensors(content: bytes = b"weights") -> bytes:
    tensor = {"dtype": "U8", "shape": [len(content)], "data_offsets": [0, len(content)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "w": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + content


def index(*shards: str) -> bytes:
    return json.dumps({"weight_map": {f"w{n}": shard for n, shard in enumerate(shards)}}).encode()


def dcp_metadata(*shards: str) -> bytes:
    return pickle.dumps({"storage_data": list(shards)})


def trainer_state(step: int) -> bytes:
    return json.dumps({"global_step": step, "log_history": []}).encode()


def content_of(path: str) -> bytes:
    """What a file of this name may contain."""
    name = Path(path).name
    if name.endswith(".safetensors"):
        return safetensors()
    if name.endswith((".pt", ".pth", ".bin", ".ckpt", ".npz")):
        return zipped()
    if name == ".metadata":
        return dcp_metadata()
    return b"{}" if name.endswith(".json") else b"text"


def write(path: Path, content: bytes | None = None, *, age_seconds: float = 60.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content_of(path.name) if content is None else content)
    at = time.time() - age_seconds
    for changed in (path, path.parent, path.parent.parent):  # a new entry touches its folder
        os.utime(changed, (at, at))
    return path


def recorded(name: str) -> dict[str, dict[str, Any]]:
    """Path → what is known of it, as tests/frameworks/record.py has recorded the training's
    checkpoint folder."""
    trees = json.loads(RECORDED.read_text())
    tree: dict[str, dict[str, Any]] = trees[name]
    return tree


def write_recorded(folder: Path, name: str) -> None:
    """The folder again. Of files whose content was not recorded, any that is complete."""
    for path, entry in recorded(name).items():
        target = folder / path
        if "link" in entry:
            target.symlink_to(entry["link"])
        elif "text" in entry:
            write(target, entry["text"].encode())
        else:
            write(target, base64.b64decode(entry["base64"]) if "base64" in entry else None)


def write_all(folder: Path, *paths: str) -> None:
    for path in paths:
        write(folder / path)


def hugging_face(folder: Path, step: int) -> None:
    """The folder that Trainer saves at ``step``."""
    write_all(folder, "model.safetensors", "config.json", *HF_STATE)
    write(folder / "trainer_state.json", trainer_state(step))
