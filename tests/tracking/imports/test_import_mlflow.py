"""manage.py import_mlflow, from a server that answers from memory. test_real_server.py has a real
one."""

import math
from concurrent.futures import Future

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Team
from accounts.roles import Role
from metrics.models import MetricPoint
from projects.models import Project, ProjectStatus
from registry.logged_models import LoggedModel
from registry.models import ModelVersion, RegisteredModel, Source
from registry.release_policy import change_policy
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, UserFactory, checkpoint, unmanaged_run
from tests.tracking.imports.fake_server import START_MS, FakeServer, run_id, serving
from tracking.imports import connection, importing

pytestmark = pytest.mark.django_db
in_threads = pytest.mark.django_db(transaction=True, serialized_rollback=True)


class InOneThread:
    """Runs are imported at once, in the transaction of the test: emptying the database after each
    test takes seconds."""

    def __init__(self, _count, **_options):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def submit(self, work, *arguments):
        future = Future()
        try:
            future.set_result(work(*arguments))
        except Exception as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_options):
        pass


@pytest.fixture(autouse=True)
def threads(request, monkeypatch):
    if not request.node.get_closest_marker("django_db").kwargs.get("transaction"):
        monkeypatch.setattr(importing, "ThreadPoolExecutor", InOneThread)
        monkeypatch.setattr(importing, "close_connection", lambda: None)


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(connection, "FIRST_PAUSE_SECONDS", 0.001)


@pytest.fixture
def fake():
    """An experiment with three runs, each with a curve and a file."""
    fake = FakeServer()
    fake.add_experiment("0", "Default")
    fake.add_experiment("1", "chat", tags=[{"key": "mlflow.note.content", "value": "about"}])
    for number in range(3):
        fake.add_run(number)
    return fake


@pytest.fixture
def import_from(fake, capsys):
    """Runs the command; returns what it prints."""
    with serving(fake) as address:

        def command(**options):
            call_command("import_mlflow", address, **options)
            return capsys.readouterr().out

        yield command


def values(run, key):
    points = MetricPoint.objects.filter(series__run=run, series__key=key)
    return list(points.order_by("step", "timestamp_ms").values_list("step", "value"))


def contents(run):
    files = {}
    for artifact in run.artifacts.all():
        with artifact.open() as content:
            files[artifact.file] = content.read()
    return files


def add_model(fake):
    fake.models["net"] = {
        "name": "net",
        "creation_timestamp": START_MS,
        "last_updated_timestamp": START_MS + 5,
        "description": "d",
        "tags": [{"key": "t", "value": "1"}],
        "aliases": [{"alias": "champion", "version": "3"}],
    }
    for number in (1, 3):
        fake.versions.append(
            {
                "name": "net",
                "version": str(number),
                "creation_timestamp": START_MS,
                "last_updated_timestamp": START_MS + number,
                "current_stage": "Staging",
                "source": f"runs:/{run_id(1)}/out",
                "run_id": run_id(1),
                "description": "v",
            }
        )


@in_threads
def test_an_experiment_becomes_a_project(import_from):
    said = import_from()

    project = Project.objects.get()
    assert (project.name, project.description) == ("chat", "about")
    assert set(project.runs.values_list("pk", flat=True)) == {run_id(n) for n in range(3)}
    assert "Runs: 3 new, 0 continued, 0 unchanged" in said
    assert "New points: 15. Files: 3" in said


def test_a_run_has_params_tags_times_points_and_files(import_from):
    import_from()

    run = Run.objects.get(pk=run_id(1))
    assert (run.name, run.status, run.is_hidden) == ("run 1", RunStatus.COMPLETED, False)
    assert run.hyperparameters == {"lr": "3e-5"}
    assert run.tags == {"team": "nlp"}
    assert run.started_at.timestamp() * 1000 == START_MS + 1
    assert run.finished_at.timestamp() * 1000 == START_MS + 1001
    assert values(run, "loss") == [(step, 1 / (step + 1)) for step in range(5)]
    assert contents(run) == {"out/notes.txt": b"notes 1"}


def test_numbers_that_are_not_finite_come_along(fake, import_from):
    for step, text in enumerate(("NaN", "Infinity", "-Infinity")):
        fake.log(run_id(0), "odd", step, text)

    import_from()

    first, *others = [value for _step, value in values(run_id(0), "odd")]
    assert math.isnan(first)
    assert others == [math.inf, -math.inf]


def test_a_second_import_changes_nothing(import_from):
    import_from()

    said = import_from()

    assert "Runs: 0 new, 0 continued, 3 unchanged" in said
    assert "New points: 0. Files: 0" in said
    assert (Project.objects.count(), Run.objects.count()) == (1, 3)


def test_a_run_that_has_gone_on_is_brought_up_to_date(fake, import_from):
    fake.add_run(7, status="RUNNING")
    import_from()
    fake.log(run_id(7), "loss", 9, 0.1)
    fake.runs[run_id(7)]["info"] |= {"status": "FAILED", "end_time": START_MS + 5000}
    fake.files[f"1/{run_id(7)}/artifacts/late.txt"] = b"late"

    said = import_from()

    run = Run.objects.get(pk=run_id(7))
    assert "0 new, 1 continued, 3 unchanged" in said
    assert (run.status, run.step, run.attempt) == (RunStatus.FAILED, 9, 1)
    assert values(run, "loss")[-1] == (9, 0.1)
    assert contents(run)["late.txt"] == b"late"


def test_what_was_edited_here_is_kept(import_from):
    import_from()
    Run.objects.filter(pk=run_id(0)).update(name="mine", tags={"team": "vision"})
    Run.objects.get(pk=run_id(1)).move_to_trash(by=None)

    said = import_from()

    run = Run.objects.get(pk=run_id(0))
    assert (run.name, run.tags) == ("mine", {"team": "vision"})
    assert "1 in the trash" in said


@in_threads
def test_a_run_is_hidden_until_all_of_it_is_here(fake, import_from):
    def away_at_files(path):
        if "mlflow-artifacts" in path:
            raise ConnectionError
        return

    fake.answer = away_at_files
    with pytest.raises(CommandError, match="does not answer"):
        import_from()
    hidden = Run.objects.filter(is_hidden=True).count()
    shown = Run.objects.filter(is_hidden=False).count()
    fake.answer = lambda _path: None

    import_from()

    assert hidden > 0
    assert shown == 0
    assert Run.objects.filter(is_hidden=False).count() == 3
    assert Project.objects.get().run_count == 3
    assert all(len(values(run, "loss")) == 5 for run in Run.objects.all())


def test_passing_troubles_are_outlasted(fake, import_from):
    troubles = iter([503, 429, 500])
    fake.answer = lambda path: next(troubles, None) if "get-history" in path else None

    said = import_from()

    assert "3 new" in said
    assert "New points: 15" in said


def test_what_fails_is_named_and_the_others_come_in(fake, import_from, capsys):
    fake.answer = lambda path: 500 if path.endswith("notes.txt") and run_id(1) in path else None

    with pytest.raises(CommandError, match="Not imported: 1, see above"):
        import_from()

    said = capsys.readouterr().out
    assert f"{run_id(1)}: out/notes.txt: " in said
    assert "the server answers 500: trouble" in said
    assert Run.objects.filter(is_hidden=False).count() == 3
    fake.answer = lambda _path: None
    assert "1 continued, 2 unchanged" in import_from()


def test_a_run_of_another_project_is_left_alone(fake, import_from, capsys):
    other = unmanaged_run(id=run_id(1), name="another")

    with pytest.raises(CommandError):
        import_from()

    assert (
        f"There is a run with this ID in the project {other.project_id}" in capsys.readouterr().out
    )
    other.refresh_from_db()
    assert other.name == "another"


def test_deleted_runs_are_in_the_trash_and_deleted_experiments_archived(fake, import_from):
    fake.add_experiment("2", "given up", lifecycle_stage="deleted")
    fake.add_run(5, "2", lifecycle_stage="deleted")

    import_from()
    import_from()

    project = Project.objects.get(name="given up")
    assert project.status == ProjectStatus.ARCHIVED
    assert project.runs.get().deleted_at is not None
    assert len(values(run_id(5), "loss")) == 5


def test_a_name_that_is_taken_gets_the_servers_beside_it(import_from):
    ProjectFactory(name="chat")

    said = import_from()

    assert Project.objects.filter(name__startswith="chat (127.0.0.1:").count() == 1
    assert "There is a project chat already" in said


def test_the_registry_keeps_numbers_stages_and_aliases(fake, import_from):
    add_model(fake)

    import_from()

    model = RegisteredModel.objects.get()
    versions = {version.number: version for version in model.versions.all()}
    assert (model.name, model.description, model.tags) == ("net", "d", {"t": "1"})
    assert versions.keys() == {1, 3}
    assert versions[3].run_id == run_id(1)
    assert versions[3].stage == "Staging"
    assert list(model.aliases.values_list("alias", "version__number")) == [("champion", 3)]
    assert (
        model.add_version(
            Source("s3://elsewhere/net", "s3://elsewhere/net"),
            run_link="",
            description="",
            tags={},
            by=None,
        ).number
        == 4
    )


def test_the_registry_follows_the_server(fake, import_from):
    add_model(fake)
    import_from()
    fake.models["net"]["aliases"] = [{"alias": "champion", "version": "1"}]
    fake.versions[1]["current_stage"] = "Production"

    import_from()

    assert RegisteredModel.objects.get().aliases.get().version.number == 1
    assert ModelVersion.objects.get(number=3).stage == "Production"


def test_a_release_that_needs_approval_is_named_and_the_rest_comes_in(fake, import_from, capsys):
    add_model(fake)
    import_from()
    run = Run.objects.get(pk=run_id(1))
    ModelVersion.objects.filter(number=1).update(checkpoint=checkpoint(run))
    change_policy(run.project, by=UserFactory(is_superuser=True), needs_approval=True)
    fake.versions[0]["current_stage"] = "Production"
    fake.models["net"]["aliases"] = [{"alias": "champion", "version": "1"}]

    with pytest.raises(CommandError, match="Not imported: 1"):
        import_from()

    assert "releases be approved" in capsys.readouterr().out
    assert not run.artifacts.checkpoints().get().tags.exists()
    assert RegisteredModel.objects.get().aliases.get().version.number == 1


def test_a_model_of_this_name_is_left_alone(fake, import_from, capsys):
    add_model(fake)
    RegisteredModel.objects.register("net", description="mine", tags={}, by=None)

    with pytest.raises(CommandError):
        import_from()

    assert "net: There is a registered model with this name already." in capsys.readouterr().out
    assert not ModelVersion.objects.exists()


def test_logged_models_come_with_their_files(fake, import_from):
    model_id = f"m-{1:032x}"
    fake.logged.append(
        {
            "info": {
                "model_id": model_id,
                "experiment_id": "1",
                "name": "net",
                "status": "LOGGED_MODEL_READY",
                "source_run_id": run_id(1),
                "creation_timestamp_ms": START_MS,
                "last_updated_timestamp_ms": START_MS,
                "artifact_uri": f"mlflow-artifacts:/1/models/{model_id}/artifacts",
            },
            "data": {"params": [{"key": "depth", "value": "3"}]},
        }
    )
    fake.files[f"1/models/{model_id}/artifacts/data/w.bin"] = b"weights"

    import_from()

    model = LoggedModel.objects.get()
    assert (model.pk, model.status, model.params) == (model_id, "READY", {"depth": "3"})
    assert contents(model.source_run)[f"models/{model_id}/data/w.bin"] == b"weights"


def test_files_elsewhere_that_the_server_cannot_read_are_named(fake, import_from, capsys):
    fake.runs[run_id(2)]["info"]["artifact_uri"] = "s3://bucket/2"
    fake.answer = lambda path: 500 if path == "/get-artifact" else None

    with pytest.raises(CommandError):
        import_from()

    assert f"{run_id(2)}: out/notes.txt: /get-artifact: the server" in capsys.readouterr().out
    assert Run.objects.filter(is_hidden=False).count() == 3


def test_without_artifacts_no_file_is_asked_for(fake, import_from):
    said = import_from(no_artifacts=True)

    assert "Files: 0" in said
    assert not [path for path in fake.requests if "artifacts" in path]


def test_a_dry_run_writes_nothing(import_from):
    said = import_from(dry_run=True)

    assert "chat: 3 runs, 0 of them are here already" in said
    assert not Project.objects.exists()


def test_only_the_experiments_that_were_asked_for(fake, import_from):
    fake.add_experiment("2", "other")
    fake.add_run(5, "2")
    add_model(fake)

    import_from(experiment=["other"])

    assert Project.objects.get().name == "other"
    assert not RegisteredModel.objects.exists()
    with pytest.raises(CommandError, match="The server has no experiment none"):
        import_from(experiment=["none"])


def test_projects_belong_to_the_owner_and_the_team(import_from):
    ada = UserFactory(username="ada")
    team = Team.objects.create(name="nlp")

    import_from(owner="ada", team="nlp")

    project = Project.objects.get()
    assert project.team == team
    assert project.roles.get(user=ada).role == Role.OWNER


def test_the_token_of_the_environment_is_sent(fake, import_from, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "secret")

    import_from()

    assert fake.authorization == {"Bearer secret"}


def test_a_lost_run_that_has_ended_there_ends_here(fake, import_from):
    fake.add_run(7, status="RUNNING")
    import_from()
    now = timezone.now()
    Run.objects.filter(pk=run_id(7)).update(
        status=RunStatus.FAILED, finished_at=now, lost_at=now, failure_kind="stalled"
    )
    fake.runs[run_id(7)]["info"] |= {"status": "FINISHED", "end_time": START_MS + 5000}

    import_from()

    run = Run.objects.get(pk=run_id(7))
    assert (run.status, run.lost_at) == (RunStatus.COMPLETED, None)


def test_a_folder_is_no_address():
    with pytest.raises(CommandError, match="mlruns is not the address of a running MLflow server"):
        call_command("import_mlflow", "./mlruns")


def test_a_server_that_is_away_is_said_so(fake, import_from):
    def away(_path):
        raise ConnectionError

    fake.answer = away

    with pytest.raises(CommandError, match=r"http://127.0.0.1:\d+ does not answer"):
        import_from()


def test_numbers_beyond_all_bounds_are_named_and_the_others_come_in(fake, import_from, capsys):
    fake.add_run(3)
    fake.log(run_id(3), "loss", 2**70, 0.5)
    fake.add_run(4, end_time=2**62)
    add_model(fake)
    fake.models["net"]["creation_timestamp"] = 2**62

    with pytest.raises(CommandError, match="Not imported: 1"):
        import_from()

    assert run_id(3) in capsys.readouterr().out
    assert not Run.objects.filter(pk=run_id(3)).exists()
    assert Run.objects.get(pk=run_id(4)).finished_at.year == 9999
    assert RegisteredModel.objects.get(name="net").created_at.year == 9999


def test_ids_of_a_server_lead_to_no_other_project(fake, import_from):
    other = unmanaged_run(project=ProjectFactory(name="other"))
    add_model(fake)
    for version in fake.versions:
        version.update(run_id=other.pk, source=f"runs:/{other.pk}/out")
    fake.logged.append(
        {
            "info": {"model_id": f"m-{1:032x}", "experiment_id": "1", "name": "net"},
            "data": {"metrics": [{"key": "acc", "value": 1, "run_id": other.pk}]},
        }
    )

    import_from(no_artifacts=True)

    versions = ModelVersion.objects.values_list("project", "run", "run_elsewhere", "location")
    assert set(versions) == {(None, None, other.pk, f"runs:/{other.pk}/out")}
    assert not LoggedModel.objects.get().metrics.exists()
