"""What a worker does beside its runs: indexing, accounting, policies, notices, tidying."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, NamedTuple

from artifacts.direct_upload_checks import check_due
from artifacts.direct_uploads import DirectUpload
from audit import retention
from execution.faults import Faults
from execution.pool_discovery import discover_pools
from execution.program_checks import answer_checks
from execution.tasks import Tasks
from goodput.accounting import Accountant
from metrics.run_index import index_runs
from notices import sending
from notices.rules import check_rules
from registry.retention_driving import RetentionDriver
from registry.rule_driving import RuleDriver
from runs import unmanaged
from runs.executors import Executor
from runs.models import Worker
from sweeps.driving import SweepDriver

TIDY_SECONDS: Final = 30.0
RULES_SECONDS: Final = 5.0
SENDERS: Final = 2  # of notices: a receiver that is slow delays not all others
CHECKERS: Final = 2  # of direct uploads: one that is large delays not all others


class Chore(NamedTuple):
    name: str
    work: Callable[[], object]
    at_once: int = 1  # how many tasks may do it at the same time


class Chores:
    """The chores of one worker. Each is a task of its own; one that fails is logged, paused for a
    while, and keeps none of the others from their work."""

    def __init__(self, worker: Worker, executors: Mapping[str, Executor], faults: Faults) -> None:
        self._executors = executors
        self._faults = faults
        self.next_tidy = 0.0  # monotonic seconds
        self._next_rules = 0.0
        self._chores = (
            Chore("tidying", self._tidy),
            Chore("indexing runs", index_runs),
            Chore("accounting runs", Accountant().work),
            Chore("advancing sweeps", SweepDriver().work),
            Chore("following evaluation rules", RuleDriver().work),
            Chore("applying policies of checkpoints", RetentionDriver().work),
            Chore("answering program checks", partial(answer_checks, worker)),
            Chore("checking the rules of webhooks", self._check_rules),
            Chore("sending notices", sending.send_due, at_once=SENDERS),
            Chore("checking direct uploads", check_due, at_once=CHECKERS),
        )

    def start(self, tasks: Tasks) -> None:
        """Start those of one pass; one that is not done since an earlier pass goes on."""
        for chore in self._chores:
            for number in range(chore.at_once):
                tasks.start(f"{chore.name} {number}", partial(self._do, chore))

    def _do(self, chore: Chore) -> None:
        if not self._faults.pauses.is_paused(chore.name):
            with self._faults.surviving(chore.name):
                chore.work()

    def _tidy(self) -> None:
        if time.monotonic() < self.next_tidy:
            return
        self.next_tidy = time.monotonic() + TIDY_SECONDS
        for name, executor in self._executors.items():
            with self._faults.surviving(f"tidying ({name})"):
                executor.tidy()
        with self._faults.surviving("looking for lost runs"):
            unmanaged.update_lost_runs()
        with self._faults.surviving("looking for GPUs"):
            discover_pools(self._executors)
        with self._faults.surviving("pruning the audit"):
            retention.prune()
        with self._faults.surviving("pruning deliveries"):
            sending.prune()
        with self._faults.surviving("sweeping direct uploads"):
            DirectUpload.objects.sweep()

    def _check_rules(self) -> None:
        if time.monotonic() >= self._next_rules:
            self._next_rules = time.monotonic() + RULES_SECONDS
            check_rules()
