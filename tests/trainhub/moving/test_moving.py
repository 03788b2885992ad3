"""A project leaves, comes in again, and is the same to who reads it through the API."""

import io
import json
import re
from datetime import timedelta

import pyarrow
import pyarrow.parquet
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.roles import Role
from artifacts import storing, trash, uploads
from artifacts.models import Artifact, ArtifactTag
from artifacts.unreferenced_blobs import UnreferencedBlob
from execution import outputs
from goodput.models import AttemptRecord
from logs.appending import append_log
from logs.lines import Line
from metrics.points import Point, Points
from metrics.recording import record_points
from projects.models import Project
from registry.approval import approve, ask
from registry.checkpoint_policy import set_policy
from registry.evaluation_rules import EvaluationRule
from registry.logged_models import LoggedModel
from registry.models import ModelVersion, RegisteredModel, RunFile, Source
from registry.release_policy import ReleasePolicy, change_policy
from runs import inputs, unmanaged
from runs.models import Recipe, Run, RunCode, RunEvent
from runs.status import RunStatus
from sweeps.models import Sweep, SweepTrial
from tests.clients import ApiClient
from tests.code_bundles.bundles import bundle
from tests.factories import (
    ProjectFactory,
    RunFactory,
    UserFactory,
    checkpoint,
    member_of,
    unmanaged_run,
)
from trainhub.moving import importing
from trainhub.moving.layout import FileFacts, Manifest, file_facts

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english")]


@pytest.fixture(autouse=True)
def english_terminal(monkeypatch):
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def project():
    """With all that a project can have."""
    ada = UserFactory(username="ada")
    project = ProjectFactory(name="问答", experiment_tags={"team": "nlp"}, key_metrics=["loss"])
    project.roles.create(user=ada, role=Role.OWNER)
    project.revise({"description": "second version"}, by=ada)
    first = _full_run(project, ada)
    resumed = RunFactory(
        project=project,
        name="resumed",
        status=RunStatus.RUNNING,
        resumed_from_id=first.artifacts.checkpoints().get().pk,
    )
    nested = unmanaged_run(project=project, name="nested", tags={"mlflow.parentRunId": first.pk})
    unmanaged.report_status(nested, RunStatus.FAILED, by=None)
    deleted = unmanaged_run(project=project, name="deleted")
    deleted.move_to_trash(by=ada)
    _models(project, first)
    sweep = Sweep.objects.create(
        project=project,
        name="search",
        recipe=Recipe.objects.get(name="simulated"),
        search_space={"lr": {"values": [0.1, 0.2]}},
        method="grid",
        metric="loss",
        goal="minimize",
        max_trials=2,
        max_parallel=1,
        seed=7,
    )
    SweepTrial.objects.create(
        sweep=sweep, number=0, run=first, state="complete", params={"lr": 0.1}, value=0.5
    )
    SweepTrial.objects.create(sweep=sweep, number=1, run=resumed, params={"lr": 0.2})
    return project


def _full_run(project, user):
    run = unmanaged.create_unmanaged_run(project, by=user, name="first", tags={"note": "好"})
    points = [Point("loss", step, 1 / (step + 1), 1_700_000_000_000 + step) for step in range(3000)]
    odd = [Point("odd", 1, value, 5) for value in (float("nan"), float("inf"), float("-inf"), 2.5)]
    record_points(run.pk, Points.of(points + odd))
    run.refresh_from_db()
    lines = [Line.new(f"第 {number} 行", source="stdout") for number in range(1500)]
    append_log(run, lines)
    uploads.store(run, "notes/读我.txt", io.BytesIO("你好".encode()))
    inputs.log_inputs(run.pk, [{"name": "wiki", "digest": "abc", "tags": {"split": "train"}}])
    checkpoint(run, step=10).tag("发布", notes="good", by=user)
    outputs.store_events(run)
    storing.store_evaluation(run, io.BytesIO(b'{"accuracy": 0.5}'), step=10)
    RunCode.objects.create(
        run=run, bundle=bundle({"train.py": "print(1)"}), origin={"commit": "abc"}, patch="+1"
    )
    run.refresh_from_db()
    unmanaged.report_status(run, RunStatus.COMPLETED, by=user)
    return run


def _models(project, run):
    logged = LoggedModel.objects.create(
        project=project, source_run=run, name="net", params={"a": "1"}
    )
    uploads.store(run, f"models/{logged.pk}/MLmodel", io.BytesIO(b"flavors: {}"))
    inputs.log_outputs(run.pk, [(logged.pk, 10)])
    AttemptRecord.objects.create(run=run, number=1, steps=[[5, 1]])
    model = RegisteredModel.objects.register("assistant", description="d", tags={"t": "1"}, by=None)
    kept = run.artifacts.checkpoints().get()
    source = Source(
        f"runs:/{run.pk}/{kept.file}",
        f"mlflow-artifacts:/{project.pk}/{run.pk}/artifacts/{kept.file}",
        RunFile(run.pk, kept.file),
        run,
        logged_model=logged,
    )
    model.add_version(source, run_link="", description="v", tags={"k": "v"}, by=None)
    model.set_alias("champion", 1, by=None)


def _moved(project, folder, **options):
    """Export the project and import it again; return the copy."""
    call_command("export_project", project.pk, str(folder), stdout=io.StringIO())
    known = set(Project.objects.values_list("pk", flat=True))
    call_command("import_project", str(folder), stdout=io.StringIO(), **options)
    return Project.objects.exclude(pk__in=known).get()


def _read(project):
    """All that a reader of the API sees of a project, with names for ids."""
    client, seen = ApiClient(), {}

    def get(path):
        response = client.get(path)
        content = response.getvalue()
        assert response.status_code == 200, (path, content)
        is_json = "json" in response["Content-Type"]
        seen[path] = json.loads(content) if is_json else content.hex()
        if path.endswith("/events"):  # numbered, by the database
            for event in seen[path]:
                del event["id"]

    base = f"/projects/{project.pk}"
    for path in ("", "/runs", "/sweeps"):
        get(base + path)
    for sweep in project.sweeps.all():
        get(f"{base}/sweeps/{sweep.pk}")
    for run in project.runs.kept().filter(is_hidden=False):
        below = f"{base}/runs/{run.pk}"
        for path in ("", "/events", "/metrics", "/metrics/series?keys=loss,odd", "/artifacts"):
            get(below + path)
        get(f"{below}/logs?page=1&page_size=100")
        get(f"{below}/logs?q=1499")
        get(f"/api/2.0/mlflow/runs/get?run_id={run.pk}")
        for artifact in run.artifacts.all():
            get(f"{below}/artifacts/{artifact.pk}/download")
        if RunCode.of(run):
            get(f"{below}/code")
    for model in project.logged_models.all():
        get(f"/api/2.0/mlflow/logged-models/{model.pk}")
    return json.loads(_named(project, json.dumps(seen, sort_keys=True)))


def _named(project, text):
    names = {project.pk: "PROJECT"}
    names |= {run.pk: f"RUN {run.name}" for run in project.runs.all()}
    names |= {
        artifact.pk: f"ARTIFACT {artifact.run.name} {artifact.file}"
        for artifact in Artifact.objects.filter(run__project=project).select_related("run")
    }
    names |= {sweep.pk: f"SWEEP {sweep.name}" for sweep in project.sweeps.all()}
    names |= {model.pk: f"MODEL {model.name}" for model in project.logged_models.all()}
    for _ in range(2):  # the path of a logged model's file has its id
        text = re.sub(r"[\w\-]+", lambda word: names.get(word[0], word[0]), text)
    return text


@pytest.mark.django_db(transaction=True, serialized_rollback=True)  # rows are as of one moment
def test_a_copy_is_the_same_to_readers_of_the_api(project, tmp_path):
    Run.objects.filter(project=project, status=RunStatus.RUNNING).update(
        status=RunStatus.CANCELLED, finished_at=timezone.now()
    )
    Sweep.objects.update(status="已取消", finished_at=timezone.now())
    SweepTrial.objects.filter(number=1).update(state="failed", ended_at=timezone.now())

    copy = _moved(project, tmp_path / "out", keep_releases=True)

    before, after = _read(project), _read(copy)
    assert before.keys() == after.keys()
    for path, content in before.items():
        assert after[path] == content, path


def test_a_copy_has_the_models_registered_under_another_name(project, tmp_path):
    copy = _moved(project, tmp_path / "out")

    version = ModelVersion.objects.get(project=copy)
    run = copy.runs.get(name="first")
    assert version.model.name == "assistant-2"
    assert version.source == f"runs:/{run.pk}/{version.checkpoint.file}"
    assert version.location.startswith(f"mlflow-artifacts:/{copy.pk}/{run.pk}/")
    assert version.checkpoint.run == run
    assert version.stage == "Production"
    assert {it.alias for it in version.aliases.all()} == {"champion", "released"}


def test_references_lead_to_the_rows_of_the_copy(project, tmp_path):
    copy = _moved(project, tmp_path / "out", name="again")

    first = copy.runs.get(name="first")
    assert copy.name == "again"
    assert copy.runs.get(name="nested").tags["mlflow.parentRunId"] == first.pk
    assert copy.runs.get(name="resumed").resumed_from_id == first.artifacts.checkpoints().get().pk
    assert copy.runs.get(name="deleted").deleted_at is not None
    assert copy.sweeps.get().trials.get(number=0).run == first
    assert first.created_by.username == "ada"
    assert first.attempt_records.get().steps == [[5, 1]]


def test_what_was_going_on_has_ended(project, tmp_path):
    copy = _moved(project, tmp_path / "out")

    resumed = copy.runs.get(name="resumed")
    assert resumed.status == RunStatus.CANCELLED
    assert str(resumed.status_reason) == "It had not ended when its project was exported."
    assert copy.sweeps.get().status == "已取消"


def test_ids_that_are_free_are_kept(project, tmp_path):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    before = _read(project)
    pk, runs = project.pk, set(project.runs.values_list("pk", flat=True))
    Run.objects.filter(project=project).update(resumed_from_id=None)
    Sweep.objects.all().delete()
    RegisteredModel.objects.all().delete()
    project.delete()

    call_command("import_project", str(tmp_path / "out"), stdout=io.StringIO())

    again = Project.objects.get(pk=pk)
    assert set(again.runs.values_list("pk", flat=True)) == runs
    assert _read(again).keys() == before.keys()
    assert ModelVersion.objects.get(project=again).model.name == "assistant"


def test_the_tables_are_read_without_trainhub(project, tmp_path):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())

    lines = (tmp_path / "out" / "tables" / "runs.jsonl").read_text().splitlines()
    points = pyarrow.parquet.read_table(tmp_path / "out" / "metrics.parquet")
    log = pyarrow.parquet.read_table(tmp_path / "out" / "logs.parquet")
    names = {json.loads(line)["name"] for line in lines}
    assert names == {"first", "nested", "deleted", "resumed"}
    assert points.num_rows == 3004
    assert log.column("message")[1499].as_py() == "第 1499 行"


@pytest.mark.parametrize("path", ["tables/runs.jsonl", "metrics.parquet"])
def test_a_damaged_export_is_refused(project, tmp_path, path):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    file = tmp_path / "out" / path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)

    with pytest.raises(CommandError, match=f"{path} is damaged"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 1


def test_a_newer_layout_is_refused(project, tmp_path):
    Manifest({"id": "p", "name": "p"}, "9.0", "", {}, {"x": FileFacts(0, "")}, layout=2).write(
        tmp_path
    )

    with pytest.raises(CommandError, match="layout 2, of TrainHub"):
        call_command("import_project", str(tmp_path))


def test_a_path_that_leads_out_of_the_storage_is_refused(project, tmp_path):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    file = tmp_path / "out" / "tables" / "artifacts.jsonl"
    file.write_text(
        file.read_text()
        .replace('"file":"config', '"file":"../config')
        .replace('"file":"notes/', '"file":"../notes/')
    )
    manifest = tmp_path / "out" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"]["tables/artifacts.jsonl"] = vars(file_facts(file))
    manifest.write_text(json.dumps(content))

    with pytest.raises(CommandError, match="The path must be relative"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 1


def test_an_import_that_fails_leaves_nothing(project, tmp_path, monkeypatch):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    files = {path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()}

    def fail(*_arguments):
        raise OSError("the disk is gone")

    monkeypatch.setattr(importing.curves_and_logs, "record", fail)

    with pytest.raises(CommandError, match="the disk is gone"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 1
    assert not UnreferencedBlob.objects.exists()
    assert {path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()} == files


def test_a_file_that_the_storage_lacks_is_reported_and_left_out(project, tmp_path, capsys):
    lost = project.runs.get(name="first").artifacts.get(file="notes/读我.txt")
    (tmp_path / "artifacts" / lost.storage_key).unlink()

    with pytest.raises(CommandError, match="The export lacks 1 files") as raised:
        call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    call_command("import_project", str(tmp_path / "out"), stdout=io.StringIO())

    assert raised.value.returncode == 3
    copy = Project.objects.exclude(pk=project.pk).get()
    assert not copy.runs.get(name="first").artifacts.filter(file="notes/读我.txt").exists()


def test_a_recipe_that_is_not_here_is_named_and_disabled(project, tmp_path):
    Recipe.objects.create(name="mine", executor="process", command=["secret"])
    Run.objects.filter(name="resumed").update(recipe="mine")
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    Run.objects.filter(name="resumed").update(recipe="simulated")
    Recipe.objects.get(name="mine").delete()

    call_command("import_project", str(tmp_path / "out"), stdout=io.StringIO())

    recipe = Recipe.objects.get(name="mine")
    assert (recipe.enabled, recipe.command) == (False, ["false"])
    assert "secret" not in (tmp_path / "out" / "tables" / "runs.jsonl").read_text()


def _copy_of(folder):
    """What ``folder`` has is imported; the copy."""
    known = set(Project.objects.values_list("pk", flat=True))
    call_command("import_project", str(folder), stdout=io.StringIO())
    return Project.objects.exclude(pk__in=known).get()


def _forge(folder, path, change):
    """Change a file of an export, as whoever writes its manifest can."""
    file = folder / path
    file.write_bytes(change(file.read_bytes()))
    manifest = folder / "manifest.json"
    content = json.loads(manifest.read_text())
    content["files"][path] = vars(file_facts(file))
    manifest.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("runs", "project_id"),
        ("project_versions", "id"),
        ("run_events", "run_id"),
        ("datasets", "run_id"),
        ("artifacts", "run_id"),
        ("evaluation_results", "run_id"),
        ("logged_models", "project_id"),
        ("model_versions", "model_id"),
        ("model_aliases", "model_id"),
        ("sweep_trials", "sweep_id"),
    ],
)
def test_a_row_of_another_project_is_refused(project, tmp_path, table, column):
    other = ProjectFactory(name="other")
    run = RunFactory(project=other)
    model = RegisteredModel.objects.register("theirs", description="", tags={}, by=None)
    theirs = {"run_id": run.pk, "model_id": model.pk, "sweep_id": "sweep_000000000000"}
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())

    def lead_there(content):
        first, *others = content.splitlines()
        row = {**json.loads(first), column: theirs.get(column, other.pk)}
        return b"\n".join([json.dumps(row).encode(), *others])

    _forge(tmp_path / "out", f"tables/{table}.jsonl", lead_there)

    with pytest.raises(CommandError, match="is damaged"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 2
    assert RunEvent.objects.filter(run=run).count() == 0


@pytest.mark.parametrize("name", ["metrics", "logs"])
def test_points_and_lines_of_another_project_are_refused(project, tmp_path, name):
    run = RunFactory(project=ProjectFactory(name="other"))
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())

    def lead_there(content):
        table = pyarrow.parquet.read_table(io.BytesIO(content))
        place = table.schema.get_field_index("run_id")
        ids = pyarrow.array([run.pk] * table.num_rows)
        forged = io.BytesIO()
        pyarrow.parquet.write_table(table.set_column(place, "run_id", ids), forged)
        return forged.getvalue()

    _forge(tmp_path / "out", f"{name}.parquet", lead_there)

    with pytest.raises(CommandError, match=f"{name}.parquet is damaged"):
        call_command("import_project", str(tmp_path / "out"))

    run.refresh_from_db()
    assert (run.metrics, run.log_count) == ({}, 0)


def test_nobody_becomes_the_owner_of_a_project_that_a_manifest_names(project, tmp_path):
    other, eve = ProjectFactory(name="other"), UserFactory(username="eve")
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    manifest = tmp_path / "out" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["project"]["id"] = other.pk
    manifest.write_text(json.dumps(content))

    with pytest.raises(CommandError, match="is damaged"):
        call_command("import_project", str(tmp_path / "out"), owner="eve")

    assert not other.roles.filter(user=eve).exists()


@pytest.mark.parametrize(
    ("table", "old", "new"),
    [
        ("runs", b'"status":"', b'"status":"no '),
        ("runs", b'"tags":{', b'"tags":[],"more":{'),
        ("runs", b'"created_at":"', b'"created_at":"no '),
        ("run_events", b'"kind":"', b'"kind":"no '),
        ("artifacts", b'"size_bytes":', b'"other":'),
        ("registered_models", b'"name":"', b'"name":null,"other":"'),
        ("sweeps", b"{", b""),
    ],
)
def test_a_row_that_is_none_is_told_in_a_sentence(project, tmp_path, table, old, new):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    _forge(tmp_path / "out", f"tables/{table}.jsonl", lambda text: text.replace(old, new))

    with pytest.raises(CommandError, match=f"{table}.jsonl is damaged|tables is damaged"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 1


def test_a_link_that_leads_out_of_the_export_is_refused(project, tmp_path):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    file = next((tmp_path / "out" / "artifacts").rglob("读我.txt"))
    outside = file.rename(tmp_path / "outside.txt")
    file.symlink_to(outside)

    with pytest.raises(CommandError, match="is damaged"):
        call_command("import_project", str(tmp_path / "out"))

    assert Project.objects.count() == 1


def test_code_that_the_storage_lacked_is_left_out(project, tmp_path):
    run = project.runs.get(name="first")
    (tmp_path / "artifacts" / run.code.bundle.stored_as).unlink()
    with pytest.raises(CommandError, match="lacks 1 files"):
        call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())

    copy = _copy_of(tmp_path / "out")

    code = RunCode.objects.get(run__project=copy)
    assert (code.bundle, code.patch) == (None, "+1")


def test_an_import_releases_nothing_that_nobody_here_has_approved(project, tmp_path, capsys):
    checkpoint(project.runs.get(name="resumed"), step=20).tag("候选", notes="", by=None)
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())

    call_command("import_project", str(tmp_path / "out"))

    copy = Project.objects.exclude(pk=project.pk).get()
    tags = ArtifactTag.objects.filter(artifact__run__project=copy).order_by("artifact__step")
    assert list(tags.values_list("value", "notes")) == [("候选", "good"), ("候选", "")]
    assert "1 released checkpoints are candidates here" in capsys.readouterr().out


def test_tags_of_what_was_archived_and_removed_stay_behind(project, tmp_path):
    removed = checkpoint(RunFactory(project=project, status=RunStatus.COMPLETED))
    removed.tag("归档", notes="over", by=None)
    trash.trash(removed, reason="", by=None)

    copy = _moved(project, tmp_path / "out")

    tags = ArtifactTag.objects.filter(artifact__run__project=copy)
    assert [tag.notes for tag in tags] == ["good"]


def test_what_a_project_demands_of_releases_and_keeps_moves_along(project, tmp_path):
    ada, ben = User.objects.get(username="ada"), member_of(project, Role.MAINTAINER)
    gates = [{"kind": "metric", "key": "accuracy", "comparison": ">=", "threshold": 0.4}]
    change_policy(project, by=ada, needs_approval=True, gates=gates)
    kept = project.runs.get(name="first").artifacts.checkpoints().get()
    approve(ask(kept, notes="good", by=ada), notes="fine", by=ben)
    ask(kept, notes="again", by=ada)
    set_policy(project, by=ada, last=3)
    EvaluationRule.objects.create(project=project, recipe_id="simulated", every=2)

    copy = _moved(project, tmp_path / "out")

    policy = ReleasePolicy.of(copy.pk)
    assert (policy.needs_approval, policy.gates_json) == (True, gates)
    assert copy.checkpoint_policy.last == 3
    assert copy.evaluation_rules.get().every == 2
    requests = copy.release_requests.order_by("asked_at")
    assert [(it.state, it.asked_by, it.asked_by_name, it.decided_by) for it in requests] == [
        ("approved", None, "ada", None),
        ("withdrawn", None, "ada", None),
    ]
    assert requests[0].checkpoint == copy.runs.get(name="first").artifacts.checkpoints().get()


def test_an_import_of_days_keeps_what_it_has_stored(project, tmp_path, monkeypatch):
    call_command("export_project", project.pk, str(tmp_path / "out"), stdout=io.StringIO())
    put = importing.put

    def put_for_days(*arguments, **options):
        UnreferencedBlob.objects.sweep()
        stored = put(*arguments, **options)
        UnreferencedBlob.objects.update(since=timezone.now() - timedelta(days=2))
        return stored

    monkeypatch.setattr(importing, "put", put_for_days)
    monkeypatch.setattr(importing, "RENEWED_EVERY_SECONDS", 0)

    copy = _copy_of(tmp_path / "out")

    assert copy.runs.get(name="first").artifacts.count() > 1
