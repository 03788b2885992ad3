"""The model registry: versions, stages, aliases and logged models."""

import io
from functools import partial

import pytest
from django.db import IntegrityError, transaction

from accounts.roles import Role
from artifacts import storing
from artifacts.kinds import TagValue
from artifacts.models import Artifact, DamagedCheckpoint
from projects.access import RoleNeeded
from registry.logged_models import LoggedModel, LoggedModelStatus, ParamChanged
from registry.models import ModelVersion, NameTaken, RegisteredModel, RunFile, Source, Stage
from registry.queries import ModelPoint
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory, RunFactory, checkpoint, member_of

pytestmark = pytest.mark.django_db


def registered(name="summarizer"):
    return RegisteredModel.objects.register(name, description="", tags={}, by=None)


def version_of(model, artifact=None):
    file = RunFile(artifact.run_id, artifact.file) if artifact else None
    source = Source("s3://somewhere/else", "s3://somewhere/else", file)
    return model.add_version(source, run_link="", description="", tags={}, by=None)


def aliases_of(model):
    return {alias.alias: alias.version.number for alias in model.aliases.all()}


def tags_of(artifact):
    return {tag.value for tag in artifact.tags.all()}


def stage_of(version):
    return ModelVersion.objects.get(pk=version.pk).stage


# --- names and numbers -----------------------------------------------------------------------


def test_model_name_is_unique():
    registered("a")

    with pytest.raises(NameTaken):
        registered("a")


def test_rename_to_taken_name_changes_nothing():
    model, _other = registered("a"), registered("b")

    with pytest.raises(NameTaken):
        model.rename("b")

    assert RegisteredModel.objects.get(pk=model.pk).name == "a"


def test_version_numbers_are_consecutive_per_model():
    first, second = registered("a"), registered("b")

    numbers = [version_of(model).number for model in (first, first, second, first)]

    assert numbers == [1, 2, 1, 3]


def test_number_of_deleted_version_is_not_reused():
    model = registered()
    version_of(model)
    version_of(model).remove()

    assert version_of(model).number == 3


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrently_created_versions_have_consecutive_numbers():
    model = registered()

    numbers = in_parallel(*[lambda: version_of(model).number] * 8)

    assert sorted(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_database_rejects_duplicate_version_number():
    version = version_of(registered())

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.create(model=version.model, number=1, source="x", location="x")


def test_version_of_checkpoint_has_its_run():
    artifact = checkpoint(RunFactory())

    assert version_of(registered(), artifact).run == artifact.run


def test_version_of_folder_with_one_checkpoint_has_that_checkpoint():
    artifact = checkpoint(RunFactory())
    Artifact.objects.filter(pk=artifact.pk).update(file="model/checkpoints/best/best.ckpt")
    folder = Source("x", "x", RunFile(artifact.run_id, "model/checkpoints/best"))

    version = registered().add_version(folder, run_link="", description="", tags={}, by=None)

    assert version.checkpoint == artifact


def test_version_of_folder_with_several_checkpoints_has_no_checkpoint():
    run = RunFactory()
    for step in (1, 2):
        artifact = checkpoint(run, step=step)
        Artifact.objects.filter(pk=artifact.pk).update(file=f"model/{step}.ckpt")

    version = registered().add_version(
        Source("x", "x", RunFile(run.pk, "model")), run_link="", description="", tags={}, by=None
    )

    assert version.checkpoint is None


def test_registered_checkpoint_keeps_its_bytes():
    run = RunFactory()
    artifact = checkpoint(run, step=100)
    version_of(registered(), artifact)
    stored = storing.put_checkpoint(
        run, io.BytesIO(b"trained again"), step=100, version="b", suffix=".pt"
    )

    new = storing.record_checkpoint(run, stored, step=100)

    assert new != artifact
    artifact.refresh_from_db()
    assert artifact.problem() is None


def test_version_outlives_its_run():
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)

    artifact.run.project.delete()

    version.refresh_from_db()
    assert (version.run, version.checkpoint) == (None, None)


# --- stages, aliases and tags ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "value"),
    [
        (Stage.STAGING, TagValue.CANDIDATE),
        (Stage.PRODUCTION, TagValue.RELEASED),
        (Stage.ARCHIVED, TagValue.ARCHIVED),
    ],
)
def test_stage_tags_the_checkpoint(stage, value):
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)
    user = member_of(artifact.run.project, Role.MAINTAINER)

    version.move_to(stage, archive_others=False, by=user)

    tag = artifact.tags.get()
    assert (tag.value, tag.applied_by) == (value, user)
    assert stage_of(version) == stage


@pytest.mark.parametrize(
    ("value", "stage", "alias"),
    [
        (TagValue.CANDIDATE, Stage.STAGING, "candidate"),
        (TagValue.RELEASED, Stage.PRODUCTION, "released"),
        (TagValue.ARCHIVED, Stage.ARCHIVED, "archived"),
    ],
)
def test_tag_sets_stage_and_alias(value, stage, alias):
    artifact = checkpoint(RunFactory())
    model = registered()
    version = version_of(model, artifact)

    artifact.tag(value, notes="", by=None)

    assert stage_of(version) == stage
    assert aliases_of(model) == {alias: 1}


def test_alias_tags_checkpoint_and_sets_stage():
    artifact = checkpoint(RunFactory())
    model = registered()
    version = version_of(model, artifact)

    model.set_alias("released", 1, by=None)

    assert tags_of(artifact) == {"发布"}
    assert stage_of(version) == Stage.PRODUCTION


def test_last_tag_determines_stage():
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)

    for value in (TagValue.RELEASED, TagValue.CANDIDATE, TagValue.RELEASED):
        artifact.tag(value, notes="", by=None)

    assert stage_of(version) == Stage.PRODUCTION


def test_version_gets_stage_and_aliases_from_existing_tags():
    artifact = checkpoint(RunFactory())
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    model = registered()

    version = version_of(model, artifact)

    assert version.stage == Stage.PRODUCTION
    assert aliases_of(model) == {"candidate": 1, "released": 1}


def test_new_version_does_not_take_alias_from_another_version():
    model, run = registered(), RunFactory()
    for step in (1, 2):
        artifact = checkpoint(run, step=step)
        artifact.tag(TagValue.RELEASED, notes="", by=None)
        version_of(model, artifact)

    assert aliases_of(model) == {"released": 1}


def test_tag_moves_alias_from_another_version():
    model, run = registered(), RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2)]
    for artifact in artifacts:
        version_of(model, artifact)

    for artifact in artifacts:
        artifact.tag(TagValue.RELEASED, notes="", by=None)

    assert aliases_of(model) == {"released": 2}


def test_alias_points_to_requested_version_of_several_with_same_checkpoint():
    artifact = checkpoint(RunFactory())
    model = registered()
    version_of(model, artifact)
    version_of(model, artifact)

    model.set_alias("released", 1, by=None)

    assert aliases_of(model) == {"released": 1}


def test_setting_stage_keeps_notes_of_tag():
    artifact = checkpoint(RunFactory())
    artifact.tag(TagValue.RELEASED, notes="通过复核", by=None)
    version = version_of(registered(), artifact)

    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    assert artifact.tags.get().notes == "通过复核"


def test_stage_none_keeps_tags():
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)
    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    version.move_to(Stage.NONE, archive_others=False, by=None)

    assert stage_of(version) == Stage.NONE
    assert tags_of(artifact) == {"发布"}


@pytest.mark.parametrize("by_alias", [True, False])
def test_member_takes_no_release_back(by_alias):
    artifact = checkpoint(RunFactory())
    model = registered()
    version = version_of(model, artifact)
    model.set_alias("released", 1, by=None)
    member = member_of(artifact.run.project, Role.MEMBER)
    take_back = partial(version.move_to, Stage.NONE, archive_others=False)
    if by_alias:
        take_back = partial(model.delete_alias, "released")

    with pytest.raises(RoleNeeded):
        take_back(by=member)

    assert (stage_of(version), aliases_of(model)) == (Stage.PRODUCTION, {"released": 1})


def test_version_without_checkpoint_can_have_stage_and_aliases():
    model = registered()
    version = version_of(model)

    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)
    model.set_alias("released", 1, by=None)
    model.set_alias("champion", 1, by=None)

    assert stage_of(version) == Stage.PRODUCTION
    assert aliases_of(model) == {"released": 1, "champion": 1}


def test_other_alias_does_not_tag_checkpoint():
    artifact = checkpoint(RunFactory())
    model = registered()
    version_of(model, artifact)

    model.set_alias("champion", 1, by=None)

    assert tags_of(artifact) == set()


def test_archive_others_archives_versions_in_stage_and_tags_their_checkpoints():
    model, run = registered(), RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2, 3)]
    first, second, third = [version_of(model, artifact) for artifact in artifacts]
    first.move_to(Stage.PRODUCTION, archive_others=False, by=None)
    second.move_to(Stage.STAGING, archive_others=False, by=None)

    third.move_to(Stage.PRODUCTION, archive_others=True, by=None)

    stages = [stage_of(version) for version in (first, second, third)]
    assert stages == [Stage.ARCHIVED, Stage.STAGING, Stage.PRODUCTION]
    assert tags_of(artifacts[0]) == {"发布", "归档"}


def test_archive_others_skips_versions_of_same_checkpoint():
    artifact = checkpoint(RunFactory())
    model = registered()
    first, second = version_of(model, artifact), version_of(model, artifact)
    first.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    second.move_to(Stage.PRODUCTION, archive_others=True, by=None)

    assert [stage_of(first), stage_of(second)] == [Stage.PRODUCTION, Stage.PRODUCTION]
    assert tags_of(artifact) == {"发布"}


def test_version_of_a_damaged_checkpoint_can_be_shelved_but_not_promoted():
    artifact = checkpoint(RunFactory())
    artifact.set_damage("it is cut off")
    artifact.save()
    model = registered()
    version = version_of(model, artifact)

    with pytest.raises(DamagedCheckpoint):
        version.move_to(Stage.PRODUCTION, archive_others=False, by=None)
    with pytest.raises(DamagedCheckpoint):
        model.set_alias("released", version.number, by=None)
    version.move_to(Stage.ARCHIVED, archive_others=False, by=None)

    assert stage_of(version) == Stage.ARCHIVED
    assert tags_of(artifact) == set()


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrent_stages_and_tags_end_consistent():
    run = RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2)]
    models = [registered("a"), registered("b")]
    versions = [version_of(model, artifact) for model in models for artifact in artifacts]

    results = in_parallel(
        *[
            lambda version=version: version.move_to(Stage.PRODUCTION, archive_others=True, by=None)
            for version in versions
        ],
        *[
            lambda artifact=artifact: artifact.tag(TagValue.ARCHIVED, notes="", by=None).value
            for artifact in artifacts
        ],
    )

    assert set(results) == {None, "归档"}
    for artifact in artifacts:
        last = artifact.tags.latest("applied_at")
        stages = set(artifact.model_versions.values_list("stage", flat=True))
        assert stages == {Stage.PRODUCTION if last.value == "发布" else Stage.ARCHIVED}


# --- logged models ---------------------------------------------------------------------------


def logged(**fields):
    return LoggedModel.objects.create(project=ProjectFactory(), name="model", **fields)


def test_logged_model_id_has_mlflow_format():
    assert logged().pk.startswith("m-")
    assert len(logged().pk) == 34


def test_changed_param_is_rejected():
    model = logged(params={"lr": "1"})

    with pytest.raises(ParamChanged):
        model.log_params({"depth": "3", "lr": "2"})

    assert LoggedModel.objects.get(pk=model.pk).params == {"lr": "1"}


def test_same_param_again_is_accepted():
    model = logged(params={"lr": "1"})

    model.log_params({"lr": "1", "depth": "3"})

    assert LoggedModel.objects.get(pk=model.pk).params == {"lr": "1", "depth": "3"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_concurrently_set_tags_are_all_kept():
    model = logged()

    in_parallel(*[lambda key=str(n): model.set_tags({key: "x"}) for n in range(6)])

    assert set(LoggedModel.objects.get(pk=model.pk).tags) == set("012345")


def test_discarded_model_is_soft_deleted():
    model = logged(status=LoggedModelStatus.READY)

    model.discard()

    assert not LoggedModel.objects.kept().exists()
    assert LoggedModel.objects.exists()


def test_model_metric_keeps_latest_point_and_is_idempotent():
    model, run = logged(), RunFactory()

    def point(step, value):
        return ModelPoint(model.pk, "loss", value, timestamp_ms=step * 10, step=step)

    LoggedModel.objects.record_metrics(run.pk, [point(1, 0.5), point(3, 0.3), point(2, 0.4)])
    LoggedModel.objects.record_metrics(run.pk, [point(3, 0.3), point(1, 0.5)])

    metric = model.metrics.get()
    assert (metric.step, metric.value) == (3, 0.3)


def test_model_metrics_are_kept_per_dataset():
    model, run = logged(), RunFactory()
    points = [ModelPoint(model.pk, "loss", 1.0, 0, 0, dataset_name=name) for name in ("a", "b", "")]

    LoggedModel.objects.record_metrics(run.pk, points)

    assert model.metrics.count() == 3


def test_metric_of_unknown_model_is_ignored():
    LoggedModel.objects.record_metrics(RunFactory().pk, [ModelPoint("m-0", "loss", 1.0, 0, 0)])

    assert not LoggedModel.objects.exists()
