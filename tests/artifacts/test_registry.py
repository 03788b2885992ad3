"""The model registry's own rules, whoever asks."""

import io

import pytest
from django.db import IntegrityError, transaction

from artifacts.logged_models import LoggedModel, LoggedModelStatus, ParamChanged
from artifacts.models import Artifact, TagValue
from artifacts.queries import ModelPoint
from artifacts.registry import ModelVersion, NameTaken, RegisteredModel, RunFile, Source, Stage
from tests.concurrency import in_parallel
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint

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


def test_name_is_one_models_alone():
    registered("a")

    with pytest.raises(NameTaken):
        registered("a")


def test_rename_to_a_taken_name_changes_nothing():
    model, _other = registered("a"), registered("b")

    with pytest.raises(NameTaken):
        model.rename("b")

    assert RegisteredModel.objects.get(pk=model.pk).name == "a"


def test_versions_are_numbered_densely_for_each_model():
    one, other = registered("a"), registered("b")

    numbers = [version_of(model).number for model in (one, one, other, one)]

    assert numbers == [1, 2, 1, 3]


def test_number_of_a_deleted_version_is_not_used_again():
    model = registered()
    version_of(model)
    version_of(model).remove()

    assert version_of(model).number == 3


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_versions_made_at_once_are_numbered_densely():
    model = registered()

    made = in_parallel(*[lambda: version_of(model).number] * 8)

    assert sorted(made) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_number_is_a_versions_alone_in_the_database_too():
    version = version_of(registered())

    with pytest.raises(IntegrityError), transaction.atomic():
        ModelVersion.objects.create(model=version.model, number=1, source="x", location="x")


def test_version_of_a_checkpoint_is_of_its_run():
    artifact = checkpoint(RunFactory())

    assert version_of(registered(), artifact).run == artifact.run


def test_folder_with_one_checkpoint_stands_for_it():
    artifact = checkpoint(RunFactory())
    Artifact.objects.filter(pk=artifact.pk).update(file="model/checkpoints/best/best.ckpt")
    folder = Source("x", "x", RunFile(artifact.run_id, "model/checkpoints/best"))

    version = registered().add_version(folder, run_link="", description="", tags={}, by=None)

    assert version.checkpoint == artifact


def test_folder_with_several_checkpoints_stands_for_none():
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
    stored = run.artifacts.put_checkpoint(
        run, io.BytesIO(b"trained again"), step=100, version="b", suffix=".pt"
    )

    beside = run.artifacts.record_checkpoint(run, stored, step=100)

    assert beside != artifact
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
    user = UserFactory()

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
def test_tag_sets_the_stage_and_the_alias(value, stage, alias):
    artifact = checkpoint(RunFactory())
    model = registered()
    version = version_of(model, artifact)

    artifact.tag(value, notes="", by=None)

    assert stage_of(version) == stage
    assert aliases_of(model) == {alias: 1}


def test_alias_tags_the_checkpoint_and_sets_the_stage():
    artifact = checkpoint(RunFactory())
    model = registered()
    version = version_of(model, artifact)

    model.point("released", 1, by=None)

    assert tags_of(artifact) == {"发布"}
    assert stage_of(version) == Stage.PRODUCTION


def test_stage_of_the_last_tag_counts():
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)

    for value in (TagValue.RELEASED, TagValue.CANDIDATE, TagValue.RELEASED):
        artifact.tag(value, notes="", by=None)

    assert stage_of(version) == Stage.PRODUCTION


def test_checkpoint_tagged_before_it_is_registered_shows_its_tags():
    artifact = checkpoint(RunFactory())
    artifact.tag(TagValue.CANDIDATE, notes="", by=None)
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    model = registered()

    version = version_of(model, artifact)

    assert version.stage == Stage.PRODUCTION
    assert aliases_of(model) == {"candidate": 1, "released": 1}


def test_registering_takes_no_alias_from_another_version():
    model, run = registered(), RunFactory()
    for step in (1, 2):
        artifact = checkpoint(run, step=step)
        artifact.tag(TagValue.RELEASED, notes="", by=None)
        version_of(model, artifact)

    assert aliases_of(model) == {"released": 1}


def test_tag_moves_the_alias_from_the_version_that_had_it():
    model, run = registered(), RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2)]
    for artifact in artifacts:
        version_of(model, artifact)

    for artifact in artifacts:
        artifact.tag(TagValue.RELEASED, notes="", by=None)

    assert aliases_of(model) == {"released": 2}


def test_alias_stays_with_the_version_that_was_asked_for():
    artifact = checkpoint(RunFactory())
    model = registered()
    version_of(model, artifact)
    version_of(model, artifact)

    model.point("released", 1, by=None)

    assert aliases_of(model) == {"released": 1}


def test_stage_keeps_the_notes_of_the_tag():
    artifact = checkpoint(RunFactory())
    artifact.tag(TagValue.RELEASED, notes="通过复核", by=None)
    version = version_of(registered(), artifact)

    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    assert artifact.tags.get().notes == "通过复核"


def test_stage_none_leaves_the_tags():
    artifact = checkpoint(RunFactory())
    version = version_of(registered(), artifact)
    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    version.move_to(Stage.NONE, archive_others=False, by=None)

    assert stage_of(version) == Stage.NONE
    assert tags_of(artifact) == {"发布"}


def test_version_of_no_checkpoint_has_a_stage_and_aliases_all_the_same():
    model = registered()
    version = version_of(model)

    version.move_to(Stage.PRODUCTION, archive_others=False, by=None)
    model.point("released", 1, by=None)
    model.point("champion", 1, by=None)

    assert stage_of(version) == Stage.PRODUCTION
    assert aliases_of(model) == {"released": 1, "champion": 1}


def test_other_aliases_tag_nothing():
    artifact = checkpoint(RunFactory())
    model = registered()
    version_of(model, artifact)

    model.point("champion", 1, by=None)

    assert tags_of(artifact) == set()


def test_versions_that_make_way_are_archived_with_their_checkpoints():
    model, run = registered(), RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2, 3)]
    first, second, third = [version_of(model, artifact) for artifact in artifacts]
    first.move_to(Stage.PRODUCTION, archive_others=False, by=None)
    second.move_to(Stage.STAGING, archive_others=False, by=None)

    third.move_to(Stage.PRODUCTION, archive_others=True, by=None)

    stages = [stage_of(version) for version in (first, second, third)]
    assert stages == [Stage.ARCHIVED, Stage.STAGING, Stage.PRODUCTION]
    assert tags_of(artifacts[0]) == {"发布", "归档"}


def test_version_of_the_same_checkpoint_does_not_make_way():
    artifact = checkpoint(RunFactory())
    model = registered()
    first, second = version_of(model, artifact), version_of(model, artifact)
    first.move_to(Stage.PRODUCTION, archive_others=False, by=None)

    second.move_to(Stage.PRODUCTION, archive_others=True, by=None)

    assert [stage_of(first), stage_of(second)] == [Stage.PRODUCTION, Stage.PRODUCTION]
    assert tags_of(artifact) == {"发布"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_stages_and_tags_set_at_once_end_in_one_of_them():
    run = RunFactory()
    artifacts = [checkpoint(run, step=step) for step in (1, 2)]
    models = [registered("a"), registered("b")]
    versions = [version_of(model, artifact) for model in models for artifact in artifacts]

    raised = in_parallel(
        *[
            lambda version=version: version.move_to(Stage.PRODUCTION, archive_others=True, by=None)
            for version in versions
        ],
        *[
            lambda artifact=artifact: artifact.tag(TagValue.ARCHIVED, notes="", by=None).value
            for artifact in artifacts
        ],
    )

    assert set(raised) == {None, "归档"}
    for artifact in artifacts:
        last = artifact.tags.latest("applied_at")
        stages = set(artifact.model_versions.values_list("stage", flat=True))
        assert stages == {Stage.PRODUCTION if last.value == "发布" else Stage.ARCHIVED}


# --- logged models ---------------------------------------------------------------------------


def logged(**fields):
    return LoggedModel.objects.create(project=ProjectFactory(), name="model", **fields)


def test_logged_models_id_is_one_that_clients_know():
    assert logged().pk.startswith("m-")
    assert len(logged().pk) == 34


def test_param_keeps_its_value():
    model = logged(params={"lr": "1"})

    with pytest.raises(ParamChanged):
        model.log_params({"depth": "3", "lr": "2"})

    assert LoggedModel.objects.get(pk=model.pk).params == {"lr": "1"}


def test_param_logged_again_is_no_matter():
    model = logged(params={"lr": "1"})

    model.log_params({"lr": "1", "depth": "3"})

    assert LoggedModel.objects.get(pk=model.pk).params == {"lr": "1", "depth": "3"}


@pytest.mark.django_db(transaction=True, serialized_rollback=True)
def test_tags_set_at_once_are_all_there():
    model = logged()

    in_parallel(*[lambda key=str(n): model.set_tags({key: "x"}) for n in range(6)])

    assert set(LoggedModel.objects.get(pk=model.pk).tags) == set("012345")


def test_discarded_model_is_kept_out_of_sight():
    model = logged(status=LoggedModelStatus.READY)

    model.discard()

    assert not LoggedModel.objects.kept().exists()
    assert LoggedModel.objects.exists()


def test_models_metric_is_its_latest_however_often_it_comes():
    model, run = logged(), RunFactory()

    def point(step, value):
        return ModelPoint(model.pk, "loss", value, timestamp_ms=step * 10, step=step)

    LoggedModel.objects.record_metrics(run.pk, [point(1, 0.5), point(3, 0.3), point(2, 0.4)])
    LoggedModel.objects.record_metrics(run.pk, [point(3, 0.3), point(1, 0.5)])

    metric = model.metrics.get()
    assert (metric.step, metric.value) == (3, 0.3)


def test_models_metrics_on_two_datasets_are_two():
    model, run = logged(), RunFactory()
    points = [ModelPoint(model.pk, "loss", 1.0, 0, 0, dataset_name=name) for name in ("a", "b", "")]

    LoggedModel.objects.record_metrics(run.pk, points)

    assert model.metrics.count() == 3


def test_metric_of_an_unknown_model_is_passed_over():
    LoggedModel.objects.record_metrics(RunFactory().pk, [ModelPoint("m-0", "loss", 1.0, 0, 0)])

    assert not LoggedModel.objects.exists()
