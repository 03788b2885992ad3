"""Whatever a training saves, overwrites, renames, links, prunes or leaves half written, and whoever
dies or restarts meanwhile: no whole checkpoint and no reported point is lost, and the newest whole
checkpoint is the one that is kept and resumed from.

The same few sequences are tried each time. LIFECYCLE_EXAMPLES=1000 tries as many other ones, and
prints the one that fails, not shortened.
"""

import json
import os
import shutil
from pathlib import Path

import pytest
from django.db import transaction
from django.test import TestCase
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from artifacts import checkpoints
from artifacts.models import Artifact
from execution.executors import attempt as executor_attempts
from execution.executors import ingestion, metric_lines
from execution.executors.attempt import Attempt
from execution.executors.checkpoint_files import Damaged, fetch
from execution.executors.process import ProcessExecutor
from metrics.models import MetricPoint
from runs import actions, attempts
from runs.executors import WorkState
from runs.models import Run, StopKind, Worker
from runs.status import RunStatus
from tests.execution.executors.imitated_training import (
    NAMES,
    PROVABLE,
    Clock,
    ImitatedTraining,
    Version,
    content_at,
    files_of,
)
from tests.factories import RecipeFactory, running

pytestmark = pytest.mark.django_db

EXAMPLES = int(os.environ.get("LIFECYCLE_EXAMPLES", "12"))
# A name that is used again and again is of more interest.
LAYOUTS = st.sampled_from([*sorted(NAMES), "unnamed", "unnamed"])
PROVABLE_LAYOUTS = st.sampled_from(PROVABLE)
PAUSES = st.sampled_from([0.3, 3.0, 20.0, 100.0])


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(metric_lines, "time", clock)
    monkeypatch.setattr(ingestion, "time", clock)
    monkeypatch.setattr(Attempt, "now", lambda self: clock.time())
    monkeypatch.setattr(Attempt, "launch", lambda self: None)
    monkeypatch.setattr(Attempt, "_processes", lambda self: [])
    return clock


def test_newest_whole_checkpoint_and_every_point_are_kept(clock, tmp_path):
    class Machine(Lifecycle):
        def __init__(self):
            super().__init__(clock, tmp_path)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=25,
            derandomize="LIFECYCLE_EXAMPLES" not in os.environ,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate],  # shortening takes longer than reading
        ),
    )


class Lifecycle(RuleBasedStateMachine):
    """``taken``: by run, path and step the versions that TrainHub must have, the oldest first: of
    these a later one may have replaced earlier ones. ``written``: all that were ever whole."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        super().__init__()
        self.clock = clock
        clock.now = Clock.START
        self.restored_to = folder / "restored"
        self.number = 0
        self.taken: dict[tuple[str, str, int], list[Version]] = {}
        self.written: dict[int, Version] = {}
        self.points: dict[tuple[str, int], float] = {}
        self.is_sane = False  # not after a failure
        self.transaction = transaction.atomic()
        self.transaction.__enter__()

    def teardown(self) -> None:
        try:
            if self.is_sane and self.is_running():
                self.exit_by_itself()
        finally:
            transaction.set_rollback(True)
            self.transaction.__exit__(None, None, None)
            shutil.rmtree(executor_attempts.settings.WORK_DIR, ignore_errors=True)

    # --- the run -----------------------------------------------------------------------------

    @initialize()
    def start(self):
        self.executor = ProcessExecutor()
        self.run = running(recipe=RecipeFactory(), total_steps=None, max_restarts=1000)
        self.source: Version | None = None  # that the run was resumed from
        self._start_attempt()

    def _start_attempt(self):
        """Start the current attempt, and check what it starts from."""
        self.is_sane = False
        run = self.fresh()
        self._commit(lambda: self.executor.start(run, run.worker))
        attempt = Attempt.of(run)
        source = self._source_of(attempt)
        assert source in self.newest(run)
        step = 0 if source is None else source.step
        run = self.fresh()
        assert run.step == step
        self.from_step = step
        self.points = {place: v for place, v in self.points.items() if place[1] <= step}
        self.training = ImitatedTraining(attempt, self.clock, step=step)
        self.report_steps(1)
        self.is_sane = True

    def _source_of(self, attempt: Attempt) -> Version | None:
        path = (attempt.directory / "launch.json").read_text()
        environment = json.loads(path)["environment"]
        source = environment.get("TRAINHUB_RESUME_FROM")
        return None if source is None else self.version_at(Path(source))

    def fresh(self) -> Run:
        return Run.objects.select_related("recipe", "project", "worker").get(pk=self.run.pk)

    def is_running(self) -> bool:
        return self.run is not None and self.fresh().status == RunStatus.RUNNING

    def _commit(self, action):
        with TestCase.captureOnCommitCallbacks(execute=True):
            return action()

    def _poll(self):
        run = self.fresh()
        return self._commit(lambda: self.executor.poll(run, run.worker))

    # --- what the model expects --------------------------------------------------------------

    def _take(self, versions):
        for version in versions:
            chain = self.taken.setdefault((self.run.pk, version.path, version.step), [])
            if version not in chain:
                chain.append(version)

    def newest(self, run: Run) -> list[Version | None]:
        """The versions of which one has to be kept or resumed from: of the whole ones that TrainHub
        has, which are checked, those of the latest step; else what the run was resumed from."""
        sound = self.check_checkpoints(run)
        step = max((version.step for version in sound), default=None)
        return [version for version in sound if version.step == step] or [self.source]

    def check_checkpoints(self, run: Run) -> list[Version]:
        """The whole versions that TrainHub has of the run."""
        sound = []
        for artifact in Artifact.objects.filter(run=run).checkpoints():
            if artifact.damage:
                continue
            version = self.version_of(artifact)
            assert artifact.step == version.step, (artifact, version)
            assert artifact.metadata["saved_as"] == version.path, (artifact, version)
            sound.append(version)
        for (run_id, path, step), chain in self.taken.items():
            if run_id == run.pk:
                kept = [it for it in sound if (it.path, it.step) == (path, step)]
                assert any(it.number >= chain[-1].number for it in kept), (path, step, sound)
        return sound

    def version_of(self, artifact: Artifact) -> Version:
        shutil.rmtree(self.restored_to, ignore_errors=True)
        return self.version_at(fetch(artifact, self.restored_to), artifact.metadata["saved_as"])

    def version_at(self, path: Path, saved_as: str | None = None) -> Version:
        content = content_at(path)
        found = [
            version
            for version in self.written.values()
            if version.files == content and saved_as in {None, version.path}
        ]
        assert found, f"{path} was never whole"
        return found[-1]

    def check_points(self):
        rows = MetricPoint.objects.filter(series__run=self.run).exclude(
            series__key__startswith="system/"
        )
        stored = sorted(rows.values_list("series__key", "step", "value"))
        assert stored == sorted((key, step, value) for (key, step), value in self.points.items())

    def check_ended_attempt(self):
        """Everything that was whole is there, what was half is shown as damaged."""
        run = self.fresh()
        sound = self.check_checkpoints(run)
        for path, version in self.training.half.items():
            shown = Artifact.objects.filter(run=run, metadata__saved_as=path)
            assert any(artifact.damage for artifact in shown), (path, version)
        self.check_points()
        reached = [step for _key, step in self.points] + [version.step for version in sound]
        assert run.step == max([0 if self.source is None else self.source.step, *reached])

    # --- what the training does --------------------------------------------------------------

    def _version(self, layout: str, path: str | None = None) -> Version:
        self.number += 1
        step = self.training.step
        return Version(
            self.number,
            path or NAMES[layout].format(step),
            layout,
            step,
            files_of(layout, self.number, step),
            self.clock.now,
        )

    def _write(self, version: Version | None):
        if version is not None:
            self.written[version.number, version.path] = version

    @precondition(is_running)
    @rule(count=st.integers(1, 3))
    def report_steps(self, count):
        self.clock.now += 2
        for step in range(self.training.step + 1, self.training.step + count + 1):
            value = float(self.number) + step / 8
            self.training.report(step, loss=value, **{"eval.acc": value})
            self.points["loss", step] = self.points["eval.acc", step] = value

    @precondition(is_running)
    @rule()
    def report_a_step_again(self):
        """As after a restart from a checkpoint: what was reported before counts."""
        if self.from_step and ("loss", self.from_step) in self.points:
            self.training.append(
                f'{{"step": {self.from_step}, "timestamp": {self.clock.now}, "loss": -1}}\n'
            )

    @precondition(is_running)
    @rule(layout=LAYOUTS, how=st.sampled_from(["in place", "temporary name"]))
    def save(self, layout, how):
        version = self._version(layout)
        if how == "in place":
            self.training.save(version)
        else:
            self.training.save_under_a_temporary_name(version)
        self._write(version)

    @precondition(is_running)
    @rule(layout=PROVABLE_LAYOUTS, cut=st.booleans())
    def save_half(self, layout, cut):
        self.training.save_half(self._version(layout), cut=cut)

    @precondition(lambda self: self.is_running() and self.training.half)
    @rule(data=st.data())
    def finish(self, data):
        path = data.draw(st.sampled_from(sorted(self.training.half)))
        half = self.training.half[path]
        if half.layout == "unnamed" and half.step != self.training.step:
            self.training.prune(path)  # its step would be that of the end of the save
            return
        self._write(self.training.finish(path))

    def _whole_path(self, data) -> str:
        return data.draw(st.sampled_from(sorted(self.training.whole)))

    has_whole = precondition(lambda self: self.is_running() and self.training.whole)

    @has_whole
    @rule(data=st.data())
    def rename(self, data):
        path = self._whole_path(data)
        new = f"best{Path(path).suffix}"
        if new != path:
            self._write(self.training.rename(path, new))

    @has_whole
    @rule(data=st.data(), hard=st.booleans())
    def link(self, data, hard):
        path = self._whole_path(data)
        if path != "last.ckpt":
            self._write(self.training.link(path, "last.ckpt", hard=hard))

    @has_whole
    @rule(data=st.data())
    def prune(self, data):
        self.training.prune(self._whole_path(data))

    @has_whole
    @rule(data=st.data())
    def declare(self, data):
        self.training.declare(self._whole_path(data))

    @precondition(is_running)
    @rule(seconds=PAUSES)
    def wait(self, seconds):
        self.clock.now += seconds

    # --- what TrainHub does ------------------------------------------------------------------

    @precondition(is_running)
    @rule()
    def poll(self):
        assert self._poll().state is WorkState.WORKING
        self._take(self.training.settled())
        self.training.note_poll()
        self.check_checkpoints(self.fresh())

    @precondition(is_running)
    @rule()
    def restart_the_worker(self):
        run = self.fresh()
        Worker.objects.filter(pk=run.worker_id).update(incarnation=run.worker.incarnation + 1)
        self.executor = ProcessExecutor()

    @precondition(is_running)
    @rule(after=st.sampled_from([0.0, 0.5, 30.0]))
    def kill_the_process(self, after):
        """It dies; it is restarted from the newest whole checkpoint."""
        self.clock.now += after
        self.training.end(-9)
        self._take(self.training.settled(ended=True, killed_at=self.clock.now))
        self.clock.now += 1
        self._settle(WorkState.DIED)
        self.check_ended_attempt()
        self._claim_and_start()

    @precondition(is_running)
    @rule()
    def lose_the_worker(self):
        """Its worker dies, and the run continues with another one on the same host."""
        last_written = max((it.at for it in self.training.whole.values()), default=0.0)
        self._take(self.training.settled(ended=True, killed_at=last_written))
        with transaction.atomic():
            attempts.continue_elsewhere(Run.objects.lock(self.run.pk), "Its worker died.")
        self._claim_and_start()

    def _claim_and_start(self):
        with transaction.atomic():
            Run.objects.lock(self.run.pk).claim(self.run.worker)
        self._start_attempt()

    def _settle(self, state: WorkState):
        work = self._poll()
        assert work.state is state, work
        run = self.fresh()
        self._commit(lambda: actions.settle(run, work, worker=run.worker))

    @precondition(is_running)
    @rule(saves=st.sampled_from([None, "zip", "huggingface", "unnamed"]))
    def cancel(self, saves):
        run = self.fresh()
        run.request_stop(StopKind.CANCEL, by=None)
        self.executor.stop(self.fresh(), run.worker)
        if saves is not None:
            self.save(saves, "in place")
        self.training.end(143, asked=True)
        self._take(self.training.settled(ended=True))
        self._settle(WorkState.STOPPED)
        self.check_ended_attempt()
        run = self.fresh()
        assert run.status == RunStatus.CANCELLED
        kept = list(Artifact.objects.filter(run=run).kept_at_cancel())
        if self.check_checkpoints(run):
            [artifact] = kept
            assert self.version_of(artifact) in self.newest(run)
        else:
            assert kept == []

    @precondition(is_running)
    @rule()
    def exit_by_itself(self):
        self.training.end(0)
        self._take(self.training.settled(ended=True))
        self._settle(WorkState.FINISHED)
        self.check_ended_attempt()
        assert self.fresh().status == RunStatus.COMPLETED

    @precondition(lambda self: self.run is not None and not self.is_running())
    @rule(data=st.data())
    def resume(self, data):
        """From any checkpoint of the run that has ended; a damaged one is refused."""
        found = Artifact.objects.filter(run=self.run).checkpoints().select_related("run")
        artifacts = sorted(found, key=lambda it: (it.metadata["saved_as"], it.step, it.sha256))
        if not artifacts:
            return
        artifact = data.draw(st.sampled_from(artifacts))
        if artifact.damage:
            with pytest.raises(checkpoints.InvalidSource):
                checkpoints.resume_run(self.fresh(), artifact, by=None)
            with pytest.raises(Damaged):
                fetch(artifact, self.restored_to)
            return
        self.source = self.version_of(artifact)
        worker = self.run.worker
        self.run = checkpoints.resume_run(self.fresh(), artifact, by=None)
        self.points = {}
        with transaction.atomic():
            Run.objects.lock(self.run.pk).claim(worker)
        self.run = self.fresh()
        self._start_attempt()
