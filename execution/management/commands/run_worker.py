"""manage.py run_worker: run one worker."""

import argparse
import os
import signal
import sys
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from execution.worker import Replaced, WorkerLoop


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


class Command(BaseCommand):
    help = "Execute runs. The first SIGTERM shuts down gracefully, a second one exits immediately."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--name", default="", help="a name that is stable across restarts (default: host:pid)"
        )
        parser.add_argument(
            "--slots", type=positive, help="concurrent runs (default: TRAINHUB_WORKER_SLOTS)"
        )
        parser.add_argument(
            "--on-exit",
            choices=["leave", "stop"],
            help="leave processes running for the next start with this --name (the default with "
            "--name), or stop each with a checkpoint (the default without --name)",
        )

    def handle(self, *, name: str, slots: int | None, on_exit: str | None, **options: Any) -> None:
        if not options["skip_checks"]:
            self.check(tags=["worker"], include_deployment_checks=True)
        loop = WorkerLoop(name=name, slots=slots)
        # A worker with a default name never comes back to readopt its processes.
        stop_work = on_exit == "stop" or (on_exit is None and not name)

        def shut_down(number: int, frame: FrameType | None) -> None:
            if loop.stopping.is_set():
                os._exit(128 + number)  # does not wait even for a query in progress
            loop.stopping.set()
            os.write(sys.stderr.fileno(), b"Shutting down; signal again to exit immediately.\n")

        signal.signal(signal.SIGTERM, shut_down)
        signal.signal(signal.SIGINT, shut_down)
        try:
            loop.run(stop_work=stop_work)
        except Replaced:
            raise CommandError(
                f"Another worker has registered as {loop.name} and taken over this one's runs."
            ) from None
