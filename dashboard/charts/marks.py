"""What is marked on the axis of a run's charts: checkpoints, evaluations and restarts."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from datetime import datetime
from functools import reduce
from itertools import pairwise
from typing import Any, Final

from django.db.models import Exists, Max, OuterRef, Q
from django.urls import reverse
from django.utils.translation import gettext as _

from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact, EvaluationResult
from core.times import milliseconds
from dashboard.charts.lineage import Segment
from runs.models import Run, RunEvent
from runs.models.event import EventKind

MAX_MARKS: Final = 2000  # of a kind
RESTARTS: Final = (EventKind.RECOVERED, EventKind.REWOUND, EventKind.REOPENED, EventKind.LOST)

Mark = dict[str, Any]


def marks(segments: list[Segment]) -> list[Mark]:
    """The marks of each run up to the step at which its successor was resumed, by time: ``kind``
    (checkpoint, evaluation, restart), ``run``, ``ms`` (None if only the step is known), ``text``,
    and where known ``step``, ``url``. As many queries for many runs as for one.
    """
    runs = {segment.run.pk: segment.run for segment in segments}
    shown = reduce(operator.or_, (_steps_of(segment) for segment in segments))
    found = [
        *_checkpoints(runs, shown),
        *_evaluations(runs, shown),
        *_evaluations_without_results(runs, shown),
        *_evaluation_runs(runs, shown),
        *_restarts(segments),
    ]
    for later, earlier in pairwise(segments):
        found.append(_of_resumption(later, earlier))
    return sorted(found, key=lambda mark: (mark["ms"] is None, mark["ms"]))


def _steps_of(segment: Segment) -> Q:
    """The rows of the run up to where its successor was resumed."""
    if segment.until_step is None:
        return Q(run=segment.run, step__isnull=False)
    return Q(run=segment.run, step__lte=segment.until_step)


def _checkpoints(runs: dict[str, Run], shown: Q) -> Iterator[Mark]:
    checkpoints = Artifact.objects.checkpoints().filter(shown)
    for artifact in checkpoints.prefetch_related("tags").order_by("-step")[:MAX_MARKS]:
        labels = [str(TagValue(tag.value).label) for tag in artifact.tags.all()]
        yield _of_artifact(artifact, runs[artifact.run_id], " · ".join(labels))


def _evaluations(runs: dict[str, Run], shown: Q) -> Iterator[Mark]:
    """A file that is rewritten has results of many steps."""
    columns = ("run_id", "artifact_id", "artifact__name", "step")
    own = EvaluationResult.objects.filter(shown, checkpoint=None)
    results = own.values_list(*columns)
    newest = results.annotate(stored_at=Max("created_at")).order_by("-step")[:MAX_MARKS]
    for run_id, artifact_id, name, step, stored_at in newest:
        yield _mark(runs[run_id], ArtifactType.EVALUATION, artifact_id, str(name), step, stored_at)


def _evaluation_runs(runs: dict[str, Run], shown: Q) -> Iterator[Mark]:
    """Runs of their own that have evaluated a checkpoint of these."""
    columns = ("run_id", "evaluated_by_id", "evaluated_by__name", "step")
    others = EvaluationResult.objects.filter(shown, checkpoint__isnull=False)
    newest = others.values_list(*columns).annotate(stored_at=Max("created_at"))
    for run_id, evaluation_id, name, step, stored_at in newest.order_by("-step")[:MAX_MARKS]:
        run = runs[run_id]
        yield {
            "kind": str(ArtifactType.EVALUATION),
            "run": run.pk,
            "step": step,
            "ms": None if stored_at is None else milliseconds(stored_at),
            "text": name,
            "url": reverse("dashboard:run", args=[run.project_id, evaluation_id]),
        }


def _evaluations_without_results(runs: dict[str, Run], shown: Q) -> Iterator[Mark]:
    has_results = Exists(EvaluationResult.objects.filter(artifact=OuterRef("pk")))
    files = Artifact.objects.filter(shown, ~has_results, type=ArtifactType.EVALUATION)
    for artifact in files.order_by("-step")[:MAX_MARKS]:
        yield _of_artifact(artifact, runs[artifact.run_id])


def _of_artifact(artifact: Artifact, run: Run, more: str = "") -> Mark:
    """At the time of its bytes: those of a file that is rewritten are of its latest step."""
    text = " · ".join(filter(None, [str(artifact.name), more]))
    return _mark(run, artifact.type, artifact.pk, text, artifact.step, artifact.updated_at)


def _mark(
    run: Run, kind: str, artifact_id: str, text: str, step: int | None, time: datetime | None
) -> Mark:
    return {
        "kind": str(kind),
        "run": run.pk,
        "step": step,
        "ms": None if time is None else milliseconds(time),
        "text": text,
        "url": reverse("dashboard:artifact", args=[run.project_id, run.pk, artifact_id]),
    }


def _restarts(segments: list[Segment]) -> Iterator[Mark]:
    """Of the run itself: events have no step, at which those of others would end."""
    runs = [segment.run for segment in segments if segment.until_step is None]
    events = RunEvent.objects.filter(run__in=runs, kind__in=RESTARTS)
    for event in events.order_by("-id")[:MAX_MARKS]:
        yield _of_event(event)


def _of_resumption(later: Segment, earlier: Segment) -> Mark:
    run = earlier.run
    return {
        "kind": "restart",
        "run": run.pk,
        "step": earlier.until_step,
        "ms": started_ms(later.run),
        "text": _("Resumed from %(name)s") % {"name": run.name},
        "url": reverse("dashboard:run", args=[run.project_id, run.pk]),
    }


def _of_event(event: RunEvent) -> Mark:
    text = _("Attempt %(number)d") % {"number": event.attempt}
    parts = [text, str(event.get_kind_display()), str(event.reason)]
    return {
        "kind": "restart",
        "run": event.run_id,
        "ms": milliseconds(event.created_at),
        "text": " · ".join(part for part in parts if part),
    }


def started_ms(run: Run) -> int:
    """From when relative times of the run count."""
    return milliseconds(run.started_at or run.created_at)
