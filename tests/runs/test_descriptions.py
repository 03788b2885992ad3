"""Renaming, noting and tagging runs."""

import pytest
from django.utils import timezone

from core.exceptions import InvalidInput
from runs.descriptions import NOTE_TAG, describe, note_of, own_tags
from runs.models import EventKind
from runs.reports import InTrash, InvalidReport
from tests.factories import RunFactory, UserFactory

pytestmark = pytest.mark.django_db


def events_of(run):
    described = {EventKind.RENAMED, EventKind.NOTE_CHANGED, EventKind.TAGS_CHANGED}
    events = run.events.filter(kind__in=described).order_by("id")
    return [(event.kind, str(event.reason)) for event in events]


def test_name_note_and_tags_change_together_with_an_event_each():
    run, user = RunFactory(name="run-001", tags={"old": "1"}), UserFactory()

    describe(run, by=user, name=" best ", notes="**good**", tags={"stage": "sft", "old": None})

    run.refresh_from_db()
    assert (run.name, note_of(run), own_tags(run)) == ("best", "**good**", {"stage": "sft"})
    assert events_of(run) == [
        ("renamed", "run-001 → best"),
        ("note_changed", ""),
        ("tags_changed", "stage: sft\n- old: 1"),
    ]
    assert {event.actor for event in run.events.all()} == {user}


def test_what_is_not_given_stays_and_what_is_the_same_is_no_event():
    run = RunFactory(name="a", tags={NOTE_TAG: "note", "k": "v"})

    describe(run, by=None, name="a", tags={"k": "v"})

    run.refresh_from_db()
    assert (run.name, run.tags) == ("a", {NOTE_TAG: "note", "k": "v"})
    assert events_of(run) == []


def test_empty_note_deletes_it():
    run = RunFactory(tags={NOTE_TAG: "note"})

    describe(run, by=None, notes="  ")

    run.refresh_from_db()
    assert run.tags == {}


def test_a_description_is_no_report_of_the_training():
    run = RunFactory(reported_at=None)

    describe(run, by=None, tags={"k": "v"})

    run.refresh_from_db()
    assert run.reported_at is None


@pytest.mark.parametrize(
    "change",
    [
        {"name": ""},
        {"name": "x" * 201},
        {"name": "a\x00"},
        {"notes": "x" * 8001},
        {"notes": "\x00"},
        {"tags": {"": "v"}},
        {"tags": {"../k": "v"}},
        {"tags": {"k": "x" * 8001}},
        {"tags": {"k": "\x00"}},
        {"tags": {NOTE_TAG: "v"}},
        {"tags": {"mlflow.runName": "v"}},
    ],
)
def test_invalid_descriptions_are_refused_and_change_nothing(change):
    run = RunFactory(name="before")

    with pytest.raises((InvalidInput, InvalidReport)):
        describe(run, by=None, **change)

    run.refresh_from_db()
    assert (run.name, run.tags) == ("before", {})


def test_run_in_the_trash_is_not_described():
    run = RunFactory(deleted_at=timezone.now())

    with pytest.raises(InTrash):
        describe(run, by=None, name="other")


def test_patch_answers_with_the_run_as_it_is_now(client, run_url):
    answer = client.patch(
        run_url,
        {"name": "best", "notes": "why", "tags": {"k": "v"}},
        content_type="application/json",
    )

    assert answer.status_code == 200, answer.content
    assert answer.json()["name"] == "best"
    assert answer.json()["tags"] == {NOTE_TAG: "why", "k": "v"}


@pytest.mark.parametrize(
    "body", [{"name": 1}, {"tags": {"k": 1}}, {"tags": "k"}, {"status": "已完成"}, {"name": ""}]
)
def test_patch_refuses_what_is_no_description(client, run_url, body):
    assert client.patch(run_url, body, content_type="application/json").status_code == 400


@pytest.fixture
def run_url(db):
    run = RunFactory()
    return f"/projects/{run.project_id}/runs/{run.pk}"
