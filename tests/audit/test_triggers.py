"""Changes of state become entries, in their transaction; what is secret does not."""

import json
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations import AlterField, Migration
from django.test import Client

from accounts.issuing import issue_token, revoke
from accounts.models import ServiceAccount, Team, Token
from accounts.roles import Role, Scope
from accounts.tokens import issue_script_token
from audit import triggers
from audit.models import Entry
from core.audited import declared
from metrics import point_queries
from metrics.points import Point, Points
from metrics.recording import record_points
from projects import membership
from projects.models import Project, ProjectStatus
from registry.evaluation_rules import create_rule
from runs.actions import cancel_run, create_run
from runs.models import Recipe, RecipeKind, Run, Worker
from tests.clients import ApiClient
from tests.factories import (
    ProjectFactory,
    RecipeFactory,
    RunFactory,
    UserFactory,
    WorkerFactory,
    member_of,
    running,
)

pytestmark = pytest.mark.django_db

# Models whose changes are not told, and why.
REPORTED = "what trainings and workers report: no one changes it"
DERIVED = "computed from other rows, or told with them"
OWN = "a person's own view of pages"
NOT_TOLD = {
    "accounts.AccessVersion": DERIVED,
    "accounts.Allowance": "counts of sign-ins, which are told themselves",
    "admin.LogEntry": "the admin's own record",
    "artifacts.DirectUpload": "in progress: what is told is the artifact that it becomes",
    "artifacts.EvaluationResult": DERIVED,
    "artifacts.UnreferencedBlob": DERIVED,
    "audit.Entry": "the audit itself",
    "auth.Permission": "made by migrations",
    "account.EmailAddress": "allauth's, not used",
    "account.EmailConfirmation": "allauth's, not used",
    "socialaccount.SocialApp": "allauth's, not used: the provider is in the settings",
    "socialaccount.SocialToken": "allauth's, not used",
    "contenttypes.ContentType": "made by migrations",
    "dashboard.DefaultView": OWN,
    "dashboard.SavedView": OWN,
    "execution.MirroredAttempt": REPORTED,
    "execution.MirroredChunk": REPORTED,
    "execution.MirroredFile": REPORTED,
    "execution.MirroredNode": REPORTED,
    "goodput.AttemptRecord": DERIVED,
    "goodput.DayAccount": DERIVED,
    "logs.LogBatch": REPORTED,
    "logs.LogBlock": DERIVED,
    "logs.LogLine": REPORTED,
    "metrics.MetricBucket": DERIVED,
    "metrics.MetricPoint": REPORTED,
    "metrics.MetricSeries": REPORTED,
    "metrics.MetricValue": DERIVED,
    "metrics.ReplayedPoint": REPORTED,
    "notices.Delivery": DERIVED,
    "notices.Fired": DERIVED,
    "projects.HistoricalProject": "the versions of a project, themselves a record",
    "registry.LoggedModelMetric": REPORTED,
    "registry.SeenCheckpoint": DERIVED,
    "runs.CodeBundle": "content, found by its hash",
    "runs.CodeUpload": "of content that is found by its hash",
    "runs.DatasetInput": REPORTED,
    "runs.GpuUsage": DERIVED,
    "runs.ModelLink": REPORTED,
    "runs.ParamValue": DERIVED,
    "runs.ProgramCheck": "a question to workers",
    "runs.RunCode": "told with its run, which never changes it",
    "runs.RunColumn": DERIVED,
    "runs.RunEvent": "itself a record",
    "runs.Submission": DERIVED,
    "sessions.Session": "sign-ins are told",
    "sweeps.SweepTrial": DERIVED,
}


def actions(kind: str) -> list[str]:
    return list(Entry.objects.filter(kind=kind).order_by("id").values_list("action", flat=True))


def last(kind: str) -> Entry:
    return Entry.objects.filter(kind=kind).latest("id")


def test_every_model_is_audited_or_known_not_to_be():
    models = {model._meta.label for model in apps.get_models(include_auto_created=True)}
    audited = {specification.model._meta.label for specification in declared()}

    assert audited.isdisjoint(NOT_TOLD)
    assert models == audited | NOT_TOLD.keys()


def test_every_declared_table_has_its_trigger():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgname = %s", [triggers.TRIGGER]
        )
        there = {name for (name,) in cursor.fetchall()}

    assert there == {specification.table for specification in declared()}


# --- What is told ----------------------------------------------------------------------------


def test_change_of_a_project_tells_what_was_and_what_is():
    project = ProjectFactory(name="a")

    project.revise({"name": "b"}, by=None)

    entry = last("project")
    assert (entry.action, entry.subject_id, entry.project_id) == (
        "project.changed",
        project.pk,
        project.pk,
    )
    assert (entry.before, entry.after) == ({"name": "a"}, {"name": "b"})


def test_of_a_changed_object_only_the_differing_keys_are_told():
    project = ProjectFactory(default_hyperparameters={"batch_size": 16, "learning_rate": 1})

    project.revise({"default_hyperparameters": {"batch_size": 8, "learning_rate": 1}}, by=None)

    assert last("project").after == {"default_hyperparameters": {"batch_size": 8}}


def test_saving_what_is_there_tells_nothing():
    project = ProjectFactory()

    project.save()

    assert actions("project") == ["project.created"]


def test_status_team_and_roles_of_a_project_are_told():
    project, user = ProjectFactory(), UserFactory()
    membership.give_role(project, user, Role.OWNER)
    project.set_status(ProjectStatus.ARCHIVED)
    membership.give_to_team(project, Team.create("t", by=user))
    membership.give_role(project, user, Role.VIEWER)
    membership.take_role(project, user)

    assert actions("project") == [
        "project.created",
        "project.status_changed",
        "project.team_changed",
    ]
    assert actions("project_role") == [
        "project_role.created",
        "project_role.role_changed",
        "project_role.deleted",
    ]
    assert last("project_role").name == user.username


def test_teams_and_their_members_are_told():
    owner, other = UserFactory(), UserFactory()
    team = Team.create("t", by=owner)
    its_id = team.pk
    team.add(other, Role.MEMBER, by=None)
    team.remove(other)
    ServiceAccount.create("robot", team=team, by=owner)
    team.change(name="u")
    team.disband()

    assert actions("team") == ["team.created", "team.renamed", "team.deleted"]
    assert actions("team_member").count("team_member.created") == 3
    assert actions("service_account") == ["service_account.created", "service_account.deleted"]
    assert {entry.team_id for entry in Entry.objects.filter(kind="team_member")} == {its_id}


def test_consent_of_a_member_is_told():
    owner, member = UserFactory(), UserFactory()
    team = Team.create("t", by=owner)
    team.add(member, Role.MEMBER, by=owner)
    team.take_new_projects(member, True)
    told = last("team_member")
    team.take_new_projects(member, False)

    assert actions("team_member")[-2:] == [
        "team_member.new_projects_given",
        "team_member.new_projects_kept",
    ]
    assert (told.name, told.team_id) == (member.username, team.pk)
    assert (told.before, told.after) == (
        {"takes_new_projects": False},
        {"takes_new_projects": True},
    )


def test_issue_and_revocation_of_a_token_are_told_without_it():
    token, secret = issue_token(by=UserFactory(), name="laptop", scope=Scope.WRITE)
    revoke(token)

    assert actions("token") == ["token.created", "token.deleted"]
    told = json.dumps(list(Entry.objects.values("before", "after", "name", "subject_id")))
    assert secret not in told
    assert token.digest not in told


def test_tokens_of_scripts_and_uses_of_tokens_are_not_told():
    user = UserFactory()
    Token.issue(user, run_id="run_1")
    Token.objects.update(last_used_at="2024-01-01T00:00Z")

    assert actions("token") == []


def test_password_is_told_to_be_new_and_nothing_else():
    user = User.objects.create_user("a", password="first-password")
    user.set_password("second-password")
    user.save()

    entry = last("user")
    assert entry.action == "user.password_changed"
    assert (entry.before, entry.after) == ({"password": "…"}, {"password": "… (new)"})


def test_right_of_an_operator_is_told():
    user = UserFactory()

    user.is_staff = user.is_superuser = True
    user.save()

    assert last("user").action == "user.superuser_given"


def test_environment_of_a_recipe_is_told_by_its_names():
    recipe = RecipeFactory(environment={"HF_TOKEN": "hf_1", "A": "1"})
    Recipe.objects.filter(pk=recipe.pk).update(environment={"HF_TOKEN": "hf_2", "A": "1"})

    entry = last("recipe")
    assert entry.after == {"environment": {"HF_TOKEN": "… (new)"}}
    assert "hf_" not in json.dumps(list(Entry.objects.values("before", "after")))


def test_rule_of_evaluations_is_told_with_its_hyperparameters():
    recipe = RecipeFactory(kind=RecipeKind.EVALUATION)
    project = ProjectFactory()
    create_rule(project, by=None, recipe=recipe, every=1, hyperparameters={"limit": 100})

    assert last("evaluation_rule").after["hyperparameters"] == {"limit": 100}


def test_secret_of_a_recipe_is_told_by_its_name():
    recipe = RecipeFactory()
    recipe.set_secrets({"HF_TOKEN": "hf_1"})
    recipe.save()

    assert last("recipe").after == {"encrypted_environment": {"HF_TOKEN": "… (new)"}}
    stored = recipe.encrypted_environment["HF_TOKEN"]
    assert stored not in json.dumps(list(Entry.objects.values("before", "after")))


def test_life_of_a_run_is_told():
    run = create_run(ProjectFactory(), by=UserFactory())
    run.set_priority(5, by=None)
    cancel_run(run, by=None)
    run.move_to_trash(by=None)
    run.restore(by=None)

    assert actions("run") == [
        "run.created",
        "run.priority_changed",
        "run.stop_requested",
        "run.status_changed",
        "run.trashed",
        "run.restored",
    ]
    assert {entry.project_id for entry in Entry.objects.filter(kind="run")} == {run.project_id}


def test_points_tell_nothing():
    run = RunFactory()

    record_points(run.pk, Points.of([Point("loss", 1, 0.5, 1_700_000_000_000)]))

    assert actions("run") == ["run.created"]


def test_report_of_points_sets_no_column_that_is_told():
    [specification] = [it for it in declared() if it.model is Run]

    updates = [
        statement.text.partition("UPDATE runs_run")[2].partition("WHERE")[0]
        for statement in vars(point_queries).values()
        if hasattr(statement, "text") and "UPDATE runs_run" in statement.text
    ]

    assert updates
    assert not [
        (column, update)
        for column in specification.watched
        for update in updates
        if f" {column} =" in update
    ]


def test_drain_is_told_of_people_and_not_a_heartbeat():
    WorkerFactory()
    Worker.objects.update(draining=True)

    assert actions("worker") == []


def test_long_text_is_cut_and_still_told_to_differ():
    project = ProjectFactory(description="a" * 5000)

    project.revise({"description": "a" * 4999 + "b"}, by=None)

    assert len(last("project").after["description"]) < 2100


def test_what_is_rolled_back_is_not_told():
    with transaction.atomic():
        ProjectFactory()
        transaction.set_rollback(True)

    assert actions("project") == []


# --- By whom ---------------------------------------------------------------------------------


def test_request_with_a_token_names_its_user_token_address_and_id(settings):
    settings.OPEN_MODE = False
    user = UserFactory(username="xiaoli")
    token, secret = Token.issue(user)

    Client().post(
        "/projects",
        {"name": "a", "task_type": "t"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {secret}", "X-Request-ID": "req-1"},
        REMOTE_ADDR="203.0.113.7",
    )

    entry = Entry.objects.get(action="project.created")
    assert (entry.actor, entry.actor_id, entry.token_id) == ("xiaoli", user.pk, token.pk)
    assert (entry.address, entry.via) == ("203.0.113.7", "web")


def test_mlflow_call_names_its_user(settings):
    settings.OPEN_MODE = False
    user = UserFactory()
    client = ApiClient(headers={"Authorization": f"Bearer {Token.issue(user)[1]}"})

    client.post_json("/api/2.0/mlflow/experiments/create", {"name": "a"})

    assert Entry.objects.get(action="project.created").actor_id == user.pk


def test_page_names_the_signed_in_user(settings):
    settings.OPEN_MODE = False
    client, user = Client(), UserFactory()
    client.force_login(user)

    client.post("/dashboard/teams", {"name": "t"})

    assert Entry.objects.get(action="team.created").actor_id == user.pk


def test_file_that_a_person_replaces_is_told_and_what_a_script_replaces_is_not(settings):
    settings.OPEN_MODE = False
    project = ProjectFactory()
    user = member_of(project)
    run = running(project=project, recipe=RecipeFactory())
    own, digest = issue_script_token(user, run.pk, life=timedelta(hours=1))
    run.change(script_tokens=[digest])
    person = ApiClient(headers={"Authorization": f"Bearer {Token.issue(user)[1]}"})
    script = ApiClient(headers={"Authorization": f"Bearer {own}"})
    path = f"/projects/{project.pk}/runs/{run.pk}/artifacts/files/notes.txt"

    for client, content in [(person, b"1"), (script, b"22"), (person, b"333")]:
        assert client.put(path, content, "application/octet-stream").status_code in {200, 201}

    assert actions("artifact") == ["artifact.changed"]
    entry = last("artifact")
    assert (entry.name, entry.actor, entry.project_id) == ("notes.txt", user.username, project.pk)
    assert (entry.before["size_bytes"], entry.after["size_bytes"]) == (2, 3)
    assert set(entry.after) == {"size_bytes", "sha256"}


def test_open_mode_names_the_local_administrator():
    User.objects.all().delete()

    ApiClient().post_json("/projects", {"name": "a", "task_type": "t"})

    assert Entry.objects.get(action="project.created").actor == "admin"


def test_after_a_request_nothing_is_told_to_be_its_users(settings):
    settings.OPEN_MODE = False
    client = Client()
    client.force_login(UserFactory())
    client.post("/dashboard/teams", {"name": "t"})

    ProjectFactory()

    assert Entry.objects.get(action="project.created").actor_id is None


def test_drain_names_the_operator(admin_client, admin_user):
    worker = WorkerFactory()

    admin_client.post(f"/dashboard/workers/{worker.pk}/drain")

    entry = last("worker")
    assert (entry.action, entry.actor_id) == ("worker.drained", admin_user.pk)


def test_admin_names_the_operator(admin_client, admin_user):
    token, _secret = Token.issue(UserFactory())

    admin_client.post(f"/admin/accounts/token/{token.pk}/delete/", {"post": "yes"})

    entry = last("token")
    assert (entry.action, entry.actor_id) == ("token.deleted", admin_user.pk)


def test_name_that_ends_a_comment_stays_a_name(settings):
    settings.OPEN_MODE = False
    user = UserFactory(username="*/ %s -- /*")
    client = ApiClient(headers={"Authorization": f"Bearer {Token.issue(user)[1]}"})

    client.post_json("/projects", {"name": "a", "task_type": "t"})

    assert Entry.objects.get(action="project.created").actor == "*/ %s -- /*"


# --- Migrations ------------------------------------------------------------------------------


def test_type_of_a_told_column_can_be_changed_by_a_migration():
    class Widening(Migration):
        operations = (AlterField("project", "base_model", Project._meta.get_field("base_model")),)

    triggers.before_migrating(plan=[(Widening("0099_wider", "projects"), False)])
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE projects_project ALTER base_model TYPE varchar(999)")
    triggers.after_migrating()
    ProjectFactory()

    assert actions("project") == ["project.created"]


def test_migrating_again_changes_nothing():
    call_command("migrate", verbosity=0)
    ProjectFactory()

    assert actions("project") == ["project.created"]
