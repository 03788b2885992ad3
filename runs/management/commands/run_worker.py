import argparse
import os
import signal
import sys
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from runs.worker import Replaced, WorkerLoop


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


class Command(BaseCommand):
    help = "Work on runs until told to stop. First SIGTERM: leave in order; second: exit now."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--name", default="", help="stable across restarts; by default one of its own"
        )
        parser.add_argument("--seats", type=positive, help="runs at a time (TRAINHUB_WORKER_SEATS)")
        parser.add_argument(
            "--on-exit",
            choices=["leave", "stop"],
            help="processes at the end: leave them running for the next start of this --name (the "
            "default with one), or stop each with a checkpoint (without one)",
        )

    def handle(self, *, name: str, seats: int | None, on_exit: str | None, **options: Any) -> None:
        loop = WorkerLoop(name=name, seats=seats)
        # A name of its own never comes back to take its processes up again.
        stop_work = on_exit == "stop" or (on_exit is None and not name)

        def leave(number: int, frame: FrameType | None) -> None:
            if loop.stop.is_set():
                os._exit(128 + number)  # not even a query in progress is waited for
            loop.stop.set()
            os.write(sys.stderr.fileno(), b"Leaving in order; once more to exit now.\n")

        signal.signal(signal.SIGTERM, leave)
        signal.signal(signal.SIGINT, leave)
        try:
            loop.run(stop_work=stop_work)
        except Replaced:
            raise CommandError(
                f"Another worker has registered as {loop.name}: this one has left it its runs."
            ) from None
