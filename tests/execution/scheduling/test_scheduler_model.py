"""Whatever is submitted, ends, dies, is paused, preempted or cancelled, and however pools and
quotas change: no pool gives more than it has, no quota is passed, places are kept, and every run
that can run does.

The same sequences are tried each time. SCHEDULER_EXAMPLES=1000 tries as many other ones.
"""

import os
from collections import Counter

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from execution.scheduling.claiming import claim
from runs import actions, attempts, interruptions
from runs.models import GpuPool, Quota, Recipe, RecipeKind, Run, StopKind
from runs.status import RunStatus
from tests.factories import GpuPoolFactory, ProjectFactory, RunFactory, WorkerFactory

pytestmark = pytest.mark.django_db

EXAMPLES = int(os.environ.get("SCHEDULER_EXAMPLES", "12"))
POOLS = {"A100": 8, "H100": 4}
OWNERS = ["Lee", "Kim"]


class Scheduler(RuleBasedStateMachine):
    """A cluster with two pools, three projects of two owners, and two workers."""

    @initialize(reserve=st.integers(0, 2))
    def begin(self, reserve):
        self.outer = transaction.atomic()
        self.outer.__enter__()
        for name, capacity in POOLS.items():
            GpuPoolFactory(gpu_type=name, capacity=capacity, reserve=reserve)
        self.projects = [ProjectFactory(owner=OWNERS[number % 2]) for number in range(3)]
        self.workers = WorkerFactory.create_batch(2)
        self.evaluation = Recipe.objects.create(
            name="evaluation", executor="simulated", kind=RecipeKind.EVALUATION
        )
        self.shrunk = set()  # pools and quotas that have less than is held

    def teardown(self):
        if hasattr(self, "outer"):
            try:
                self.all_that_can_run_does()
            finally:
                transaction.set_rollback(True)
                self.outer.__exit__(None, None, None)

    # --- what happens ------------------------------------------------------------------------

    @rule(
        project=st.integers(0, 2),
        pool=st.sampled_from([*POOLS, ""]),
        count=st.sampled_from([1, 1, 2, 4, 8]),
        priority=st.integers(-1, 1),
        expected=st.none() | st.integers(1, 10_000),
        preemptible=st.booleans(),
        evaluates=st.booleans(),
    )
    def submit(self, project, pool, count, priority, expected, preemptible, evaluates):
        fields = {"recipe": self.evaluation, "kind": RecipeKind.EVALUATION} if evaluates else {}
        RunFactory(
            project=self.projects[project],
            gpu_type=pool,
            gpu_count=count if pool else 0,
            priority=priority,
            expected_seconds=expected,
            preemptible=preemptible,
            max_restarts=100,
            **fields,
        )

    @rule(worker=st.integers(0, 1), slots=st.integers(1, 4))
    def claim(self, worker, slots):
        before, stopping = self.used(), self.preempted()
        claimed = claim(self.workers[worker], slots)
        self.whoever_they_stop_for_then_fits(self.preempted() - stopping)
        assert len(claimed) <= slots
        for run in claimed:
            assert (run.status, run.worker) == (RunStatus.RUNNING, self.workers[worker])
        pools = Counter()
        for run in claimed:
            pools[run.pool] += run.gpu_count
        for name in pools:
            if name and pools[name]:
                assert before[name] + pools[name] <= GpuPool.objects.get(pk=name).capacity

    @rule(data=st.data())
    def complete(self, data):
        run = self.one_of(data, Run.objects.running().exclude(worker=None))
        if run is not None:
            run.transition(RunStatus.COMPLETED)

    @rule(data=st.data())
    def die(self, data):
        run = self.one_of(data, Run.objects.running().exclude(worker=None))
        if run is not None:
            attempts.recover(Run.objects.lock(run.pk), "died")

    @rule(data=st.data())
    def save_and_stop(self, data):
        """The worker of a run that was asked to stop has stopped it."""
        stopping = Run.objects.running().exclude(worker=None).exclude(stop_kind="")
        run = self.one_of(data, stopping)
        if run is not None:
            self.stop(run)

    def stop(self, run):
        before = (run.queued_at, run.priority, run.restart_count)
        locked = Run.objects.lock(run.pk)
        if locked.stop_kind == StopKind.CANCEL:
            actions.finish_cancel(locked, None)
            return
        preempted = locked.stop_kind == StopKind.PREEMPT
        interruptions.finish_interruption(locked, None)
        after = Run.objects.get(pk=run.pk)
        assert after.status == (RunStatus.QUEUED if preempted else RunStatus.PAUSED)
        assert (after.queued_at, after.priority, after.restart_count) == before

    @rule(data=st.data())
    def pause(self, data):
        run = self.one_of(data, Run.objects.active().exclude(stop_kind=StopKind.CANCEL))
        if run is not None:
            interruptions.pause_run(run, by=None, wait_seconds=0)

    @rule(data=st.data())
    def go_on(self, data):
        run = self.one_of(data, Run.objects.filter(status=RunStatus.PAUSED))
        if run is not None:
            interruptions.continue_run(run, by=None)

    @rule(data=st.data())
    def cancel(self, data):
        run = self.one_of(data, Run.objects.active())
        if run is not None:
            actions.cancel_run(run, by=None, wait_seconds=0)

    @rule(pool=st.sampled_from(sorted(POOLS)), capacity=st.integers(1, 12))
    def resize(self, pool, capacity):
        GpuPool.objects.get(pk=pool).resize(capacity)
        if self.used()[pool] > capacity:
            self.shrunk.add(pool)

    @rule(owner=st.sampled_from(OWNERS), most=st.integers(0, 8))
    def limit(self, owner, most):
        Quota.objects.update_or_create(owner=owner, defaults={"max_gpus": most})
        if self.held_of(owner) > most:
            self.shrunk.add(owner)

    # --- what always holds -------------------------------------------------------------------

    @invariant()
    def no_pool_gives_more_than_it_has(self):
        if not hasattr(self, "outer"):
            return
        used = self.used()
        for pool in GpuPool.objects.all():
            if used[pool.name] <= pool.capacity:
                self.shrunk.discard(pool.name)
            assert used[pool.name] <= pool.capacity or pool.name in self.shrunk

    @invariant()
    def no_quota_is_passed(self):
        if not hasattr(self, "outer"):
            return
        for quota in Quota.objects.all():
            held = self.held_of(quota.owner)
            if held <= quota.max_gpus:
                self.shrunk.discard(quota.owner)
            assert held <= quota.max_gpus or quota.owner in self.shrunk

    def whoever_they_stop_for_then_fits(self, stopped):
        for pool in GpuPool.objects.all():
            victims = [run for run in stopped if run.pool == pool.name]
            if not victims:
                continue
            left = Run.objects.running().exclude(worker=None).filter(pool=pool.name, stop_kind="")
            free = pool.capacity - sum(run.gpu_count for run in left)
            common = free - pool.reserve
            common += sum(run.gpu_count for run in left if run.kind == RecipeKind.EVALUATION)
            assert any(
                run.gpu_count <= (free if run.kind == RecipeKind.EVALUATION else min(free, common))
                for run in Run.objects.unclaimed().filter(pool=pool.name)
                if run.priority > max(victim.priority for victim in victims)
            )

    def all_that_can_run_does(self):
        """Once nothing more comes, and what runs ends, only what cannot run still waits."""
        Quota.objects.all().delete()
        for _round in range(Run.objects.count() + 2):
            for run in Run.objects.running().exclude(worker=None):
                if run.stop_kind:
                    self.stop(run)
                else:
                    run.transition(RunStatus.COMPLETED)
            if not claim(self.workers[0], 1):
                break
        capacity = {pool.name: (pool.capacity, pool.reserve) for pool in GpuPool.objects.all()}
        for run in Run.objects.unclaimed():
            most, reserve = capacity[run.pool]
            assert run.gpu_count > most - (0 if run.kind == RecipeKind.EVALUATION else reserve)

    # --- helpers -----------------------------------------------------------------------------

    def one_of(self, data, runs):
        ids = list(runs.order_by("created_at", "id").values_list("pk", flat=True))
        if not ids:
            return None
        return Run.objects.get(pk=ids[data.draw(st.integers(0, 9)) % len(ids)])

    def used(self):
        return Counter(Run.objects.gpus_in_use())

    def preempted(self):
        return set(Run.objects.running().filter(stop_kind=StopKind.PREEMPT))

    def held_of(self, owner):
        held = Run.objects.running().exclude(worker=None).filter(project__owner=owner)
        return sum(held.values_list("gpu_count", flat=True))


def test_scheduler_keeps_its_promises():
    is_long = EXAMPLES > 100
    run_state_machine_as_test(
        Scheduler,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=40 if is_long else 25,
            deadline=None,
            derandomize=not is_long,
            phases=[Phase.generate] if is_long else [Phase.explicit, Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )
