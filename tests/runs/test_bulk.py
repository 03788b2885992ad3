"""One action on many runs."""

import pytest

from runs import bulk
from runs.models import EventKind, Run
from runs.status import RunStatus
from tests.factories import RunFactory, UserFactory, unmanaged_run

pytestmark = pytest.mark.django_db


def names(runs):
    return [run.name for run in runs]


def ended(name: str) -> Run:
    run = RunFactory(name=name)
    run.transition(RunStatus.FAILED)
    return run


def test_cancel_cancels_what_can_be_and_tells_what_is_refused():
    queued, failed = RunFactory(name="queued"), ended("failed")

    outcome = bulk.cancel([queued, failed], by=None)

    queued.refresh_from_db()
    assert queued.status == RunStatus.CANCELLED
    assert names(outcome.done) == ["queued"]
    assert [(refusal.run.name, bool(str(refusal.reason))) for refusal in outcome.refused] == [
        ("failed", True)
    ]


def test_tag_is_set_and_deleted():
    user = UserFactory()
    run = RunFactory(tags={"team": "cv"})

    bulk.tag([run], key="stage", text="draft", by=user)
    bulk.tag([run], key="team", text=None, by=user)

    run.refresh_from_db()
    assert run.tags == {"stage": "draft"}


def test_tag_with_an_invalid_name_is_refused_for_each_run():
    runs = RunFactory.create_batch(2)

    outcome = bulk.tag(runs, key="../x", text="y", by=None)

    assert (len(outcome.done), len(outcome.refused)) == (0, 2)


def test_archived_runs_can_be_listed_again():
    user = UserFactory()
    run = ended("x")

    bulk.archive([run], by=user)
    archived_at = Run.objects.get(pk=run.pk).archived_at
    bulk.unarchive([run], by=user)

    run.refresh_from_db()
    assert archived_at is not None
    assert run.archived_at is None
    events = run.events.filter(actor=user).values_list("kind", flat=True)
    assert list(events) == [EventKind.ARCHIVED, EventKind.UNARCHIVED]


def test_run_at_work_is_not_archived():
    outcome = bulk.archive([RunFactory()], by=None)

    assert len(outcome.refused) == 1


def test_archived_run_stays_in_the_lists_of_the_api():
    run = ended("x")
    run.archive(by=None)

    assert run in Run.objects.kept()


def test_deleted_runs_can_be_restored():
    run, queued = unmanaged_run(name="mine"), RunFactory(name="queued")

    deleted = bulk.delete([run, queued], by=None)
    in_trash = Run.objects.get(pk=run.pk).deleted_at
    bulk.restore([run], by=None)

    run.refresh_from_db()
    assert names(deleted.done) == ["mine"]
    assert names(refusal.run for refusal in deleted.refused) == ["queued"]
    assert in_trash is not None
    assert run.deleted_at is None
