"""What everybody does, newest first."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.open_mode import local_administrator
from accounts.roles import Role
from artifacts.kinds import TagValue
from artifacts.models import ArtifactTag
from core.messages import Message
from dashboard.activity import ActivityFilter, ActivityKind, Cursor, activity
from projects.models import Project
from projects.sight import EVERYTHING, Sight
from registry.models import RegisteredModel
from runs.actions import cancel_run
from runs.models import EventKind, RunEvent, StopKind
from runs.status import RunStatus
from tests.dashboard.operators import signed_in
from tests.factories import (
    ProjectFactory,
    RunFactory,
    UserFactory,
    checkpoint,
    member_of,
    running,
)

pytestmark = pytest.mark.django_db

PAGE = "/dashboard/activity"
START = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


@pytest.fixture
def project():
    """One of whose creation nothing is told."""
    project = ProjectFactory(name="Sums")
    project.history.all().delete()
    return project


def happened(run, kind, at=None, **fields):
    event = run.note(kind, **fields)
    if at is not None:
        RunEvent.objects.filter(pk=event.pk).update(created_at=at)
    return event


def activity_of(chosen=None, **options):
    """That of everybody, as superusers see it."""
    return activity(chosen, sight=EVERYTHING, **options)


def kinds(page):
    return [entry.kind for entry in page.entries]


def text_of(client, **query):
    page = client.get(PAGE, query).content.decode()
    return " ".join(page.replace("<", " <").replace(">", "> ").split())


def sentences(client, **query):
    """The entries without their markup."""
    page = client.get(PAGE, query).content.decode()
    items = re.findall(r'<span class="what">(.*?)<small', page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", "", item).split()) for item in items]


# --- sentences -------------------------------------------------------------------------------


def test_cancelled_run_is_told_once_and_by_whom(client, project):
    run, user = RunFactory(name="run-003", project=project), UserFactory(username="Li")

    cancel_run(run, by=user)

    assert sentences(client) == ["Li cancelled run-003 of Sums."]


@pytest.mark.parametrize(
    ("kind", "fields", "sentence"),
    [
        (EventKind.CREATED, {"to_status": RunStatus.QUEUED}, "Li created {}."),
        (EventKind.STATUS, {"to_status": RunStatus.COMPLETED, "by": None}, "{} completed."),
        (EventKind.STATUS, {"to_status": RunStatus.FAILED, "by": None}, "{} failed."),
        (EventKind.LOST, {"to_status": RunStatus.FAILED, "by": None}, "{} was marked as lost."),
        (EventKind.RECOVERED, {"by": None}, "{} restarted."),
        (EventKind.REOPENED, {"to_status": RunStatus.RUNNING, "by": None}, "{} continues."),
        (EventKind.STOP_REQUESTED, {"by": None, "reason": "silent"}, "{} was stopped."),
        (EventKind.RENAMED, {"reason": "a → b"}, "Li renamed {}."),
        (EventKind.NOTE_CHANGED, {}, "Li changed the note of {}."),
        (EventKind.TAGS_CHANGED, {"reason": "team: nlp"}, "Li changed the tags of {}."),
        (EventKind.ARCHIVED, {}, "Li archived {}."),
        (EventKind.UNARCHIVED, {}, "Li listed {} again."),
        (EventKind.DELETED, {}, "Li moved {} to the trash."),
        (EventKind.RESTORED, {}, "Li restored {}."),
        (EventKind.PRIORITY_CHANGED, {}, "Li changed the priority of {}."),
    ],
)
def test_event_is_a_sentence(client, project, kind, fields, sentence):
    run = RunFactory(name="run-003", project=project)

    run.note(kind, **{"by": UserFactory(username="Li"), **fields})

    assert sentences(client) == [sentence.format("run-003 of Sums")]


@pytest.mark.parametrize("kind", [EventKind.CLAIMED, EventKind.READOPTED, EventKind.FAULT])
def test_what_workers_do_among_themselves_is_not_told(client, project, kind):
    RunFactory(project=project).note(kind)

    assert sentences(client) == []


def test_projects_tags_and_models_are_told(client):
    user = UserFactory(username="Li")
    project = Project.create({"name": "Sums"}, by=user)
    project.revise({"description": "more"}, by=user)
    saved = checkpoint(RunFactory(name="run-003", project=project), step=100)
    saved.tag(TagValue.RELEASED, notes="BLEU 32.5", by=user)
    model = RegisteredModel.objects.register("sum-7b", description="", tags={}, by=user)
    model.versions.create(number=1, source="s3://x", location="s3://x", created_by=user)

    assert sentences(client) == [
        "Li registered version 1 of the model sum-7b.",
        "Li tagged a checkpoint of run-003 of Sums as Released: step 100.",
        "Li changed the project Sums: version 2.",
        "Li created the project Sums.",
    ]
    assert "BLEU 32.5" in text_of(client)


def test_reason_is_told_in_the_readers_language(client, project):
    reason = Message("Its worker %(name)s died.", name="w1")
    RunFactory(project=project).note(EventKind.RECOVERED, reason=reason)

    assert "Its worker w1 died." in text_of(client)


def test_names_are_escaped(client):
    project = ProjectFactory(name="<b>&")
    RunFactory(name="<script>", project=project).note(EventKind.DELETED)

    page = client.get(PAGE).content.decode()

    assert "<script>" not in page.partition('<ul class="events">')[2].partition("</ul>")[0]
    assert "&lt;script&gt;" in page


# --- filters ---------------------------------------------------------------------------------


def test_filter_by_person_project_and_kind(client, project):
    ada, bob = UserFactory(), UserFactory()
    other = RunFactory()
    run = RunFactory(project=project)
    run.note(EventKind.CREATED, to_status=RunStatus.QUEUED, by=ada)
    run.note(EventKind.DELETED, by=bob)
    other.note(EventKind.DELETED, by=ada)

    of_ada = activity_of(ActivityFilter(person=ada))
    of_project = activity_of(ActivityFilter(project=project, kind=ActivityKind.CHANGED))
    deleted = activity_of(ActivityFilter(kind=ActivityKind.CHANGED))

    assert [entry.run for entry in of_ada.entries] == [other, run]
    assert [(entry.run, entry.actor) for entry in of_project.entries] == [(run, bob)]
    assert kinds(deleted) == [ActivityKind.CHANGED] * 2


@pytest.mark.parametrize("kind", ActivityKind)
def test_each_kind_shows_only_its_own(client, kind):
    user = UserFactory()
    project = Project.create({"name": "Sums"}, by=user)
    run = RunFactory(project=project)
    for event in EventKind:
        run.note(event, by=user, reason=StopKind.CANCEL.value)
    for status in RunStatus:
        run.note(EventKind.STATUS, to_status=status)
        run.note(EventKind.CREATED, to_status=status)
    run.note(EventKind.LOST, to_status=RunStatus.FAILED)
    run.note(EventKind.REOPENED, to_status=RunStatus.RUNNING)
    checkpoint(run).tag(TagValue.RELEASED, notes="", by=user)
    model = RegisteredModel.objects.register("m", description="", tags={}, by=user)
    model.versions.create(number=1, source="s3://x", location="s3://x", run=run)

    assert set(kinds(activity_of(ActivityFilter(kind=kind)))) == {kind}
    assert set(kinds(activity_of(ActivityFilter(kind=kind, project=project)))) == {kind}


def test_day_is_that_of_the_readers_zone(client, project):
    run = RunFactory(project=project)
    happened(run, EventKind.DELETED, datetime(2026, 5, 1, 15, 59, tzinfo=UTC))
    happened(run, EventKind.RESTORED, datetime(2026, 5, 1, 16, 1, tzinfo=UTC))  # the 2nd there

    shown = sentences(client, day="2026-05-01", zone="Asia/Shanghai")

    assert shown == [f"{run.name} of Sums was moved to the trash."]


@pytest.mark.parametrize(
    "query",
    [
        {"person": "x"},
        {"person": "9" * 40},
        {"person": "\0"},
        {"project": "proj_none"},
        {"project": "\0"},
        {"project": "x" * 10_000},
        {"kind": "nonsense"},
        {"day": "yesterday"},
        {"day": "9999-12-31"},
        {"day": "0001-01-01", "zone": "Asia/Shanghai"},
        {"zone": "../etc/passwd"},
    ],
)
def test_invalid_filters_are_no_error_of_the_server(client, query):
    RunFactory().note(EventKind.DELETED)

    assert client.get(PAGE, query).status_code == 200


# --- pages -----------------------------------------------------------------------------------


def test_pages_follow_one_another_without_gap_or_repetition(project):
    run = RunFactory(project=project)
    for number in range(12):  # three at a time
        happened(run, EventKind.DELETED, START + timedelta(minutes=number // 3))
    model = RegisteredModel.objects.register("m", description="", tags={}, by=None)
    for number in range(1, 4):
        version = model.versions.create(number=number, source="s3://x", location="s3://x")
        model.versions.filter(pk=version.pk).update(created_at=START + timedelta(minutes=number))
        tag = checkpoint(run, step=number).tag(TagValue.RELEASED, notes="", by=None)
        ArtifactTag.objects.filter(pk=tag.pk).update(applied_at=START + timedelta(minutes=number))

    pages, after = [], None
    while not pages or after is not None:
        page = activity_of(after=after, size=4)
        pages.append(page)
        after = page.older

    rows = [(type(entry.subject), entry.subject.pk) for page in pages for entry in page.entries]
    times = [entry.at for page in pages for entry in page.entries]
    assert len(rows) == len(set(rows)) == 12 + 3 + 3
    assert times == sorted(times, reverse=True)
    assert [len(page.entries) for page in pages] == [4, 4, 4, 4, 2]


def test_link_leads_to_older_entries(client, project):
    run = RunFactory(project=project)
    for number in range(51):
        happened(run, EventKind.DELETED, START + timedelta(minutes=number))

    page = client.get(PAGE)
    older = client.get(PAGE, {"after": str(page.context["page"].older)})

    assert len(page.context["page"].entries) == 50
    assert f"after={page.context['page'].older}" in page.content.decode()
    assert len(older.context["page"].entries) == 1


@pytest.mark.parametrize(
    "text", ["", "x", "1-2", "1-2-3-4", "9" * 30 + "-0-1", "-1-0-1", "\uff11-0-1"]
)
def test_what_is_no_cursor_begins_at_the_newest(client, text):
    RunFactory().note(EventKind.DELETED)

    assert Cursor.parse(text) is None
    assert client.get(PAGE, {"after": text}).context["is_first"]


def test_cursor_is_read_as_it_was_written():
    cursor = Cursor(timezone.now(), 2, 7)

    assert Cursor.parse(str(cursor)) == cursor


# --- cost ------------------------------------------------------------------------------------


def test_query_count_does_not_depend_on_the_number_of_entries(client, django_assert_num_queries):
    for _ in range(10):
        running().note(EventKind.DELETED, by=UserFactory())
        ProjectFactory()

    # User; what there is to choose, in 3; which events, events; versions, tags, model versions.
    with django_assert_num_queries(9):
        client.get(PAGE)


# --- of whom ---------------------------------------------------------------------------------


@pytest.mark.parametrize("few", [0, 5000], ids=["by time", "by run"])
def test_reader_is_told_of_the_projects_that_they_see(monkeypatch, few):
    monkeypatch.setattr("dashboard.activity.FEW_RUNS", few)
    seen, hidden = RunFactory(project=ProjectFactory(run_count=1)), RunFactory()
    for run in (seen, hidden):
        happened(run, EventKind.CREATED, to_status=RunStatus.QUEUED)
        checkpoint(run).tag(TagValue.RELEASED, notes="", by=None)
    sight = Sight.of(member_of(seen.project))

    entries = activity(sight=sight).entries

    assert {entry.project.pk for entry in entries} == {seen.project_id}
    assert {entry.kind for entry in entries} == {
        ActivityKind.CREATED, ActivityKind.TAGGED, ActivityKind.PROJECT,
    }  # fmt: skip


@pytest.mark.parametrize("few", [0, 5000], ids=["by time", "by run"])
def test_pages_of_a_reader_are_complete(monkeypatch, few):
    monkeypatch.setattr("dashboard.activity.FEW_RUNS", few)
    run = RunFactory(project=ProjectFactory(run_count=1))
    run.project.history.all().delete()
    hidden = RunFactory()
    for number in range(12):
        for one in (run, hidden):
            happened(one, EventKind.RENAMED, START + timedelta(minutes=number))
    sight, after, found = Sight.of(member_of(run.project)), None, []

    while True:
        page = activity(sight=sight, after=after, size=5)
        found += page.entries
        after = page.older
        if after is None:
            break

    assert [entry.run for entry in found] == [run] * 12


def test_statements_do_not_grow_with_the_projects_of_the_reader():
    first = RunFactory(project=ProjectFactory(run_count=1))
    happened(first, EventKind.CREATED, to_status=RunStatus.QUEUED)
    user = member_of(first.project)

    def count() -> int:
        with CaptureQueriesContext(connection) as captured:
            activity(sight=Sight.of(user))
        return len(captured)

    before = count()
    for _number in range(5):
        run = RunFactory(project=ProjectFactory(run_count=1))
        run.project.roles.create(user=user, role=Role.VIEWER)
        happened(run, EventKind.CREATED, to_status=RunStatus.QUEUED)

    assert count() == before


def test_choices_are_projects_and_people_that_the_reader_knows():
    project = ProjectFactory(name="Sums")
    ProjectFactory(name="Hidden")
    stranger, reader = UserFactory(username="stranger"), member_of(project)
    RunFactory(project=project, created_by=UserFactory(username="gone"))

    form = signed_in(reader).get(PAGE, {"person": stranger.pk}).context["form"]

    assert list(form.fields["project"].queryset) == [project]
    assert list(form.fields["person"].queryset) == [reader]


def test_person_who_has_left_can_be_chosen_while_their_runs_are_seen():
    project, gone = ProjectFactory(), UserFactory()
    run = RunFactory(project=project, created_by=gone)
    happened(run, EventKind.CREATED, to_status=RunStatus.QUEUED, by=gone)

    page = signed_in(member_of(project)).get(PAGE, {"person": gone.pk})

    assert not page.context["form"].errors
    assert [entry.run for entry in page.context["page"].entries] == [run]
