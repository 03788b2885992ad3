"""A minute in which runs pass, people cancel and pause them, and everything is killed."""

import time
from collections import Counter

from django.db import connection

from core.exceptions import DomainError
from runs.actions import cancel_run
from runs.interruptions import continue_run, pause_run
from runs.models import Run
from runs.status import InvalidTransition, RunStatus
from tests.chaos.plan import CANCELLED
from tests.waiting import wait_until

LOOK_SECONDS = 0.05
RETRY_SECONDS = 0.5  # until a strike that has found nobody looks again
LONGEST = 5  # of the time of a storm, for those that still look
ENOUGH = 0.75  # of the strikes
USE = """
SELECT project_id, gpu_count, devices FROM runs_run
WHERE status = %s AND worker_id IS NOT NULL AND held_since IS NOT NULL AND gpu_count > 0
"""


class Storm:
    """``units``: what is started again whenever it ends. ``counts_gpus``: whether TrainHub keeps to
    the pool itself: a cluster gives the GPUs of a dead node away before TrainHub knows of it."""

    def __init__(
        self, random, planned, creator, kills, units, *, seconds, strikes, counts_gpus=True
    ):
        self.planned, self.creator, self.kills, self.units = planned, creator, kills, units
        self.seconds = seconds
        self._counts_gpus = counts_gpus
        self.problems = []
        self.most_gpus = 0
        self.samples = 0
        self._paused = []
        self._strikes = strikes
        self._due = [(random.uniform(1.0, seconds), self._strike) for _ in range(strikes)]
        for item in planned:
            self._due.append((item.at, self._creation(item)))
        self._due.sort(key=lambda due: due[0])

    def blow(self):
        for unit in self.kills.units:
            wait_until(unit.is_ready, seconds=180)
        self._began = time.monotonic()
        while self._due or self._elapsed < self.seconds:
            self._look()
            time.sleep(LOOK_SECONDS)

    def settle(self, seconds):
        """Wait until all runs are over, with nothing killed any more."""
        runs = [item.run.pk for item in self.planned]

        def all_over():
            self._look()
            return not Run.objects.filter(pk__in=runs).active().exists()

        wait_until(all_over, seconds=seconds, every=LOOK_SECONDS, or_say="runs are not over")

    def lulls(self):
        """Says if it was too calm to show anything."""
        if len(self.strikes) < self._strikes * ENOUGH:
            yield f"only {len(self.strikes)} of {self._strikes} strikes have hit"
        for kind in ("training", "launcher", "worker"):
            if not any(kind in strike.kind for strike in self.strikes):
                yield f"no {kind} was struck"

    @property
    def strikes(self):
        """A host's once, not those of all that ran on it."""
        return [strike for strike in self.kills.done if "by host" not in strike.kind]

    @property
    def _elapsed(self):
        return time.monotonic() - self._began

    def _look(self):
        for unit in self.units:
            unit.keep()
        now = self._elapsed
        while self._due and self._due[0][0] <= now:
            self._due.pop(0)[1]()
        self._continue_paused()
        self._sample()

    def _strike(self, kind=None):
        kind = kind or self.kills.kind()
        if not self.kills.strike(kind) and self._elapsed < LONGEST * self.seconds:
            self._at(RETRY_SECONDS, lambda: self._strike(kind))

    # --- people ------------------------------------------------------------------------------

    def _creation(self, item):
        def create():
            self.creator.create(item)
            if item.fate in CANCELLED:
                self._at(item.wish_after, lambda: self._wish(item, "cancel", cancel_run))
            elif item.fate == "is paused":
                self._at(item.wish_after, lambda: self._wish(item, "pause", pause_run))

        return create

    def _at(self, seconds, act):
        self._due.append((self._elapsed + seconds, act))
        self._due.sort(key=lambda due: due[0])

    def _wish(self, item, name, action):
        try:
            action(item.run, by=None, wait_seconds=0)
        except InvalidTransition:
            return  # it is over
        except DomainError as error:
            if error.status_code != 503:
                raise
            self._at(0.5, lambda: self._wish(item, name, action))
            return
        item.wished.append(name)
        if name == "pause":
            self._paused.append(item)

    def _continue_paused(self):
        for item in list(self._paused):
            status = Run.objects.values_list("status", flat=True).get(pk=item.run.pk)
            if status == RunStatus.PAUSED:
                continue_run(item.run, by=None)
            if status == RunStatus.PAUSED or Run.objects.get(pk=item.run.pk).is_terminal:
                self._paused.remove(item)

    # --- what holds at every moment ----------------------------------------------------------

    def _sample(self):
        with connection.cursor() as cursor:
            cursor.execute(USE, [RunStatus.RUNNING])
            rows = cursor.fetchall()
        self.samples += 1
        used = sum(count for _project, count, _devices in rows)
        self.most_gpus = max(self.most_gpus, used)
        limited = self.creator.quota
        of_project = sum(count for project, count, _ in rows if project == limited.project_id)
        self._check(of_project <= limited.max_gpus, f"{of_project} GPUs of the quota are in use")
        if not self._counts_gpus:
            return
        self._check(used <= self.creator.pool.capacity, f"{used} GPUs of the pool are in use")
        devices = Counter(name for _project, _count, names in rows for name in names)
        doubled = [name for name, count in devices.items() if count > 1]
        self._check(not doubled, f"several runs have the GPUs {doubled}")

    def _check(self, holds, problem):
        if not holds and problem not in self.problems:
            self.problems.append(problem)


def all_accounted():
    return not Run.objects.filter(is_accounted=False).exists()


def tell(storm, units):
    """What has happened."""
    runs = Run.objects.filter(pk__in=[item.run.pk for item in storm.planned])
    ends = Counter(RunStatus(run.status).name for run in runs)
    kinds = Counter(strike.kind for strike in storm.strikes)
    print(f"{kinds.total()} strikes: {dict(kinds)}")
    print(f"{len(runs)} runs: {dict(ends)}; {sum(run.attempt for run in runs)} attempts")
    capacity = storm.creator.pool.capacity
    print(f"at most {storm.most_gpus} of {capacity} GPUs in {storm.samples} samples")
    print(f"starts of workers: {sum(unit.starts for unit in units)}; {storm._elapsed:.0f} s")
