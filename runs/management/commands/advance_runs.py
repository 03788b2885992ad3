import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from runs.executors.simulated import SimulatedExecutor
from runs.models import ExecutorName
from runs.worker import WorkerLoop


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


class Command(BaseCommand):
    help = "One deterministic pass over the simulated runs that no worker holds, and that is all."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--steps", type=positive, default=100, help="steps for each run (default 100)"
        )
        parser.add_argument("--seats", type=positive, default=1000, help="runs at the most")

    def handle(self, *, steps: int, seats: int, **options: Any) -> None:
        executor = SimulatedExecutor(steps_a_poll=steps)
        loop = WorkerLoop(seats=seats, executors={ExecutorName.SIMULATED: executor})
        loop.register()
        claimed = loop.claim()
        for run in claimed:
            loop.attend(run)
        loop.leave(stop_work=False, stop_seconds=0)
        self.stdout.write(f"{len(claimed)} runs advanced by up to {steps} steps.")
