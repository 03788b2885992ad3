"""Users submit jobs, nodes break, workers report: what happens to a simulated cluster, in order.

Who may start is decided by ``claim_ids``, on the tables, as for every worker. What workers would
write of the runs that they hold is written in bulk (writing.py).
"""

from __future__ import annotations

import heapq
import math
import time
from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Final

from core.database import Bigints, Doubles, Texts
from execution.cluster_simulation import writing
from execution.cluster_simulation.pending import Pending
from execution.cluster_simulation.sandbox import Clock, analyze
from execution.cluster_simulation.trace import EVALUATION, Ending, Job
from execution.scheduling.claiming import claim_ids
from execution.scheduling.explanation import explain
from execution.scheduling.rules import Rules
from projects.models import Project
from runs.durations import expected_seconds
from runs.models import ExecutorName, GpuPool, Recipe, RecipeKind, Run, Worker
from runs.status import RunStatus

POOL: Final = "simulated"
STATUSES: Final = {
    Ending.COMPLETED: RunStatus.COMPLETED,
    Ending.CANCELLED: RunStatus.CANCELLED,
    Ending.FAILED: RunStatus.FAILED,
}
NODE_GPUS: Final = 8
MAX_STEPS: Final = 2**40
SLOTS: Final = 32_767
# Runs after which the planner is told what the tables hold: until then it takes the runs that no
# worker holds for few. The first few times after twice as many each.
ANALYZE_FIRST: Final = 50
ANALYZE_EVERY: Final = 5_000
ESTIMATES: Final = 300  # runs whose start is estimated, about
ESTIMATED_AFTER_SECONDS: Final = 60.0  # of waiting
LIFETIME: Final = timedelta(days=100 * 365)  # of the worker
LEARN_EVERY: Final = 10  # runs of a kind, after which their length is looked up again


@dataclass(frozen=True, slots=True)
class Conditions:
    """``gpus``: of the pool; ``reserve``: kept for evaluations. ``resolution_seconds``: what
    happens within it happens at once. ``node_failures``: of a node, a year; ``checkpoint_seconds``:
    between two checkpoints of a training; ``save_seconds``: how long a preempted one saves."""

    gpus: int
    reserve: int = 0
    resolution_seconds: float = 10.0
    node_failures: float = 6.0
    checkpoint_seconds: float = 1800.0
    save_seconds: float = 30.0
    step_seconds: float = 1.0
    seed: int = 1
    rules: Rules | None = None  # by default those of the settings


@dataclass(slots=True)
class SimulatedRun:
    """``done_seconds``: of its work, kept in a checkpoint or shown as steps."""

    run_id: str
    job: Job
    total_steps: int
    done_seconds: float = 0.0
    started: float | None = None  # since the beginning of the simulation, first of all
    began: float | None = None  # the present attempt
    ended: float | None = None
    attempt: int = 0
    restarts: int = 0
    preemptions: int = 0
    lost_seconds: float = 0.0
    held_seconds: float = 0.0
    estimate: tuple[float, float] | None = None  # when it was made, and the start that it told

    @property
    def waited(self) -> float | None:
        return None if self.started is None else max(0.0, self.started - self.job.submitted)

    def step_at(self, seconds: float) -> int:
        """After so much of its work."""
        share = min(1.0, seconds / self.job.planned_seconds)
        return min(self.total_steps - 1, math.floor(share * self.total_steps))


@dataclass(slots=True)
class Outcome:
    """What came of a simulation. ``used``: (when, GPUs in use), whenever they change;
    ``decisions``: seconds of real time that each claim took."""

    gpus: int
    runs: list[SimulatedRun]
    used: list[tuple[float, int]] = field(default_factory=list)
    decisions: list[float] = field(default_factory=list)
    claimed: int = 0
    until: float = 0.0
    seconds: float = 0.0  # of real time


class Cluster:
    """Plays ``jobs`` on an empty database. Iterate ``play`` to its end, then read ``outcome``."""

    def __init__(self, clock: Clock, jobs: list[Job], conditions: Conditions) -> None:
        self._clock = clock
        self._conditions = conditions
        self._random = Random(conditions.seed)
        self._projects: dict[str, str] = {}
        self._runs = [self._planned(number, job) for number, job in enumerate(jobs)]
        self._by_id = {run.run_id: run for run in self._runs}
        self._ends: list[tuple[float, int, str]] = []  # when, attempt, run
        self._failures: list[float] = []
        self._held: dict[str, SimulatedRun] = {}
        self._stopping: dict[str, float] = {}  # run -> when it will have saved
        self._pending = Pending(clock)
        self._waiting = 0
        self._used = 0  # GPUs
        self._preemptible = 0  # of the runs that hold GPUs
        self._expected: dict[tuple[str, str, int], list[float]] = {}
        self._to_estimate: list[tuple[float, str]] = []
        self._since_analyze = 0
        self._analyze_after = ANALYZE_FIRST
        self.outcome = Outcome(conditions.gpus, self._runs)

    def _planned(self, number: int, job: Job) -> SimulatedRun:
        steps = round(job.planned_seconds / self._conditions.step_seconds)
        return SimulatedRun(f"run_{number:012d}", job, min(MAX_STEPS, max(2, steps)))

    # --- the course of things ----------------------------------------------------------------

    def play(self) -> Iterator[int]:
        """Until every run is over. Yields how many more are."""
        began = time.perf_counter()
        self._set_up()
        arrivals = iter(self._runs)
        following = next(arrivals, None)
        while following is not None or self._held or self._waiting:
            self._advance(following)
            now = self._clock.seconds
            submitted = []
            while following is not None and following.job.submitted <= now:
                submitted.append(following)
                following = next(arrivals, None)
            self._submit(submitted)
            over = self._end()
            self._give_way()
            self._break_nodes()
            if self._waiting:
                self._claim()
                self._note_stops()
            self._estimate()
            self._analyze(len(submitted))
            yield over
        self._pending.write()
        self.outcome.until = self._clock.seconds
        self.outcome.seconds = time.perf_counter() - began

    def write(self) -> None:
        """What is only known here so far into the tables. The scheduler never has to ask for it."""
        self._pending.write()

    def _advance(self, following: SimulatedRun | None) -> None:
        """To the next thing that happens, and as much further as the resolution is wide."""
        upcoming = [math.inf if following is None else following.job.submitted]
        upcoming += [self._ends[0][0]] if self._ends else []
        upcoming += [self._failures[0]] if self._failures and self._held else []
        upcoming += self._stopping.values()
        upcoming += [self._to_estimate[0][0]] if self._to_estimate else []
        at = min(upcoming)
        if math.isinf(at):
            raise RuntimeError("Runs wait that can never start.")
        step = self._conditions.resolution_seconds
        # The database learns it when it is asked for something.
        self._clock.seconds = max(self._clock.seconds, math.ceil(at / step) * step if step else at)

    # --- users -------------------------------------------------------------------------------

    def _set_up(self) -> None:
        """Raises ValueError for jobs that need more GPUs than there are."""
        conditions = self._conditions
        largest = max(run.job.gpu_count for run in self._runs)
        if largest > conditions.gpus - conditions.reserve:
            raise ValueError(
                f"A job needs {largest} GPUs, but there are {conditions.gpus}, of which "
                f"{conditions.reserve} are kept for evaluations."
            )
        GpuPool.objects.create(
            name=POOL, gpu_type=POOL, capacity=conditions.gpus, reserve=conditions.reserve
        )
        kinds = {run.job.kind for run in self._runs}
        Recipe.objects.bulk_create(
            Recipe(
                name=_slug(kind),
                executor=ExecutorName.SIMULATED,
                kind=RecipeKind.EVALUATION if kind == EVALUATION else RecipeKind.TRAINING,
            )
            for kind in sorted(kinds)
        )
        owners = {run.job.project: run.job.owner for run in self._runs}
        for number, (name, owner) in enumerate(sorted(owners.items())):
            project = Project(pk=f"proj_{number:012d}", name=name[:200], owner=owner[:200])
            self._projects[name] = project.pk
            Project.objects.bulk_create([project])
        self._worker = Worker.objects.create(
            name=POOL,
            host=POOL,
            pid=1,
            executors=[ExecutorName.SIMULATED],
            slots=SLOTS,
            started_at=self._clock.time(),
            last_heartbeat=self._clock.time() + LIFETIME,  # it never dies
        )
        nodes = max(1, conditions.gpus // NODE_GPUS)
        rate = nodes * conditions.node_failures / (365 * 86_400)
        last = self._runs[-1].job.submitted * 2 + 86_400
        at = self._random.expovariate(rate) if rate else math.inf
        while at < last:
            self._failures.append(at)
            at += self._random.expovariate(rate)

    def _submit(self, runs: list[SimulatedRun]) -> None:
        if not runs:
            return
        jobs = [run.job for run in runs]
        expected = [self._expected_seconds(run) for run in runs]
        self._pending.submit(
            pool=POOL,
            ids=Texts(run.run_id for run in runs),
            projects=Texts(self._projects[job.project] for job in jobs),
            recipes=Texts(_slug(job.kind) for job in jobs),
            kinds=Texts(
                RecipeKind.EVALUATION if job.kind == EVALUATION else RecipeKind.TRAINING
                for job in jobs
            ),
            gpu_counts=Bigints(job.gpu_count for job in jobs),
            priorities=Bigints(job.priority for job in jobs),
            preemptible=Bigints(job.preemptible for job in jobs),
            total_steps=Bigints(run.total_steps for run in runs),
            expected=Doubles(expected),
        )
        self._waiting += len(runs)
        share = ESTIMATES / len(self._runs)
        for run in runs:
            # Those that may wait long are of interest.
            if self._random.random() < share * (20 if run.job.gpu_count > NODE_GPUS else 1):
                at = self._clock.seconds + ESTIMATED_AFTER_SECONDS
                insort(self._to_estimate, (at, run.run_id))

    def _expected_seconds(self, run: SimulatedRun) -> float:
        """As for a new run of people, looked up now and then; -1: unknown."""
        job = run.job
        key = (job.project, job.kind, job.gpu_count)
        known = self._expected.setdefault(key, [0.0, -1.0])
        if known[0] % LEARN_EVERY == 0:
            self._pending.write()
            row = Run(
                project_id=self._projects[job.project],
                recipe_id=_slug(job.kind),
                gpu_count=job.gpu_count,
                total_steps=MAX_STEPS,
            )
            seconds = expected_seconds(row)
            known[1] = -1.0 if seconds is None else seconds / MAX_STEPS
        known[0] += 1
        return known[1] if known[1] < 0 else known[1] * run.total_steps

    # --- workers -----------------------------------------------------------------------------

    def _claim(self) -> None:
        self._pending.write()
        began = time.perf_counter()
        claimed = claim_ids(self._worker, SLOTS, rules=self._conditions.rules)
        self.outcome.decisions.append(time.perf_counter() - began)
        if not claimed:
            return
        now, pace = self._clock.seconds, []
        runs = [self._by_id[pk] for pk in claimed]
        for run in runs:
            run.started = now if run.started is None else run.started
            run.began = now
            run.attempt += 1
            self._held[run.run_id] = run
            self._used += run.job.gpu_count
            self._preemptible += run.job.preemptible
            heapq.heappush(
                self._ends, (now + run.job.seconds - run.done_seconds, run.attempt, run.run_id)
            )
            pace.append(run.job.planned_seconds / run.total_steps)
        self._waiting -= len(runs)
        self.outcome.claimed += len(runs)
        self._pending.begin(
            ids=Texts(run.run_id for run in runs),
            steps=Bigints(run.step_at(run.done_seconds) for run in runs),
            seconds=Doubles(pace),
        )
        self._count()

    def _end(self) -> int:
        """The runs whose work is done, failed or cancelled by now."""
        now, over = self._clock.seconds, []
        while self._ends and self._ends[0][0] <= now:
            _at, attempt, run_id = heapq.heappop(self._ends)
            run = self._held.get(run_id)
            if run is not None and run.attempt == attempt:
                self._release(run)
                run.ended = now
                over.append(run)
        if over:
            self._pending.end(
                ids=Texts(run.run_id for run in over),
                statuses=Texts(STATUSES[run.job.ending] for run in over),
                steps=Bigints(run.step_at(run.job.seconds) for run in over),
            )
            self._count()
        return len(over)

    def _release(self, run: SimulatedRun) -> float:
        """Take it off its GPUs; how much it has done since it began."""
        assert run.began is not None
        self._stopping.pop(run.run_id, None)
        seconds = self._clock.seconds - run.began
        run.held_seconds += seconds
        run.began = None
        del self._held[run.run_id]
        self._used -= run.job.gpu_count
        self._preemptible -= run.job.preemptible
        return seconds

    def _note_stops(self) -> None:
        """Runs that were asked to stop for others, which still wait, begin to save."""
        if self._waiting and self._preemptible:
            for (run_id,) in writing.STOPPING.rows():
                at = self._clock.seconds + self._conditions.save_seconds
                self._stopping.setdefault(run_id, at)

    def _give_way(self) -> None:
        """Runs that have saved for others are queued again."""
        saved = [pk for pk, at in self._stopping.items() if at <= self._clock.seconds]
        runs = [self._by_id[pk] for pk in saved]
        for run in runs:
            run.done_seconds += self._release(run)
            run.preemptions += 1
        if runs:
            self._wait_again(self._pending.give_way, runs)

    def _break_nodes(self) -> None:
        """A run of a node that breaks goes on from its latest checkpoint."""
        lost = []
        while self._failures and self._failures[0] <= self._clock.seconds:
            self._failures.pop(0)
            held = [run for run in self._held.values() if run not in lost]
            place = self._random.uniform(0, self._conditions.gpus)
            for run in held:
                place -= run.job.gpu_count
                if place <= 0:
                    lost.append(run)
                    break
        for run in lost:
            worked = self._release(run)
            kept = worked - worked % self._conditions.checkpoint_seconds
            run.done_seconds += kept
            run.lost_seconds += worked - kept
            run.restarts += 1
        if lost:
            self._wait_again(self._pending.lose, lost)

    def _wait_again(self, write: Callable[..., None], runs: list[SimulatedRun]) -> None:
        write(
            ids=Texts(run.run_id for run in runs),
            steps=Bigints(run.step_at(run.done_seconds) for run in runs),
        )
        self._waiting += len(runs)
        self._count()

    # --- looking on --------------------------------------------------------------------------

    def _count(self) -> None:
        self.outcome.used.append((self._clock.seconds, self._used))

    def _estimate(self) -> None:
        """Ask when some of the runs that wait will start, as their people would."""
        while self._to_estimate and self._to_estimate[0][0] <= self._clock.seconds:
            _at, run_id = self._to_estimate.pop(0)
            run = self._by_id[run_id]
            if run.started is not None:
                continue
            self._pending.write()
            start = explain(Run.objects.select_related("recipe").get(pk=run_id)).estimated_start
            if start is not None:
                at = start.timestamp() - self._clock.unix + self._clock.seconds
                run.estimate = (self._clock.seconds, at)

    def _analyze(self, count: int) -> None:
        self._since_analyze += count
        if self._since_analyze >= self._analyze_after:
            self._since_analyze = 0
            self._analyze_after = min(2 * self._analyze_after, ANALYZE_EVERY)
            self._pending.write()
            analyze("runs_run", "runs_gpuusage")


def _slug(kind: str) -> str:
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in kind)[:64]


def kinds_of(runs: Iterable[SimulatedRun]) -> list[str]:
    return sorted({run.job.kind for run in runs})
