"""Records what the frameworks write, for the tests that run without them: ``python -m
tests.frameworks.record``, in TrainHub's environment, after ``make .venv-frameworks/.installed``.

- ``recorded/layouts.json``: the files that a training of four steps leaves in its checkpoint
  folder: their sizes, and the content of those that recognition reads. Of some frameworks also what
  a training leaves that is killed while it saves.
- ``tests/execution/executors/data/*.txt``: what launchers print when a rank is killed or fails, and
  a progress bar.

Orbax, Composer and Megatron are recorded from environments of their own (``make
.venv-frameworks-orbax/.installed``). Names as arguments (``layouts``, ``orbax``, ``tqdm``) record
these alone; what is not installed stays as it was. Paths of this machine and its name are replaced
in outputs.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil

from tests.frameworks.recipes import (
    COMMON,
    ENVIRONMENT,
    FRAMEWORKS,
    ROOT,
    Framework,
    python,
    script,
)

LAYOUTS = Path(__file__).parent / "recorded" / "layouts.json"
OUTPUT_FOLDER = ROOT / "tests" / "execution" / "executors" / "data"
SHORT = {"max_steps": 4, "save_steps": 2}
# Files whose content tells: what is in them, or whether they are complete.
TELLING = re.compile(
    r"trainer_state\.json|\.metadata|metadata\.json|latest|latest_checkpointed_iteration\.txt"
    r"|_CHECKPOINT_METADATA|.+\.ckpt|.+\.index\.json"
)
CUT_BYTES = 4096  # of a file whose writing is cut off, all of which are recorded
TIMEOUT_SECONDS = 180

OTHERS = [
    Framework(name, python("other_layouts", name))
    for name in ("sharded-model", "lightning-default", "accelerate-automatic")
]
# ``accelerate launch`` of one process has a launcher of its own.
ONE_PROCESS = Framework(
    "accelerate-one",
    [
        str(ENVIRONMENT / "accelerate"),
        *("launch", "--cpu", "--num_processes=1", "--num_machines=1"),
        *("--mixed_precision=no", "--dynamo_backend=no"),
        str(Path(__file__).parent / "trainings" / "accelerated.py"),
    ],
)


def apart(name: str, *command: str) -> Framework:
    """From an environment of its own: the name begins with that of its requirements."""
    environment = ROOT / f".venv-frameworks-{name.partition('-')[0]}" / "bin"
    return Framework(
        name,
        [str(environment / command[0]), *command[1:]],
        needs=environment / command[0],
    )


ORBAX, COMPOSER, MEGATRON = map(script, ("orbax_flax", "composer_fit", "megatron_core"))
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node", "2")
APART = [
    apart("orbax", "python", *ORBAX, "train"),
    apart("orbax-alone", "python", *ORBAX, "alone"),
    apart("composer", "python", *COMPOSER),
    apart("composer-sharded", "composer", "-n", "2", *COMPOSER, "sharded"),
    apart("megatron", *TORCHRUN, *MEGATRON),
]
SAVES = script("killed_while_saving")
# Each is killed in its second save.
KILLED = [
    apart(
        "orbax-killed",
        "python",
        *SAVES,
        "/4.orbax-checkpoint-tmp/state",
        "os.rename",
        *ORBAX,
        "train",
    ),
    apart("composer-killed", "python", *SAVES, "/ep0-ba4-rank0.pt", str(CUT_BYTES), *COMPOSER),
    apart(
        "composer-sharded-killed",
        *("composer", "-n", "2", *SAVES, "/ep0-ba4/.metadata", "os.rename", *COMPOSER, "sharded"),
    ),
    apart(
        "megatron-killed",
        *(*TORCHRUN, *SAVES, "/iter_0000004/.metadata", "os.rename", *MEGATRON),
    ),
    apart(
        "megatron-killed-last",
        *(*TORCHRUN, *SAVES, "/iter_0000004/metadata.json", "open", *MEGATRON),
    ),
]
TREES = [
    *(item for item in FRAMEWORKS if item.name not in {"shell", "mpirun"}),
    *OTHERS,
    *APART,
    *KILLED,
]
BY_NAME = {item.name: item for item in [*FRAMEWORKS, *OTHERS, ONE_PROCESS]}


def start(framework: Framework, folder: Path, **hyperparameters: Any) -> subprocess.Popen[bytes]:
    """The command in ``folder``, in a session of its own, with its output in one file for each of
    stdout and stderr."""
    config = folder / "config.json"
    config.write_text(json.dumps({"hyperparameters": hyperparameters}))
    environment = {
        **os.environ,
        **COMMON,
        **framework.environment,
        "PYTHONUNBUFFERED": "1",
        "TRAINHUB_CONFIG": str(config),
        "TRAINHUB_CHECKPOINT_DIR": str(folder / "checkpoints"),
        "TRAINHUB_METRICS_FILE": str(folder / "metrics.jsonl"),
    }
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        return subprocess.Popen(
            framework.command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )


# --- layouts ---------------------------------------------------------------------------------


def tree(framework: Framework) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        code = start(framework, folder, **SHORT).wait(timeout=TIMEOUT_SECONDS)
        assert (code != 0) == (framework in KILLED), (folder / "stderr").read_text()
        root = folder / "checkpoints"
        paths = [path for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()]
        return {str(path.relative_to(root)): entry(path) for path in paths}


def entry(path: Path) -> dict[str, Any]:
    if path.is_symlink():
        return {"link": os.readlink(path)}
    content = path.read_bytes()
    is_cut_off = path.suffix == ".pt" and len(content) == CUT_BYTES
    if not is_cut_off and not TELLING.fullmatch(path.name):
        return {"size": len(content)}
    try:
        return {"text": content.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def record_layouts(names: list[str]) -> None:
    """All that are installed, or these."""
    for item in TREES:
        if item.is_here and (not names or item.name in names):
            print("layout of", item.name)
            recorded = json.loads(LAYOUTS.read_text()) | {item.name: tree(item)}
            trees = {it.name: recorded[it.name] for it in TREES if it.name in recorded}
            LAYOUTS.write_text(json.dumps(trees, indent=1) + "\n")


# --- outputs ---------------------------------------------------------------------------------


def killed(framework: Framework, folder: Path) -> None:
    """Kill the last rank at step 3."""
    process = start(framework, folder, pause_seconds=0.4)
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not metrics.exists() or metrics.read_text().count("\n") < 3:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    script = next(part for part in framework.command if part.endswith(".py"))
    ranks = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if script in child.cmdline() and not child.children()
    ]
    max(ranks, key=lambda child: child.pid).send_signal(signal.SIGKILL)
    process.wait(timeout=TIMEOUT_SECONDS)


def failing(framework: Framework, folder: Path) -> None:
    start(framework, folder, fail_after=3).wait(timeout=TIMEOUT_SECONDS)


def whole(framework: Framework, folder: Path) -> None:
    start(framework, folder, pause_seconds=0.05).wait(timeout=TIMEOUT_SECONDS)


OUTPUTS = {
    "torchrun_rank_killed": ("torchrun-ddp", killed, "stderr"),
    "torchrun_rank_failed": ("torchrun-ddp", failing, "stderr"),
    "accelerate_rank_killed": ("accelerate", killed, "stderr"),
    "accelerate_killed": ("accelerate-one", killed, "stderr"),
    "deepspeed_killed": ("deepspeed", killed, "stdout"),
    "deepspeed_failed": ("deepspeed", failing, "stderr"),
    "mpirun_killed": ("mpirun", killed, "stderr"),
    "tqdm": ("hugging-face", whole, "stderr"),
}


def record_output(name: str) -> None:
    framework_name, act, stream = OUTPUTS[name]
    framework = BY_NAME[framework_name]
    if not framework.is_here:
        return
    print("output", name)
    with tempfile.TemporaryDirectory() as folder:
        act(framework, Path(folder))
        content = anonymous((Path(folder) / stream).read_bytes(), folder)
    (OUTPUT_FOLDER / f"{name}.txt").write_bytes(content)


def anonymous(content: bytes, folder: str) -> bytes:
    """Without paths and the name of this machine."""
    packages = next((ENVIRONMENT.parent / "lib").glob("python3.*/site-packages"))
    replacements = {
        str(packages): "/usr/local/lib/python3.11/site-packages",
        str(ENVIRONMENT): "/usr/local/bin",
        str(Path(sys.base_prefix) / "bin"): "/usr/bin",
        sys.base_prefix: "/usr",
        str(Path(__file__).parent / "trainings"): "/job",
        str(ROOT): "/job",
        folder: "/job/out",
        platform.node(): "node1",
    }
    for old, new in replacements.items():
        content = content.replace(os.fsencode(old), new.encode())
    return content


def main(names: list[str]) -> None:
    trees = [item.name for item in TREES if item.name in names]
    if trees or not names or "layouts" in names:
        record_layouts(trees)
    for name in names or OUTPUTS:
        if name in OUTPUTS:
            record_output(name)


if __name__ == "__main__":
    main(sys.argv[1:])
