"""Who is killed, and how: workers, launchers, trainings, all processes of a host."""

import signal
import time
from dataclasses import dataclass

import psutil
from django.conf import settings

from execution.launcher.process_tree import send
from runs.models import Worker
from tests.workers import WorkerProcess

TRAINING_NAME = "witnessed_training.py"


@dataclass(frozen=True)
class Strike:
    """What was done, to whom, and when (Unix seconds). ``attempt``: (run, number), if it was one's
    process."""

    at: float
    kind: str
    victim: str
    attempt: tuple[str, int] | None = None

    @property
    def is_common(self):
        """Whether any run may have felt it."""
        return "node" in self.kind or "controller" in self.kind

    def hits(self, run_id):
        return self.attempt is not None and self.attempt[0] == run_id


@dataclass(frozen=True)
class Victim:
    process: psutil.Process
    attempt: tuple[str, int]


def trainings():
    """Their processes, in a fixed order."""
    return _processes(lambda words: any(word.endswith(TRAINING_NAME) for word in words), _told)


def launchers():
    """Those of this test's attempts; of a cluster's jobs, of every node."""

    def is_one(words):
        return "-I" in words[1:2] and words[-1].startswith(_work())

    return _processes(is_one, _of_words)


def _work():
    return f"{settings.WORK_DIR}/"


def _processes(is_one, attempt_of):
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if words and is_one(words):
            attempt = attempt_of(process, words)
            if attempt is not None:
                found.append(Victim(process, attempt))
    return sorted(found, key=lambda victim: (victim.attempt, victim.process.pid))


def _of_words(_process, words):
    run, _, attempt = words[-1].removeprefix(_work()).partition("/attempt-")
    return (run, int(attempt)) if attempt.isdecimal() else None


def _told(process, _words):
    try:
        environment = process.environ()
    except psutil.Error:
        return None
    if not environment.get("TRAINHUB_OUTPUT_DIR", "").startswith(_work()):
        return None
    return environment["TRAINHUB_RUN_ID"], int(environment["TRAINHUB_ATTEMPT"])


class Unit:
    """A worker that is started again whenever it ends, as systemd does."""

    def __init__(self, name, *arguments, **environment):
        self.name, self._arguments, self._environment = name, arguments, environment
        self.starts = 0
        self._back_at = 0.0  # monotonic seconds
        self._frozen_until = None
        self._start()

    def _start(self):
        self.worker = WorkerProcess(self.name, *self._arguments, **self._environment)
        self.starts += 1

    @property
    def runs(self):
        return self.worker.process.poll() is None

    def is_ready(self):
        """Whether it has registered since it was started."""
        pid = self.worker.process.pid
        return self.runs and Worker.objects.filter(name=self.name, pid=pid).exists()

    def keep(self, restart_seconds=0.5):
        now = time.monotonic()
        if self._frozen_until is not None and now >= self._frozen_until:
            self._frozen_until = None
            if self.runs:
                self.worker.process.send_signal(signal.SIGCONT)
        if self.runs:
            self._back_at = now + restart_seconds
        elif now >= self._back_at:
            self._start()

    def strike(self, number, *, away=0.5):
        """``away``: seconds until it is started again."""
        if self.runs:
            self.worker.process.send_signal(number)
        if number == signal.SIGKILL:
            self.worker.process.wait(30)
            self._back_at = time.monotonic() + away

    def freeze(self, seconds):
        if self.runs:
            self.worker.process.send_signal(signal.SIGSTOP)
            self._frozen_until = time.monotonic() + seconds

    def stop(self):
        """Ask it to leave; return its exit code."""
        self.keep()
        if self._frozen_until is not None:
            self._frozen_until = 0.0
            self.keep()
        if self.runs:
            self.worker.terminate()
        return self.worker.wait()

    def problems(self):
        """What its processes have met that no kill explains. Ends the last one."""
        if (code := self.stop()) != 0:
            yield f"the worker {self.name} left with the exit code {code}"
        output = self.worker.output()
        if "Traceback" in output:
            yield f"the worker {self.name} has met errors:\n{output[-20_000:]}"


OFTEN = {
    "SIGKILL training": 8,
    "SIGTERM training": 4,
    "SIGKILL launcher": 8,
    "SIGTERM launcher": 2,
    "SIGKILL launcher and training": 4,
    "SIGKILL worker": 3,
    "SIGTERM worker": 2,
    "SIGKILL worker for long": 1,
    "SIGSTOP worker": 1,
}
HOST = "SIGKILL host"
BY_HOST = "by host"  # one for each attempt that a strike at the host has hit


class Kills:
    """Strikes of random kinds. ``random`` also chooses the victims. ``others``: more kinds, each
    with its weight and what is done, which returns False if there was nobody."""

    def __init__(self, random, units, lease_seconds, others=None):
        self.random, self.units, self.lease_seconds = random, units, lease_seconds
        self.done: list[Strike] = []
        self._others = others or {}
        self._weights = OFTEN | {kind: weight for kind, (weight, _act) in self._others.items()}

    def kind(self):
        return self.random.choices(list(self._weights), list(self._weights.values()))[0]

    def strike(self, kind):
        """False if there is nobody to strike: try again."""
        if kind in self._others:
            self.note(kind, kind)
            if self._others[kind][1]() is False:
                self.done.pop()
                return False
            return True
        number = getattr(signal, kind.split()[0], signal.SIGKILL)
        if "worker" in kind:
            return self._strike_worker(kind, number)
        return self._strike_attempt(
            kind, number, launchers() if "launcher" in kind else trainings()
        )

    def _strike_worker(self, kind, number):
        there = [unit for unit in self.units if unit.is_ready()]
        if not there:
            return False
        unit = self.random.choice(there)
        away = self.random.uniform(0.1, 1.0)
        self.note(kind, unit.name)
        if number == signal.SIGSTOP:
            unit.freeze(self.lease_seconds * 1.5)
        else:
            unit.strike(number, away=self.lease_seconds * 1.5 if "for long" in kind else away)
        return True

    def _strike_attempt(self, kind, number, victims):
        if not victims:
            return False
        victim = self.random.choice(victims)
        also = [item for item in trainings() if item.attempt == victim.attempt]
        self.note(kind, str(victim.process.pid), victim.attempt)
        send(victim.process, number)
        if "and training" in kind:
            for item in also:
                send(item.process, number)
        return True

    def strike_host(self):
        """Everything that runs on it, as a power cut does. First the workers, which could start
        more."""
        for unit in self.units:
            self.note("worker by host", unit.name)
            unit.strike(signal.SIGKILL, away=self.random.uniform(0.5, self.lease_seconds * 1.5))
        hit = set()
        while victims := [*launchers(), *trainings()]:
            for victim in victims:
                send(victim.process, signal.SIGKILL)
                hit.add(victim.attempt)
        for attempt in sorted(hit):
            self.note(BY_HOST, BY_HOST, attempt)

    def note(self, kind, victim, attempt=None):
        self.done.append(Strike(time.time(), kind, victim, attempt))
