"""The recipes under test: how each framework's script is started."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(__file__).parent / "trainings"
ENVIRONMENT = ROOT / ".venv-frameworks" / "bin"
INTERPRETER = ENVIRONMENT / "python"
DEEPSPEED = ENVIRONMENT / "deepspeed"


def script(name: str, *arguments: str) -> list[str]:
    return [str(SCRIPTS / f"{name}.py"), *arguments]


@dataclass(frozen=True)
class Framework:
    """``ranks``: processes that train; with more than one, under a launcher. ``has_launcher``: the
    command's process does not train. ``loss``: the metric to compare."""

    name: str
    command: list[str]
    ranks: int = 1
    loss: str = "train_loss"
    first_step: int = 1  # as the framework counts for its logger
    has_launcher: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    needs: Path | None = None  # a program that may be missing

    @property
    def is_here(self) -> bool:
        return self.needs is None or self.needs.exists()


def python(name: str, *arguments: str) -> list[str]:
    return [str(INTERPRETER), *script(name, *arguments)]


TORCHRUN = [str(ENVIRONMENT / "torchrun"), "--standalone", "--nproc-per-node", "2"]
ACCELERATE = [
    str(ENVIRONMENT / "accelerate"),
    "launch",
    "--multi_gpu",
    "--num_processes=2",
    "--num_machines=1",
    "--mixed_precision=no",
    "--dynamo_backend=no",
    "--main_process_port=0",
]
MPIRUN = shutil.which("mpirun")

FRAMEWORKS = [
    Framework("hugging-face", python("hugging_face"), loss="loss"),
    Framework(
        "shell",
        # Without pipefail, the exit code is that of tee: a failed training would have finished.
        ["bash", "-c", f"set -o pipefail; {shlex.join(python('hugging_face'))} 2>&1 | tee log"],
        loss="loss",
        has_launcher=True,
    ),
    Framework("lightning", python("lightning_fit"), first_step=0),
    Framework("torchrun-ddp", [*TORCHRUN, *script("distributed", "ddp")], 2, has_launcher=True),
    Framework("torchrun-fsdp", [*TORCHRUN, *script("distributed", "fsdp")], 2, has_launcher=True),
    Framework("accelerate", [*ACCELERATE, *script("accelerated")], 2, has_launcher=True),
    Framework(
        "deepspeed",
        [str(DEEPSPEED), "--num_accelerators", "2", *script("deepspeed_engine")],
        2,
        has_launcher=True,
        environment={"DS_ACCELERATOR": "cpu"},
        needs=DEEPSPEED,
    ),
    Framework(
        "mpirun",
        [
            *(MPIRUN or "mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2"),
            *python("distributed", "ddp"),
        ],
        2,
        has_launcher=True,
        environment={"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29544"},
        needs=Path(MPIRUN or "/usr/bin/mpirun"),
    ),
]

EXAMPLE = ROOT / "examples" / "hf_finetune"


def example(file: str, name: str, *, ranks_per_node: int) -> Framework:
    """A recipe as it is in ``file``, but for its environment of Python, with two ranks: the sum of
    more may depend on their order, and DDP changes that after its first step."""
    [recipe] = json.loads((EXAMPLE / file).read_text())
    assert recipe["pk"] == name
    torchrun, *arguments = recipe["fields"]["command"]
    return Framework(
        name,
        [str(ENVIRONMENT / Path(torchrun).name), *arguments],
        2,
        loss="loss",
        has_launcher=True,
        environment={"PET_NPROC_PER_NODE": str(ranks_per_node)},
    )


HF_FINETUNE = example("recipe.json", "hf-finetune", ranks_per_node=2)
HF_FINETUNE_SLURM = example("recipe-slurm.json", "hf-finetune-slurm", ranks_per_node=1)
# By the file that holds the recipe.
EXAMPLES = {
    str(EXAMPLE / "recipe.json"): HF_FINETUNE,
    str(EXAMPLE / "recipe-slurm.json"): HF_FINETUNE_SLURM,
}

# For each recipe. Quiet, and the same numbers whatever else the machine does.
COMMON = {
    "PATH": f"{ENVIRONMENT}{os.pathsep}{os.environ['PATH']}",
    "OMP_NUM_THREADS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING": "false",
    "GIT_PYTHON_REFRESH": "quiet",
    "HF_HUB_OFFLINE": "1",
    "NO_PROXY": "*",
}
