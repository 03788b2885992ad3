"""The job of an attempt: what it asks of Ray, and what travels with it."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from execution import launcher
from execution.executors.attempt import Attempt
from execution.executors.ray.pools import UNTYPED
from execution.launcher import packing
from runs.models import Run

DRIVER: Final = "ray_driver.py"
LAUNCHER: Final = "launcher.pyz"
# Variables that a runtime environment of a recipe must not set.
_OWN: Final = "TRAINHUB_"


@dataclass(frozen=True)
class JobDescription:
    """Kept in the attempt's launch.json, so that it can be submitted by a worker that did not
    create it."""

    nodes: int
    gpus_per_node: int
    cpus_per_node: int
    memory_gb_per_node: int | None
    time_limit_seconds: int | None
    accelerator_type: str = ""  # of its GPUs, by Ray's name
    resources: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    runtime_env: dict[str, Any] = field(default_factory=dict)
    grace_seconds: float = 0.0  # for a training that is asked to stop

    @classmethod
    def of(cls, run: Run) -> JobDescription:
        recipe = run.recipe
        assert recipe is not None
        options = recipe.engine_options
        return cls(
            nodes=run.nodes,
            gpus_per_node=run.gpu_count // run.nodes,
            cpus_per_node=recipe.cpus_per_node or 1,
            memory_gb_per_node=recipe.memory_gb_per_node,
            time_limit_seconds=run.time_limit_seconds,
            accelerator_type=_accelerator_type(run),
            resources=options.get("resources", {}),
            labels=options.get("labels", {}),
            runtime_env=options.get("runtime_env", {}),
            grace_seconds=recipe.stop_grace_seconds,
        )


def _accelerator_type(run: Run) -> str:
    """That of the pool which the run's GPUs count against; "" if nodes of any type will do."""
    is_typed = run.pool and run.gpu_count and run.gpu_type != UNTYPED
    return run.gpu_type if is_typed else ""


def name_of(attempt: Attempt) -> str:
    """The job's id: always the same, so that no attempt has two. Ids of runs are unique
    everywhere."""
    return f"trainhub-{attempt.run_id}-{attempt.number}"


def submission(attempt: Attempt, job: JobDescription, *, url: str, token: str) -> dict[str, Any]:
    """The arguments of submit_job."""
    runtime_env = dict(job.runtime_env)
    given = {
        name: text
        for name, text in runtime_env.pop("env_vars", {}).items()
        if not name.startswith(_OWN)
    }
    ours = {
        "TRAINHUB_ATTEMPT_URL": url,
        "TRAINHUB_ATTEMPT_TOKEN": token,
        "TRAINHUB_NODE_DIR": settings.NODE_WORK_DIR,
        "TRAINHUB_JOB": json.dumps(asdict(job)),
    }
    return {
        "entrypoint": f"python {DRIVER}",
        "runtime_env": {
            **runtime_env,
            "working_dir": str(travelling()),
            "env_vars": {**given, **ours},
        },
        "metadata": {"trainhub_run": attempt.run_id, "trainhub_attempt": str(attempt.number)},
    }


def travelling() -> Path:
    """A folder with the driver and the launcher, which Ray copies to its nodes: one for each
    version."""
    folder: Path = settings.WORK_DIR / f"ray-{packing.version()}"
    if not folder.exists():
        draft = folder.with_name(f".{folder.name}-{uuid.uuid4().hex}")  # no other process writes it
        draft.mkdir(parents=True)
        packing.pack(draft / LAUNCHER)
        shutil.copy(launcher.PROGRAM.with_name(DRIVER), draft / DRIVER)
        try:
            draft.rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(draft)
    return folder
