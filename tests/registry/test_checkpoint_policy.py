"""Policies of checkpoints: who sets them, what they would do and do, and what they never touch."""

import io
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.roles import Role
from artifacts import trash, uploads
from artifacts.checkpoint_deletions import CheckpointDeletion
from artifacts.checkpoints import resume_run
from artifacts.evaluation_runs import evaluate
from artifacts.kinds import TagValue
from artifacts.models import Artifact, EvaluationResult
from core.exceptions import InvalidInput
from metrics.points import Point
from metrics.recording import record_metrics
from projects.access import RoleNeeded
from registry import approval, retention_driving
from registry.checkpoint_policy import CheckpointPolicy, remove_policy, set_policy
from registry.logged_models import LoggedModel
from registry.models import RegisteredModel, RunFile, Source
from registry.release_policy import change_policy
from registry.retention_driving import RetentionDriver, apply, apply_in_turn
from registry.retention_preview import preview
from runs.models import RecipeKind
from runs.status import RunStatus
from tests.factories import ProjectFactory, RecipeFactory, RunFactory, checkpoint, member_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def project():
    return ProjectFactory()


def completed(project, *steps):
    run = RunFactory(project=project, status=RunStatus.COMPLETED)
    for step in steps:
        checkpoint(run, step=step)
    return run


def steps_of(run):
    return sorted(Artifact.objects.checkpoints().filter(run=run).values_list("step", flat=True))


def measure(run, values, key="eval_loss"):
    for artifact in Artifact.objects.checkpoints().filter(run=run, step__in=values):
        EvaluationResult.objects.create(
            project=run.project,
            run=run,
            artifact=artifact,
            step=artifact.step,
            key=key,
            value=values[artifact.step],
        )


# --- who sets it, and what it must say -----------------------------------------------------------


def test_maintainers_set_and_members_do_not(project):
    member, maintainer = (member_of(project, role) for role in (Role.MEMBER, Role.MAINTAINER))
    with pytest.raises(RoleNeeded):
        set_policy(project, by=member, last=2)

    policy = set_policy(project, by=maintainer, last=2)

    assert (policy.last, policy.changed_by) == (2, maintainer)


@pytest.mark.parametrize(
    "rules", [{}, {"best": 2}, {"last": -1}, {"best": 1, "metric": "a\x00"}, {"every": 10**12}]
)
def test_policy_that_says_nothing_or_too_much_is_refused(project, rules):
    with pytest.raises(InvalidInput):
        set_policy(project, by=None, **rules)

    assert CheckpointPolicy.of(project.pk) is None


def test_without_a_policy_nothing_is_removed(project):
    run = completed(project, 10, 20, 30)

    RetentionDriver().work()

    assert steps_of(run) == [10, 20, 30]


# --- what it keeps -----------------------------------------------------------------------------


def test_each_run_keeps_its_best_its_last_and_every_so_many_steps(project):
    run = completed(project, 5, 10, 15, 20, 25)
    measure(run, {5: 0.1, 10: 0.9, 15: 0.5, 20: 0.7, 25: 0.8})
    other = completed(project, 1, 2)

    policy = set_policy(project, by=None, metric="eval_loss", best=1, last=1, every=10)
    apply(policy)

    assert steps_of(run) == [5, 10, 20, 25]
    assert steps_of(other) == [1, 2]  # nothing of it was measured


def test_best_are_told_by_a_metric_of_the_training_too(project):
    run = completed(project, 10, 20, 30)
    record_metrics(run, [Point("loss", step, value, 0) for step, value in ((10, 1.0), (20, 3.0))])

    apply(set_policy(project, by=None, metric="loss", mode="max", best=1))

    assert steps_of(run) == [30]  # where the last value is still that of step 20


def test_running_training_follows_it_and_keeps_what_it_would_continue_from(project):
    run = RunFactory(project=project, status=RunStatus.PAUSED)
    for step in (10, 20, 25):
        checkpoint(run, step=step)

    apply(set_policy(project, by=None, every=20))

    assert steps_of(run) == [20, 25]


def test_incomplete_checkpoints_and_models_are_left_alone(project):
    run = completed(project, 10, 20)
    uploads.store(run, "checkpoint-5/model.safetensors", io.BytesIO(b"its first file"))
    Artifact.objects.filter(run=run, step=10).update(metadata={"layout": "model"})
    checkpoint(run, step=15)
    broken = checkpoint(run, step=7)
    broken.set_damage("cut off")
    broken.save()

    found = preview(project, set_policy(project, by=None, last=1).retention)

    assert [item.checkpoint.step for item in found.removed] == [15]
    reasons = {item.checkpoint.step: str(item.reasons[0]) for item in found.kept}
    assert "more files of it may come" in reasons[5]
    assert "incomplete" in reasons[7]
    assert "it is a model" in reasons[10]


def test_checkpoint_in_the_folder_of_another_is_left_alone_like_that(project):
    run = completed(project, 20)
    for path in ("out/checkpoint-10/model.safetensors", "out/.metadata"):
        uploads.store(run, path, io.BytesIO(b"weights"), step=10)
    Artifact.objects.update(updated_at=timezone.now() - timedelta(hours=2))
    policy = set_policy(project, by=None, last=1)

    assert apply(policy) == []
    kept = preview(project, policy.retention).kept
    reasons = [str(it.reasons[0]) for it in kept if it.checkpoint.is_uploaded]
    assert reasons == ["it is inside of another one, or has one inside"] * 2


# --- what it never removes -----------------------------------------------------------------------


def tagged(artifact):
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)


def archived(artifact):
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    artifact.tag(TagValue.ARCHIVED, notes="", by=None)


def resumed(artifact):
    resume_run(artifact.run, artifact, by=None)


def evaluated(artifact):
    evaluate(artifact, recipe=RecipeFactory(kind=RecipeKind.EVALUATION), by=None)


def registered(artifact):
    model, _new = RegisteredModel.objects.get_or_create(name=f"model {artifact.pk}")
    source = Source("s3://x", "s3://x", file=RunFile(artifact.run_id, artifact.file))
    model.add_version(source, run_link="", description="", tags={}, by=None)


def asked(artifact):
    change_policy(artifact.run.project, by=None, needs_approval=True)
    approval.ask(artifact, notes="", by=member_of(artifact.run.project, Role.OWNER))


def kept_at_cancel(artifact):
    artifact.name_final()


NEEDS = [tagged, archived, resumed, evaluated, registered, asked, kept_at_cancel]


@hypothesis_settings(
    max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    needs=st.dictionaries(st.integers(1, 6), st.sampled_from(NEEDS), max_size=4),
    last=st.integers(0, 2),
    every=st.integers(2, 7),
    status=st.sampled_from([RunStatus.COMPLETED, RunStatus.PAUSED]),
)
def test_what_is_needed_is_never_removed(needs, last, every, status):
    project = ProjectFactory()
    run = RunFactory(project=project, status=status)
    artifacts = {step: checkpoint(run, step=step) for step in range(1, 7)}
    # Once releases have to be asked for, none is archived after it.
    for step, need in sorted(needs.items(), key=lambda item: item[1] is asked):
        need(artifacts[step])
    policy = set_policy(project, by=None, last=last, every=every)
    told = preview(project, policy.retention)

    removed = apply(policy)

    protected = {artifacts[step].pk for step in needs}
    if status == RunStatus.PAUSED:
        protected.add(artifacts[6].pk)
    gone = {deletion.checkpoint_key for deletion in removed}
    assert not gone & protected
    assert gone == {item.checkpoint.pk for item in told.removed}
    by_rules = {step for step in artifacts if step % every == 0 or step > 6 - last} or {6}
    stayed = {step for step, artifact in artifacts.items() if artifact.pk not in gone}
    assert stayed == by_rules | set(needs) | ({6} if status == RunStatus.PAUSED else set())


def test_files_of_a_logged_model_are_never_removed(project):
    run = completed(project, 100)
    model = LoggedModel.objects.create(project=project, source_run=run, name="best")
    for folder in (f"models/{model.pk}", "copies"):
        path = f"{folder}/checkpoint-50/model.safetensors"
        uploads.store(run, path, io.BytesIO(b"weights"))
    Artifact.objects.update(updated_at=timezone.now() - timedelta(hours=2))
    policy = set_policy(project, by=None, last=1)

    [gone] = apply(policy)

    assert gone.file.startswith("copies/")
    reasons = {
        it.checkpoint.step: str(it.reasons[0]) for it in preview(project, policy.retention).kept
    }
    assert reasons[50] == "it is of the logged model best"


def test_need_that_arises_after_the_judgement_is_seen(project, monkeypatch):
    run = completed(project, 10, 20)
    policy = set_policy(project, by=None, last=1)
    judge = retention_driving.judged_runs

    def judged(*args, run_ids=None):
        found = list(judge(*args, run_ids=run_ids))
        if run_ids is not None:  # just before it is removed
            tagged(Artifact.objects.get(run=run, step=10))
        return found

    monkeypatch.setattr(retention_driving, "judged_runs", judged)

    assert apply(policy) == []


def test_run_is_judged_again_before_anything_of_it_is_removed(project, monkeypatch):
    run = completed(project, 10, 20, 30)
    measure(run, {10: 0.3, 20: 0.2, 30: 0.1})
    policy = set_policy(project, by=None, metric="eval_loss", best=1)
    judge = retention_driving.judged_runs

    def judged(*args, run_ids=None):
        found = list(judge(*args, run_ids=run_ids))
        if run_ids is None:  # an evaluation ends after the judgement
            EvaluationResult.objects.filter(run=run, step=20).update(value=0.01)
        return found

    monkeypatch.setattr(retention_driving, "judged_runs", judged)
    apply(policy)

    assert steps_of(run) == [20]


def test_what_a_person_has_taken_back_is_not_removed_again(project):
    run = completed(project, 10, 20)
    policy = set_policy(project, by=None, last=1)
    [deletion] = apply(policy)
    trash.restore(deletion, by=member_of(project))

    assert apply(policy) == []
    assert steps_of(run) == [10, 20]
    reasons = {it.checkpoint.step: it.reasons for it in preview(project, policy.retention).kept}
    assert "taken it out of the trash" in str(reasons[10][0])


def test_last_checkpoint_of_a_run_is_not_removed(project):
    run = completed(project, 999, 1999)

    apply(set_policy(project, by=None, every=1000))

    assert steps_of(run) == [1999]


def test_checkpoint_whose_evaluation_has_not_begun_is_not_removed(project):
    run = completed(project, 10, 20, 30)
    measure(run, {10: 0.1})

    apply(set_policy(project, by=None, metric="eval_loss", best=1))

    assert steps_of(run) == [10, 20, 30]


def test_policy_that_is_gone_removes_nothing_more(project):
    run = completed(project, 10, 20, 30)
    policy = set_policy(project, by=None, last=1)
    remove_policy(project, by=None)

    assert apply(policy) == []
    assert steps_of(run) == [10, 20, 30]


# --- dry run, passes of workers ------------------------------------------------------------------


def test_preview_tells_names_bytes_and_reasons_and_changes_nothing(project):
    run = completed(project, 10, 20)
    tagged(Artifact.objects.get(run=run, step=10))
    checkpoint(run, step=5)

    found = preview(project, set_policy(project, by=None, last=1).retention)

    [gone] = found.removed
    assert (gone.checkpoint.step, found.removed_bytes) == (5, gone.checkpoint.size_bytes)
    reasons = [[str(reason) for reason in item.reasons] for item in found.kept]
    assert reasons == [["one of the last 1"], ["it has been tagged"]]
    assert steps_of(run) == [5, 10, 20]


def test_workers_take_turns_and_a_pass_is_bounded(project, monkeypatch):
    run = completed(project, *range(1, 6))
    set_policy(project, by=None, last=1)
    monkeypatch.setattr("registry.retention_driving.REMOVED_PER_PASS", 3)

    counts = [apply_in_turn(project.pk), apply_in_turn(project.pk)]

    assert counts == [3, 0]  # the next turn is a minute later
    CheckpointPolicy.objects.update(
        applied_at=timezone.now() - timedelta(minutes=2),
        changed_at=timezone.now() - timedelta(minutes=3),
    )
    assert apply_in_turn(project.pk) == 1
    assert steps_of(run) == [5]


def test_removed_by_the_policy_is_on_record(project):
    run = completed(project, 10, 20)
    set_policy(project, by=None, last=1)

    RetentionDriver().work()

    [deletion] = CheckpointDeletion.objects.all()
    assert (deletion.by_policy, deletion.run, deletion.step) == (True, run, 10)


def test_command_tells_first_and_then_does_it(project, capsys):
    run = completed(project, 10, 20)
    set_policy(project, by=None, last=1)

    call_command("apply_checkpoint_policy", "--dry-run", project=project.pk)
    told = capsys.readouterr().out
    assert steps_of(run) == [10, 20]
    call_command("apply_checkpoint_policy")

    assert "would remove 1" in told
    assert "one of the last 1" in told
    assert steps_of(run) == [20]
