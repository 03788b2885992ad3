"""Times the passes of a worker over its runs: python -m benchmarks.ticking RUNS PASSES.

Prints JSON, of each pass: ``tick``, the seconds until the worker may begin the next; ``seconds``
until all of its work is done; ``cpu_seconds`` that this process took. And ``steps`` that the runs
took in one on average.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time

import django

WARM_UP = 3  # passes that are not measured: connections are opened, statements prepared
LONGEST_SECONDS = 60.0  # of a pass

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "trainhub.settings")


def main() -> None:
    count, passes = map(int, sys.argv[1:])
    django.setup()
    logging.disable(logging.WARNING)  # its own log goes to standard output

    from django.db.models import Sum

    from execution.tasks import ThreadedTasks
    from execution.worker import WorkerLoop
    from projects.models import Project
    from runs.actions import create_run
    from runs.models import Run

    project = Project.objects.create(name="ticks")
    for _number in range(count):
        create_run(project, by=None, hyperparameters={"max_steps": 1_000_000})
    loop = WorkerLoop(name="ticks", slots=count)
    loop.register()
    loop.tasks = tasks = ThreadedTasks()

    def one_pass() -> dict[str, float]:
        began, cpu_began = time.perf_counter(), time.process_time()
        loop.tick()
        tick = time.perf_counter() - began
        assert tasks.wait(LONGEST_SECONDS), "a pass does not end"
        seconds = time.perf_counter() - began
        cpu_seconds = time.process_time() - cpu_began
        tasks.raise_error()
        time.sleep(max(0.0, loop.tick_seconds - seconds))
        return {"tick": tick, "seconds": seconds, "cpu_seconds": cpu_seconds}

    def steps() -> int:
        return int(Run.objects.aggregate(steps=Sum("step"))["steps"])

    while Run.objects.running().exclude(worker=None).count() < count:
        one_pass()
    for _number in range(WARM_UP):
        one_pass()
    before = steps()
    measured = [one_pass() for _number in range(passes)]
    taken = steps() - before
    assert Run.objects.running().count() == count, "a run has ended"
    tasks.close()
    by_name = {name: [one[name] for one in measured] for name in measured[0]}
    print(json.dumps(by_name | {"steps": taken / passes}))  # noqa: T201


if __name__ == "__main__":
    main()
