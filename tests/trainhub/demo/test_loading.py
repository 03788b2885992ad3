"""What is in the demo data."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from artifacts.kinds import TagValue
from artifacts.models import Artifact, ArtifactTag
from logs.models import LogLevel, LogLine
from metrics.models import MetricPoint
from runs.models import FailureKind, Run
from runs.status import RunStatus
from tests.conftest import empty_database
from trainhub.demo.loading import IDS, load
from trainhub.demo.pretraining import SPIKE_AT

# One process: loading the data takes longer than all of the tests.
pytestmark = [pytest.mark.django_db(serialized_rollback=True), pytest.mark.xdist_group("demo")]


@pytest.fixture(scope="module", autouse=True)
def loaded(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Loaded once for all tests of this module."""
    files = {
        "BACKEND": "artifacts.storage.DurableFileSystemStorage",
        "OPTIONS": {"location": str(tmp_path_factory.mktemp("artifacts"))},
    }
    with (
        django_db_blocker.unblock(),
        override_settings(STORAGES={**settings.STORAGES, "artifacts": files}),
    ):
        load()
        yield
        empty_database()


def test_sweep_has_forty_ended_runs_with_an_evaluation_or_a_reason():
    sweep = Run.objects.filter(project=IDS["tuning"], hyperparameters__max_steps=1200)
    ended = sweep.filter(hyperparameters__batch_size__lte=128).exclude(recipe=None)
    ended = ended.exclude(hyperparameters__learning_rate=2e-4)

    assert ended.count() == 40
    assert all(run.metrics.get("eval_loss") or run.failure_kind for run in ended)


def test_best_run_of_the_sweep_is_released_with_notes():
    completed = Run.objects.filter(project=IDS["tuning"], status=RunStatus.COMPLETED)
    best = min(completed, key=lambda run: run.metrics["eval_loss"])

    tag = ArtifactTag.objects.get(artifact__run=best)
    assert tag.value == TagValue.RELEASED
    assert tag.notes
    assert tag.applied_by is not None


def test_five_runs_of_different_kinds_failed_in_the_last_24_hours():
    since = timezone.now() - timedelta(hours=24)
    failed = Run.objects.filter(status=RunStatus.FAILED, finished_at__gte=since)

    assert set(failed.values_list("failure_kind", flat=True)) == {
        FailureKind.DIVERGED,
        FailureKind.DISK_FULL,
        FailureKind.OUT_OF_MEMORY,
        FailureKind.WORKER_LOST,
        FailureKind.COMMUNICATION,
    }
    assert all(str(run.status_reason) and run.log_count for run in failed)


def test_resumed_run_continues_where_its_parent_was():
    last = Run.objects.get(name="base-1.3b-anneal")
    middle = Artifact.objects.get(pk=last.resumed_from_id)
    first = Artifact.objects.get(pk=middle.run.resumed_from_id)

    assert (middle.run.name, middle.step) == ("base-1.3b-lower-lr", last.start_step)
    assert (first.run.name, first.step) == ("base-1.3b", middle.run.start_step)
    steps = MetricPoint.objects.filter(series__run=last, series__key="train/loss")
    assert steps.order_by("step").values_list("step", flat=True)[0] > last.start_step


def test_spike_has_warnings_in_the_log_at_its_time():
    run = Run.objects.get(name="base-1.3b-lower-lr")
    highest = MetricPoint.objects.filter(series__run=run, series__key="train/grad_norm")
    spike = highest.order_by("-value").first()
    assert spike is not None

    lines = LogLine.objects.filter(run=run, level=LogLevel.WARNING)
    assert spike.step == SPIKE_AT
    times = {int(line.timestamp.timestamp()) for line in lines}
    assert times == {spike.timestamp_ms // 1000}


def test_no_time_is_in_the_future():
    now = timezone.now()
    runs = Run.objects.filter(project__in=IDS.values())

    times = runs.values_list("created_at", "started_at", "finished_at", "reported_at")
    assert not [at for row in times for at in row if at is not None and at > now]
    assert all(
        run.created_at <= run.started_at <= (run.finished_at or now)
        for run in runs.exclude(started_at=None)
    )


def test_loading_it_again_changes_nothing():
    before = Run.objects.count()

    assert not load().is_new
    assert Run.objects.count() == before
