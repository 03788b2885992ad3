"""What is marked on the axis of a run's charts: checkpoints, evaluations and restarts."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _

from artifacts.kinds import ArtifactType, TagValue
from artifacts.models import Artifact
from core.times import milliseconds
from dashboard.charts.lineage import Segment
from runs.models import Run, RunEvent
from runs.models.event import EventKind

MAX_MARKS: Final = 2000  # of a run and kind
RESTARTS: Final = (EventKind.RECOVERED, EventKind.REWOUND, EventKind.REOPENED, EventKind.LOST)


def marks(segments: list[Segment]) -> list[dict[str, Any]]:
    """The marks of each run up to the step at which its successor was resumed, by time: ``kind``
    (checkpoint, evaluation, restart), ``run``, ``ms``, ``text``, and where known ``step``, ``url``.
    """
    found = [mark for segment in segments for mark in _marks_of(segment)]
    for later, earlier in pairwise(segments):
        found.append(_of_resumption(later, earlier))
    return sorted(found, key=lambda mark: mark["ms"])


def _marks_of(segment: Segment) -> list[dict[str, Any]]:
    run, until = segment.run, segment.until_step
    with_step = run.artifacts.filter(step__isnull=False)
    if until is not None:
        with_step = with_step.filter(step__lte=until)
    found = [
        *(_of_artifact(artifact, segment) for artifact in _newest(with_step.checkpoints())),
        *(
            _of_artifact(artifact, segment)
            for artifact in _newest(with_step.filter(type=ArtifactType.EVALUATION))
        ),
    ]
    if until is None:
        events = run.events.filter(kind__in=RESTARTS).order_by("-id")[:MAX_MARKS]
        found += [_of_event(event) for event in events]
    return found


def _newest(artifacts: QuerySet[Artifact]) -> QuerySet[Artifact]:
    return artifacts.prefetch_related("tags").order_by("-step")[:MAX_MARKS]


def _of_artifact(artifact: Artifact, segment: Segment) -> dict[str, Any]:
    run = segment.run
    labels = [str(TagValue(tag.value).label) for tag in artifact.tags.all()]
    return {
        "kind": str(artifact.type),
        "run": run.pk,
        "step": artifact.step,
        "ms": milliseconds(artifact.created_at),
        "text": " · ".join([str(artifact.name), *labels]),
        "url": reverse("dashboard:artifact", args=[run.project_id, run.pk, artifact.pk]),
    }


def _of_resumption(later: Segment, earlier: Segment) -> dict[str, Any]:
    run = earlier.run
    return {
        "kind": "restart",
        "run": run.pk,
        "step": earlier.until_step,
        "ms": started_ms(later.run),
        "text": _("Resumed from %(name)s") % {"name": run.name},
        "url": reverse("dashboard:run", args=[run.project_id, run.pk]),
    }


def _of_event(event: RunEvent) -> dict[str, Any]:
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
