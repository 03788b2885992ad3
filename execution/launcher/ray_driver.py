"""The driver of a Ray job: takes all of its nodes at once, and starts a launcher on each.

It is the job's entrypoint and needs ray, and nothing of TrainHub but launcher.pyz beside it. The
launchers are processes of their own, which report to TrainHub themselves: they outlive this driver,
and Ray's head. When the driver is told to stop, it only leaves: TrainHub has asked them before, or
asks them then.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

LAUNCHER: Final = "launcher.pyz"
POLL_SECONDS: Final = 0.2
# An agent that is killed is started again after 1, 2, 4, 8, 15 s: before its launcher ends the
# training because nobody hears it.
MAX_RESTARTS: Final = 5
LONGEST_PAUSE_SECONDS: Final = 15.0
STEADY_SECONDS: Final = 600.0  # of an agent: earlier kills do not count any more
OTHERS_SECONDS: Final = 180.0  # and the grace period, for the other launchers once one has failed
MAX_WORDS: Final = 1000
GB: Final = 1024**3


def start_agent(
    rank: int, job: dict[str, Any], address: str
) -> tuple[str, list[str], dict[str, str]]:
    """Where the launcher's log is, its command, and its variables. Copies the launcher out of the
    folder that Ray removes with the job."""
    import psutil

    folder = Path(os.environ["TRAINHUB_NODE_DIR"])
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = Path.cwd().name  # Ray's, by the content
    program = folder / f"{name}-{LAUNCHER}"
    if not program.exists():
        draft = program.with_suffix(f".{os.getpid()}-{rank}")
        shutil.copy(LAUNCHER, draft)
        draft.replace(program)
    variables = dict(os.environ)
    variables.pop("TRAINHUB_JOB", None)
    variables["TRAINHUB_NODE_RANK"] = str(rank)
    variables["TRAINHUB_NODE_ADDRESS"] = address
    # Ray has psutil among its own modules.
    variables["TRAINHUB_MODULES"] = str(Path(psutil.__file__).parent.parent)
    if job.get("time_limit_seconds"):
        variables["TRAINHUB_JOB_TIME_LEFT"] = str(job["time_limit_seconds"])
    command = [sys.executable, "-I", str(program), "--remote"]
    return str(folder / f"agent-{rank}.log"), command, variables


def last_words(log: Path) -> str:
    """The last line of an agent's log."""
    with contextlib.suppress(OSError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - MAX_WORDS))
        lines = file.read().decode(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "")
    return ""


class NodeLauncher:
    """An actor on each node, which keeps the launcher's agent alive."""

    def run(self, rank: int, job: dict[str, Any]) -> tuple[int, str]:
        """The agent's exit code, and its last words."""
        import ray

        log, command, variables = start_agent(rank, job, ray.util.get_node_ip_address())
        return keep_alive(rank, command, variables, Path(log))


def keep_alive(
    rank: int, command: list[str], variables: dict[str, str], log: Path
) -> tuple[int, str]:
    """Run the agent until it exits, or is killed again and again, say for want of memory. Its exit
    code (128 + the signal), and its last words."""
    kills = 0
    while True:
        began = time.monotonic()
        code = run_agent(command, variables, log)
        if code >= 0:
            return code, last_words(log)
        kills = 1 if time.monotonic() - began > STEADY_SECONDS else kills + 1
        if kills > MAX_RESTARTS:
            return 128 - code, f"the agent of node {rank} was killed {kills} times (signal {-code})"
        pause = min(LONGEST_PAUSE_SECONDS, 2.0 ** (kills - 1))
        print(f"the agent of node {rank} was killed ({code}): again in {pause:.0f} s", flush=True)  # noqa: T201
        time.sleep(pause)


def run_agent(command: list[str], variables: dict[str, str], log: Path) -> int:
    """Its exit code; negative: the signal that has killed it."""
    with log.open("ab") as output:
        agent = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env=variables,
        )
    while agent.poll() is None:
        time.sleep(POLL_SECONDS)
    return int(agent.returncode)


def bundle_of(job: dict[str, Any]) -> dict[str, float]:
    """What each node gives."""
    bundle = {"CPU": float(job["cpus_per_node"]), **job["resources"]}
    if job["gpus_per_node"]:
        bundle["GPU"] = float(job["gpus_per_node"])
    if job.get("accelerator_type"):
        bundle[f"accelerator_type:{job['accelerator_type']}"] = 0.001  # as Ray's own option does
    if job["memory_gb_per_node"]:
        bundle["memory"] = float(job["memory_gb_per_node"] * GB)
    return bundle


def main() -> int:
    import ray
    from ray.util.placement_group import placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    job = json.loads(os.environ["TRAINHUB_JOB"])
    ray.init(log_to_driver=True)
    nodes, bundle = int(job["nodes"]), bundle_of(job)
    options: dict[str, Any] = {"strategy": "STRICT_SPREAD" if nodes > 1 else "PACK"}
    if job["labels"]:
        options["bundle_label_selector"] = [job["labels"]] * nodes
    print(f"waits for {nodes} nodes with {bundle}", flush=True)  # noqa: T201
    group = placement_group([bundle] * nodes, **options)
    ray.get(group.ready())
    print("starts", flush=True)  # noqa: T201
    actor = ray.remote(max_restarts=0)(NodeLauncher)
    others = {name: value for name, value in bundle.items() if name not in {"CPU", "GPU", "memory"}}
    launchers = [
        actor.options(
            num_cpus=bundle["CPU"],
            num_gpus=bundle.get("GPU", 0),
            memory=bundle.get("memory"),
            resources=others,
            scheduling_strategy=PlacementGroupSchedulingStrategy(
                placement_group=group, placement_group_bundle_index=rank
            ),
        ).remote()
        for rank in range(nodes)
    ]
    pending = [item.run.remote(rank, job) for rank, item in enumerate(launchers)]
    return wait_for(ray, pending, OTHERS_SECONDS + float(job.get("grace_seconds", 0.0)))


def wait_for(ray: Any, pending: list[Any], others_seconds: float) -> int:
    """Wait for all launchers; once one has failed, for ``others_seconds``: they do not end by
    themselves if it could not tell its end. The exit code of the first that failed."""
    code, deadline = 0, None
    while pending:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        done, pending = ray.wait(pending, num_returns=1, timeout=left)
        if not done:
            print(f"{len(pending)} launchers have not ended: left", flush=True)  # noqa: T201
            return code
        try:
            returned, words = ray.get(done[0])
        except ray.exceptions.RayError as error:
            # Its node is gone. The others are told by TrainHub, once the run is to go on.
            print(f"a launcher is lost: {error}", flush=True)  # noqa: T201
            return 1
        if returned:  # the last line of a job's output is why it has failed
            print(words or f"a launcher has returned {returned}", flush=True)  # noqa: T201
            code = code or int(returned)
            deadline = deadline or time.monotonic() + others_seconds
    return code


if __name__ == "__main__":
    code = main()
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.exit(code)
