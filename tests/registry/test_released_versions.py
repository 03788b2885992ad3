"""Versions of logged models: who releases them, and that their files stay as they are then."""

import io
from functools import partial

import pytest

from accounts.roles import Role
from artifacts import file_tree, uploads
from artifacts.kinds import TagValue
from artifacts.models import InUse
from artifacts.released import ReleasedCheckpoint
from projects.access import RoleNeeded
from registry.logged_models import LoggedModel, ModelReleased
from registry.models import RegisteredModel, RunFile, Source, Stage
from registry.release_policy import DemandsLess, NoSingleCheckpoint, change_policy
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, UserFactory, checkpoint, member_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture
def run():
    return RunFactory(status=RunStatus.COMPLETED)


@pytest.fixture
def member(run):
    return member_of(run.project, Role.MEMBER)


@pytest.fixture
def maintainer(run):
    return member_of(run.project, Role.MAINTAINER)


@pytest.fixture
def logged(run):
    model = LoggedModel.objects.create(project=run.project, source_run=run, name="pyfunc")
    store(run, f"models/{model.pk}/MLmodel", b"loader_module: ours")
    return model


@pytest.fixture
def model():
    return RegisteredModel.objects.register("m", description="", tags={}, by=None)


@pytest.fixture
def version(model, logged):
    return version_of_logged(model, logged)


def store(run, path, content=b"content"):
    return uploads.store(run, path, io.BytesIO(content))[0]


def version_of_logged(model, logged):
    location = f"mlflow-artifacts:/{logged.project_id}/models/{logged.pk}/artifacts"
    file = RunFile(logged.source_run_id, f"models/{logged.pk}")
    return add(model, Source(f"models:/{logged.pk}", location, file, logged_model=logged))


def version_of_files(model, run, path):
    location = f"mlflow-artifacts:/{run.project_id}/{run.pk}/artifacts/{path}"
    return add(model, Source(f"runs:/{run.pk}/{path}", location, RunFile(run.pk, path), run))


def add(model, source):
    return model.add_version(source, run_link="", description="", tags={}, by=None)


def released(artifact):
    artifact.tag(TagValue.RELEASED, notes="", by=None)
    return artifact


def move(version, stage, by=None):
    version.refresh_from_db()
    version.move_to(stage, archive_others=False, by=by)


# --- who ------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_alias", [True, False])
def test_member_does_not_release_a_logged_model(model, version, member, by_alias):
    release = partial(move, version, Stage.PRODUCTION)
    if by_alias:
        release = partial(model.set_alias, "released", 1)

    with pytest.raises(RoleNeeded):
        release(by=member)

    version.refresh_from_db()
    assert (version.stage, model.aliases.count()) == (Stage.NONE, 0)


@pytest.mark.parametrize("by_alias", [True, False])
def test_member_does_not_take_back_the_release_of_a_logged_model(
    model, version, member, maintainer, by_alias
):
    move(version, Stage.PRODUCTION, by=maintainer)
    model.set_alias("released", 1, by=maintainer)
    take_back = partial(move, version, Stage.ARCHIVED)
    if by_alias:
        take_back = partial(model.delete_alias, "released")

    with pytest.raises(RoleNeeded):
        take_back(by=member)
    take_back(by=maintainer)


@pytest.mark.parametrize("by_alias", [True, False])
def test_nobody_releases_a_logged_model_past_the_approval(
    run, model, version, maintainer, by_alias
):
    change_policy(run.project, by=None, needs_approval=True)
    release = partial(move, version, Stage.PRODUCTION)
    if by_alias:
        release = partial(model.set_alias, "released", 1)

    with pytest.raises(NoSingleCheckpoint):
        release(by=maintainer)


def test_alias_is_not_moved_from_a_release_of_another_project(run, model, member):
    kept = released(checkpoint(run))
    version_of_files(model, run, kept.file)
    own = checkpoint(RunFactory())
    own.run.project.roles.create(user=member, role=Role.OWNER)
    mine = version_of_files(model, own.run, own.file)

    with pytest.raises(RoleNeeded):
        model.set_alias("released", mine.number, by=member)
    own.tag(TagValue.RELEASED, notes="", by=member)

    assert model.aliases.get(alias="released").version.checkpoint == kept


def test_project_that_demands_less_does_not_release_in_a_model_that_needs_approval(run, model):
    version_of_files(model, run, checkpoint(run).file)
    change_policy(run.project, by=None, needs_approval=True)
    other = RunFactory()
    owner = member_of(other.project, Role.OWNER)
    versions = [
        version_of_files(model, other, checkpoint(other, step=10).file),
        version_of_files(model, other, released(checkpoint(other, step=20)).file),
    ]

    with pytest.raises(DemandsLess):
        model.set_alias("released", versions[0].number, by=owner)
    with pytest.raises(DemandsLess):
        move(versions[0], Stage.PRODUCTION, by=owner)
    versions[0].checkpoint.tag(TagValue.RELEASED, notes="", by=owner)

    assert not model.versions.filter(stage=Stage.PRODUCTION).exists()
    assert not model.aliases.exists()


# --- what stays -----------------------------------------------------------------------------


@pytest.mark.parametrize("by_alias", [True, False])
def test_files_of_a_released_logged_model_stay_as_they_are(run, model, logged, version, by_alias):
    if by_alias:
        model.set_alias("released", 1, by=None)
    else:
        move(version, Stage.PRODUCTION)

    for name in ("MLmodel", "evil.py"):
        with pytest.raises(InUse, match="Version 1 of the model m is released"):
            store(run, f"models/{logged.pk}/{name}", b"loader_module: theirs")
    for path in (f"models/{logged.pk}/MLmodel", f"models/{logged.pk}", "models", ""):
        with pytest.raises(InUse):
            file_tree.delete(run, path)
    store(run, f"models/{logged.pk}/MLmodel", b"loader_module: ours")
    store(run, "models/other/MLmodel", b"another")


def test_files_of_a_released_folder_without_a_checkpoint_stay_as_they_are(run, model):
    store(run, "model/MLmodel", b"loader_module: ours")
    move(version_of_files(model, run, "model"), Stage.PRODUCTION)

    with pytest.raises(InUse):
        store(run, "model/evil.py")
    store(run, "model2/MLmodel")


def test_files_of_an_archived_logged_model_change_again(run, logged, version):
    move(version, Stage.PRODUCTION)
    move(version, Stage.ARCHIVED)

    store(run, f"models/{logged.pk}/MLmodel", b"loader_module: theirs")
    file_tree.delete(run, f"models/{logged.pk}")


def test_released_logged_model_and_its_run_are_not_deleted(run, logged, version):
    move(version, Stage.PRODUCTION)

    with pytest.raises(ModelReleased):
        logged.discard()
    with pytest.raises(ReleasedCheckpoint, match="until it is in another stage"):
        run.move_to_trash(by=UserFactory())
    move(version, Stage.NONE)
    logged.discard()
    run.move_to_trash(by=None)

    logged.refresh_from_db()
    assert logged.deleted_at is not None


def test_released_version_without_a_project_needs_no_role(model):
    version = add(model, Source("s3://elsewhere/model", "s3://elsewhere/model"))

    move(version, Stage.PRODUCTION, by=member_of(ProjectFactory()))

    version.refresh_from_db()
    assert version.stage == Stage.PRODUCTION
