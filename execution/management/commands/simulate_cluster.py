"""manage.py simulate_cluster: how runs would wait on a cluster, by this scheduler."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser
from tqdm import tqdm

from core.migration_state import has_every_migration
from core.sessions import lift_limits
from execution.cluster_simulation.cluster import Cluster, Conditions, Outcome
from execution.cluster_simulation.report import pictures, text
from execution.cluster_simulation.sandbox import sandbox
from execution.cluster_simulation.trace import BadTrace, Job, read_trace
from execution.cluster_simulation.workload import PROFILES, workload
from execution.scheduling.rules import FIRST_IN_FIRST_OUT

BEGAN: Final = datetime(2026, 1, 1, tzinfo=UTC)
FAIR: Final = "TrainHub"
FIFO: Final = "first in, first out"


class Command(BaseCommand):
    help = (
        "Simulate a cluster: the scheduler and the database of TrainHub under a simulated clock, "
        "with jobs like those of a published cluster or of a trace file. Nothing of it is kept."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--profile",
            choices=sorted(PROFILES),
            default="seren",
            help="whose mix of jobs (Acme, NSDI 2024; default seren)",
        )
        parser.add_argument("--trace", type=Path, help="a CSV file of jobs instead")
        parser.add_argument("--days", type=float, default=30.0, help="default 30")
        parser.add_argument("--runs", type=int, help="default: as many as there were")
        parser.add_argument("--gpus", type=int, help="default: as there were; of a trace 64")
        parser.add_argument(
            "--load", type=float, default=0.8, help="GPU time of the jobs ÷ that there is; 0.8"
        )
        parser.add_argument(
            "--reserve", type=float, default=0.02, help="share of GPUs kept for evaluations; 0.02"
        )
        parser.add_argument(
            "--failures", type=float, default=6.0, help="of a node of 8 GPUs, a year; default 6"
        )
        parser.add_argument("--seed", type=int, default=1)
        parser.add_argument(
            "--resolution",
            type=float,
            default=10.0,
            help="seconds; what happens within it happens at once; default 10",
        )
        parser.add_argument(
            "--compare", action="store_true", help="the same first in, first out, beside it"
        )
        parser.add_argument("--out", type=Path, help="a folder for the pictures and the tables")
        parser.add_argument("--no-progress", action="store_true")

    def handle(self, **options: Any) -> None:
        if not has_every_migration():
            raise CommandError("Its tables are those of the database: run manage.py migrate first.")
        jobs, gpus = _jobs(options)
        lift_limits()
        reserve = round(gpus * options["reserve"])
        fair = Conditions(
            gpus,
            reserve,
            resolution_seconds=options["resolution"],
            node_failures=options["failures"],
        )
        policies = {FAIR: fair}
        if options["compare"]:
            policies[FIFO] = replace(fair, reserve=0, rules=FIRST_IN_FIRST_OUT)
        outcomes = {
            name: self._simulate(
                name,
                jobs if name == FAIR else [job.without_priority() for job in jobs],
                conditions,
                quiet=options["no_progress"],
            )
            for name, conditions in policies.items()
        }
        tables = text(outcomes)
        self.stdout.write(tables)
        folder: Path | None = options["out"]
        if folder is not None:
            try:
                paths = pictures(outcomes, folder)
                (folder / "tables.md").write_text(tables + "\n")
            except OSError as error:
                raise CommandError(f"{folder} cannot be written: {error}") from None
            for path in paths:
                self.stdout.write(str(path))

    def _simulate(
        self, name: str, jobs: list[Job], conditions: Conditions, *, quiet: bool
    ) -> Outcome:
        with (
            sandbox(BEGAN) as clock,
            tqdm(total=len(jobs), desc=name, unit="run", disable=quiet) as bar,
        ):
            cluster = Cluster(clock, jobs, conditions)
            try:
                for over in cluster.play():
                    bar.update(over)
            except ValueError as error:
                raise CommandError(str(error)) from None
        return cluster.outcome


def _jobs(options: dict[str, Any]) -> tuple[list[Job], int]:
    """The jobs, and of how many GPUs the cluster is. Raises CommandError."""
    for name in ("days", "runs", "gpus"):
        value = options[name]
        if value is not None and not 0 < value <= 1_000_000:
            raise CommandError(f"--{name}: a number from 1 to 1,000,000.")
    if not 0 < options["load"] <= 10:
        raise CommandError("--load: a number above 0, at most 10.")
    if not 0 <= options["reserve"] < 1:
        raise CommandError("--reserve: a share from 0 to below 1.")
    if not 0 <= options["failures"] <= 1000:
        raise CommandError("--failures: a number from 0 to 1000.")
    if not 0.1 <= options["resolution"] <= 3600:
        raise CommandError("--resolution: seconds from 0.1 to 3600.")
    if options["trace"] is not None:
        try:
            return read_trace(options["trace"]), options["gpus"] or 64
        except BadTrace as error:
            raise CommandError(str(error)) from None
        except OSError as error:
            raise CommandError(f"{options['trace']} cannot be read: {error.strerror}") from None
    profile = PROFILES[options["profile"]]
    runs = options["runs"] or round(profile.jobs_a_month * options["days"] / 30)
    if options["gpus"]:
        profile = profile.resized(options["gpus"])
    jobs = workload(
        profile, runs=runs, days=options["days"], load=options["load"], seed=options["seed"]
    )
    return jobs, profile.gpus
