"""What everybody does in the projects that the reader sees, newest first: from the events of runs,
the versions of projects, the tags of checkpoints and the registered versions of models.

A page is read from indexes, however long the history is: after the entry that the page before has
ended with (``Cursor``), at most as many rows of each source as the page holds. Of a reader who sees
few runs, the events are read by their runs; of one who sees many, by time, where theirs are soon
among the newest.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import models
from django.db.models import Max, Q, QuerySet
from django.utils.translation import gettext_lazy as _

from artifacts.models import ArtifactTag
from core.messages import Text
from core.times import EPOCH
from projects.models import Project
from projects.sight import EVERYTHING, Sight
from registry.models import ModelVersion
from runs.models import EventKind, Run, RunEvent, StopKind
from runs.models.run_queryset import DOCUMENTS
from runs.status import RunStatus

PAGE: Final = 50
MICROSECOND: Final = timedelta(microseconds=1)
LAST_ID: Final = 2**63 - 1
FEW_RUNS: Final = 5000  # whose events are read by run; each has about ten


class ActivityKind(models.TextChoices):
    CREATED = "created", _("Runs created")
    COMPLETED = "completed", _("Runs completed")
    FAILED = "failed", _("Runs failed")
    CANCELLED = "cancelled", _("Runs stopped")
    RESTARTED = "restarted", _("Runs restarted")
    CHANGED = "changed", _("Runs changed, archived, deleted, restored")
    PROJECT = "project", _("Projects created and changed")
    TAGGED = "tagged", _("Checkpoints tagged")
    REGISTERED = "registered", _("Model versions registered")


# Which events of runs are of a kind: with the status that each leads to, as the index
# runevent_by_kind has them.
EVENTS: Final[dict[ActivityKind, tuple[tuple[EventKind, str], ...]]] = {
    ActivityKind.CREATED: tuple((EventKind.CREATED, status.value) for status in RunStatus),
    ActivityKind.COMPLETED: ((EventKind.STATUS, RunStatus.COMPLETED.value),),
    ActivityKind.FAILED: (
        (EventKind.STATUS, RunStatus.FAILED.value),
        (EventKind.LOST, RunStatus.FAILED.value),
    ),
    ActivityKind.CANCELLED: (
        (EventKind.STOP_REQUESTED, ""),
        (EventKind.STATUS, RunStatus.CANCELLED.value),
    ),
    ActivityKind.RESTARTED: (
        (EventKind.RECOVERED, ""),
        (EventKind.REOPENED, RunStatus.RUNNING.value),
    ),
    ActivityKind.CHANGED: (
        (EventKind.PRIORITY_CHANGED, ""),
        (EventKind.RENAMED, ""),
        (EventKind.NOTE_CHANGED, ""),
        (EventKind.TAGS_CHANGED, ""),
        (EventKind.ARCHIVED, ""),
        (EventKind.UNARCHIVED, ""),
        (EventKind.DELETED, ""),
        (EventKind.RESTORED, ""),
    ),
}
KIND_OF_EVENT: Final = {event: kind for kind, events in EVENTS.items() for event in events}


@dataclass(frozen=True)
class Entry:
    """One thing that has happened; ``subject`` is the row that tells of it."""

    at: datetime
    kind: ActivityKind
    actor: User | None
    project: Project | None
    run: Run | None
    subject: Any  # a RunEvent, ArtifactTag, ModelVersion, or a version of a project
    note: Text = ""

    @property
    def name(self) -> str:
        """Which sentence tells it: see dashboard/templatetags/activity_pages.py."""
        if isinstance(self.subject, RunEvent):
            if self.subject.kind == EventKind.STATUS:
                return self.kind.value
            return str(self.subject.kind)
        if self.kind is ActivityKind.PROJECT:
            return "project_created" if self.subject.history_type == "+" else "project_changed"
        return self.kind.value


@dataclass(frozen=True, order=True)
class Cursor:
    """The place of an entry among all: its time, its source (an index of SOURCES), its row's ID."""

    at: datetime
    source: int
    id: int

    def __str__(self) -> str:
        return f"{(self.at - EPOCH) // MICROSECOND}-{self.source}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None if ``text`` is no cursor's."""
        parts = text.split("-")
        if len(parts) != 3 or not all(
            part.isascii() and part.isdigit() and len(part) < 19 for part in parts
        ):
            return None
        at, source, row = map(int, parts)
        try:
            return cls(EPOCH + at * MICROSECOND, source, row)
        except OverflowError:
            return None


@dataclass(frozen=True)
class ActivityFilter:
    """None and "" do not filter. ``before``: exclusive; ``since``: inclusive."""

    person: User | None = None
    project: Project | None = None
    kind: ActivityKind | None = None
    since: datetime | None = None
    before: datetime | None = None


@dataclass(frozen=True)
class Page:
    entries: list[Entry]
    older: Cursor | None  # where the next page begins; None if there is none


def activity(
    chosen: ActivityFilter | None = None,
    *,
    sight: Sight,
    after: Cursor | None = None,
    size: int = PAGE,
) -> Page:
    """A page of what is chosen, newest first, that begins after ``after``. ``chosen.project``: one
    that the reader sees."""
    chosen = chosen or ActivityFilter()
    sources = [
        _Source(number, rows, at, id_field).read(chosen, after, size + 1)
        for number, (rows, at, id_field) in enumerate(_sources(chosen, sight, size, after))
    ]
    merged = list(heapq.merge(*sources, key=lambda row: row[0], reverse=True))[: size + 1]
    shown = merged[:size]
    entries = [entry for _cursor, row in shown if (entry := _entry(row)) is not None]
    return Page(entries, shown[-1][0] if len(merged) > size else None)


@dataclass(frozen=True)
class _Source:
    number: int
    rows: QuerySet[Any] | None  # None: nothing of it is chosen
    at: str
    id: str

    def read(
        self, chosen: ActivityFilter, after: Cursor | None, limit: int
    ) -> list[tuple[Cursor, Any]]:
        if self.rows is None:
            return []
        rows = _within(self.rows, self, chosen, after).order_by(f"-{self.at}", f"-{self.id}")
        return [
            (Cursor(getattr(row, self.at), self.number, getattr(row, self.id)), row)
            for row in rows[:limit]
        ]


def _within(
    rows: QuerySet[Any], source: _Source, chosen: ActivityFilter, after: Cursor | None
) -> QuerySet[Any]:
    if chosen.since is not None:
        rows = rows.filter(**{f"{source.at}__gte": chosen.since})
    if chosen.before is not None:
        rows = rows.filter(**{f"{source.at}__lt": chosen.before})
    if after is not None:
        # The entries of one time are in the order of their cursors, the greatest first.
        if source.number == after.source:
            last = after.id - 1
        else:
            last = LAST_ID if source.number < after.source else -1
        rows = rows.filter(**{f"{source.at}__lte": after.at}).exclude(
            **{source.at: after.at, f"{source.id}__gt": last}
        )
    return rows


def _sources(
    chosen: ActivityFilter, sight: Sight, size: int, after: Cursor | None
) -> Iterator[tuple[QuerySet[Any] | None, str, str]]:
    """Of each source: its rows, and the names of its time and its ID."""
    if chosen.project is not None:
        sight = EVERYTHING  # of one project, which is visible
    yield _events(chosen, sight, size, after), "created_at", "id"
    yield _versions(chosen, sight), "history_date", "history_id"
    yield _tags(chosen, sight), "applied_at", "id"
    yield _registered(chosen, sight), "created_at", "id"


def _events(
    chosen: ActivityFilter, sight: Sight, size: int, after: Cursor | None
) -> QuerySet[RunEvent] | None:
    if chosen.kind is not None and chosen.kind not in EVENTS:
        return None
    kinds = [chosen.kind] if chosen.kind is not None else list(EVENTS)
    wanted = [event for kind in kinds for event in EVENTS[kind]]
    rows = RunEvent.objects.all()
    if chosen.person is not None:
        rows = rows.filter(actor=chosen.person)
    if chosen.project is not None:
        rows = rows.filter(run__project=chosen.project)
        # Without this, the history of everybody since would be read to find that of a project
        # where nothing has happened for long.
        last = chosen.project.runs.aggregate(at=Max("updated_at"))["at"]
        if last is None:
            return None
        rows = rows.filter(created_at__lte=last + timedelta(days=1))
    is_by_run = sight.is_limited and sight.run_count <= FEW_RUNS
    if is_by_run:
        seen = sight.narrow(Run.objects.all(), "project").values_list("pk", flat=True)
        rows = rows.filter(run__in=list(seen))
    else:
        rows = sight.narrow(rows, "run__project")
    if chosen.person is None and not is_by_run:
        # One range of the index for each, read until there are enough: together they would be
        # sorted.
        source = _Source(0, None, "created_at", "id")
        newest = [
            _within(rows.filter(kind=kind, to_status=status), source, chosen, after)
            .order_by("-created_at", "-id")
            .values("pk")[: size + 1]
            for kind, status in wanted
        ]
        found = newest[0].union(*newest[1:], all=True) if len(newest) > 1 else newest[0]
        rows = rows.filter(pk__in=[row["pk"] for row in found])
    else:
        condition = Q()
        for kind, status in wanted:
            condition |= Q(kind=kind, to_status=status)
        rows = rows.filter(condition)
    rows = rows.select_related("actor", "run__project")
    return rows.defer(*(f"run__{document}" for document in sorted(DOCUMENTS)))


def _versions(chosen: ActivityFilter, sight: Sight) -> QuerySet[Any] | None:
    if chosen.kind not in {None, ActivityKind.PROJECT}:
        return None
    rows: QuerySet[Any] = sight.narrow(Project.history.all(), "id")
    if chosen.person is not None:
        rows = rows.filter(history_user=chosen.person)
    if chosen.project is not None:
        rows = rows.filter(id=chosen.project.pk)
    return rows.filter(history_type__in=["+", "~"]).select_related("history_user")


def _tags(chosen: ActivityFilter, sight: Sight) -> QuerySet[ArtifactTag] | None:
    if chosen.kind not in {None, ActivityKind.TAGGED}:
        return None
    rows = sight.narrow(ArtifactTag.objects.all(), "artifact__run__project")
    if chosen.person is not None:
        rows = rows.filter(applied_by=chosen.person)
    if chosen.project is not None:
        rows = rows.filter(artifact__run__project=chosen.project)
    rows = rows.select_related("applied_by", "artifact__run__project")
    return rows.defer(*(f"artifact__run__{document}" for document in sorted(DOCUMENTS)))


def _registered(chosen: ActivityFilter, sight: Sight) -> QuerySet[ModelVersion] | None:
    if chosen.kind not in {None, ActivityKind.REGISTERED}:
        return None
    rows = sight.narrow(ModelVersion.objects.all(), "project")
    if chosen.person is not None:
        rows = rows.filter(created_by=chosen.person)
    if chosen.project is not None:
        rows = rows.filter(run__project=chosen.project)
    rows = rows.select_related("created_by", "model", "run__project")
    return rows.defer(*(f"run__{document}" for document in sorted(DOCUMENTS)))


def _entry(row: Any) -> Entry | None:
    """None for what another entry tells: that a run has stopped which somebody has cancelled."""
    if isinstance(row, RunEvent):
        is_end = row.kind == EventKind.STATUS
        if is_end and row.to_status == RunStatus.CANCELLED and row.run.stop_kind:
            return None
        kind = KIND_OF_EVENT[EventKind(row.kind), row.to_status]
        note = "" if row.kind in _WITHOUT_NOTE or row.reason in StopKind.values else row.reason
        return Entry(row.created_at, kind, row.actor, row.run.project, row.run, row, note)
    if isinstance(row, ArtifactTag):
        run = row.artifact.run
        kind = ActivityKind.TAGGED
        return Entry(row.applied_at, kind, row.applied_by, run.project, run, row, row.notes)
    if isinstance(row, ModelVersion):
        project = row.run.project if row.run is not None else None
        kind = ActivityKind.REGISTERED
        return Entry(row.created_at, kind, row.created_by, project, row.run, row, row.description)
    project = Project(pk=row.id, name=row.name)  # as it was called then
    return Entry(row.history_date, ActivityKind.PROJECT, row.history_user, project, None, row)


# Their reasons are the IDs of a run or of a checkpoint.
_WITHOUT_NOTE: Final = frozenset({EventKind.CREATED})
