"""manage.py advance_runs: advance simulated runs without a running worker."""

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from execution.executors.simulated import SimulatedExecutor
from execution.worker import WorkerLoop
from runs.models import ExecutorName


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


class Command(BaseCommand):
    help = "Make one deterministic pass over the simulated runs that no worker holds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--steps", type=positive, default=100, help="steps per run (default 100)"
        )
        parser.add_argument(
            "--slots", type=positive, default=1000, help="maximum number of runs (default 1000)"
        )

    def handle(self, *, steps: int, slots: int, **options: Any) -> None:
        executor = SimulatedExecutor(steps_per_poll=steps)
        loop = WorkerLoop(slots=slots, executors={ExecutorName.SIMULATED: executor})
        loop.register()
        claimed = loop.claim()
        for run in claimed:
            loop.driver.advance(run)
        loop.leave(stop_work=False, stop_seconds=0)
        self.stdout.write(f"{len(claimed)} runs advanced by up to {steps} steps.")
