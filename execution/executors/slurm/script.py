"""The job of an attempt: sbatch's arguments, and the script that it runs.

Nothing of a recipe or a run is part of a shell's text unquoted: sbatch gets a list of arguments,
and the script only paths.
"""

from __future__ import annotations

import math
import shlex
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings

from execution.executors.attempt import Attempt
from execution.launcher import packing
from runs.models import Run

LOG: Final = "job.log"  # of the script, and of what the launchers print
OPTIONS: Final = ("partition", "account", "qos", "constraint", "reservation", "exclude", "nodelist")


@dataclass(frozen=True)
class JobDescription:
    """What an attempt asks of Slurm: kept in its launch.json, so that it can be submitted by a
    worker that did not create it."""

    nodes: int
    gpus_per_node: int
    gres_type: str
    cpus_per_node: int | None
    memory_gb_per_node: int | None
    time_limit_seconds: int | None
    options: dict[str, str]

    @classmethod
    def of(cls, run: Run) -> JobDescription:
        recipe = run.recipe
        assert recipe is not None
        return cls(
            nodes=run.nodes,
            gpus_per_node=run.gpu_count // run.nodes,
            gres_type=recipe.engine_options.get("gres_type", run.gpu_type),
            cpus_per_node=recipe.cpus_per_node,
            memory_gb_per_node=recipe.memory_gb_per_node,
            time_limit_seconds=run.time_limit_seconds,
            options={
                name: value for name, value in recipe.engine_options.items() if name in OPTIONS
            },
        )


def name_of(attempt: Attempt) -> str:
    """The job's name, by which it is found again. Ids of runs are unique everywhere."""
    return f"trainhub-{attempt.run_id}-{attempt.number}"


def sbatch(attempt: Attempt, job: JobDescription) -> list[str]:
    """The command that submits the job; its script is read from stdin."""
    folder = str(attempt.directory)
    arguments = [
        "--parsable",
        "--no-requeue",  # the next attempt is ours
        f"--job-name={name_of(attempt)}",
        f"--comment=TrainHub run {attempt.run_id} attempt {attempt.number}",
        "--export=NIL",  # nothing of the worker's environment, which has secrets
        f"--chdir={folder}",
        f"--output={folder.replace('%', '%%')}/{LOG}",
        "--open-mode=append",
        "--input=/dev/null",
        f"--nodes={job.nodes}",
        "--ntasks-per-node=1",
    ]
    if job.gpus_per_node:
        type_ = f"{job.gres_type}:" if job.gres_type else ""
        arguments.append(f"--gres=gpu:{type_}{job.gpus_per_node}")
    if job.cpus_per_node:
        arguments.append(f"--cpus-per-task={job.cpus_per_node}")
    if job.memory_gb_per_node:
        arguments.append(f"--mem={job.memory_gb_per_node}G")
    if job.time_limit_seconds:
        arguments.append(f"--time={math.ceil(job.time_limit_seconds / 60)}")
    arguments += [f"--{name}={value}" for name, value in sorted(job.options.items())]
    return ["sbatch", *arguments]


def script(attempt: Attempt, job: JobDescription) -> str:
    """One launcher on each node. A launcher that dies ends the job; a training that fails is told
    to the others by its launcher. The job ends with the training's own exit code."""
    python = settings.NODE_PYTHON or sys.executable
    launcher = f"{shlex.quote(python)} -I {shlex.quote(str(packed_launcher()))}"
    folder = shlex.quote(str(attempt.directory))
    cpus = f" --cpus-per-task={job.cpus_per_node}" if job.cpus_per_node else ""
    programs = Path(shutil.which("sbatch") or "/usr/bin/sbatch").parent
    return f"""#!/bin/sh
PATH="${{PATH:-/usr/bin:/bin}}":{shlex.quote(str(programs))}
TRAINHUB_JOB_TIME_LEFT=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L 2>/dev/null)
export PATH TRAINHUB_JOB_TIME_LEFT
srun --nodes={job.nodes} --ntasks={job.nodes} --ntasks-per-node=1{cpus} --kill-on-bad-exit=1 \\
  --export=ALL --input=none --mpi=none {launcher} {folder}
code=$?
[ "$code" -eq 0 ] || exit "$code"
exec {launcher} --exit-code {folder}
"""


def packed_launcher() -> Path:
    """The launcher in one file in the shared directory: the nodes need no TrainHub. One file for
    each version, so that an update changes nothing under running jobs."""
    path: Path = settings.WORK_DIR / f"launcher-{packing.version()}.pyz"
    if not path.exists():
        draft = path.with_suffix(f".{uuid.uuid4().hex}")  # that no other process writes
        packing.pack(draft)
        draft.replace(path)
    return path
