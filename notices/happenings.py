"""What has happened becomes deliveries, in the transaction in which it happens."""

from __future__ import annotations

from typing import Any, Final, TypeGuard

from django.conf import settings
from django.db import transaction
from django.utils.translation import override

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Message, Text, in_english
from notices.models import Delivery, Event, Fired, Webhook, payload_of
from notices.queries import held
from runs.models import EventKind, FailureKind, Run, RunEvent, StopKind
from runs.status import RunStatus

ENDS: Final = {RunStatus.FAILED: Event.RUN_FAILED, RunStatus.COMPLETED: Event.RUN_COMPLETED}
TAGS: Final = {
    TagValue.RELEASED: Event.CHECKPOINT_RELEASED,
    TagValue.CANDIDATE: Event.CHECKPOINT_CANDIDATE,
}


def follow_run(*, run: Run, event: RunEvent, **_signal: Any) -> None:
    """Receiver of run_noted."""
    if event.to_status in ENDS:
        happened = ENDS[RunStatus(event.to_status)]
        tell(happened, run, reason=event.reason)
        stored = Run.objects.filter(pk=run.pk, failure_kind=FailureKind.DIVERGED)
        if happened is Event.RUN_FAILED and stored.exists():
            for hook in Webhook.objects.that_want(Event.RUN_DIVERGED, run.project_id):
                tell_once(hook, run, Event.RUN_DIVERGED, reason=event.reason)
    elif event.kind == EventKind.STOP_REQUESTED and run.stop_kind == StopKind.STALLED:
        tell(Event.RUN_STALLED, run, reason=event.reason)


def follow_tag(*, artifact: Artifact, value: TagValue, **_signal: Any) -> None:
    """Receiver of checkpoint_tagged."""
    if value in TAGS:
        checkpoint = {"id": artifact.pk, "name": in_english(artifact.name), "step": artifact.step}
        tell(TAGS[TagValue(value)], artifact.run, checkpoint=checkpoint)


def tell(event: Event, run: Run, **data: Any) -> None:
    """A delivery for each webhook that wants it."""
    with transaction.atomic(savepoint=False):
        hooks = held(Webhook.objects.that_want(event, run.project_id))
        if hooks:
            payload = run_payload(event, run, **data)
            Delivery.objects.bulk_create(
                Delivery(webhook=hook, event=event, payload=payload) for hook in hooks
            )


def tell_once(hook: Webhook, run: Run, event: Event, **data: Any) -> bool:
    """For rules that would hold again and again; return whether it was not told before."""
    with transaction.atomic(savepoint=False):
        if not held([hook]):
            return False
        _fired, is_new = Fired.objects.get_or_create(webhook=hook, run=run, event=event)
        if is_new:
            payload = run_payload(event, run, **data)
            Delivery.objects.create(webhook=hook, event=event, payload=payload)
    return is_new


def run_payload(event: Event, run: Run, **data: Any) -> dict[str, Any]:
    """Its text is for people, in the language of the server; ``data`` is for programs."""
    page = f"/dashboard/projects/{run.project_id}/runs/{run.pk}"
    url = f"{settings.PUBLIC_URL.rstrip('/')}{page}"
    with override(settings.LANGUAGE_CODE):
        about = [str(value) for value in data.values() if value and _is_text(value)]
        text = " ".join([f"{event.label}: {run.name} ({run.project.name}).", *about])
    content = {
        "project": {"id": run.project_id, "name": run.project.name},
        "run": {"id": run.pk, "name": run.name, "url": url},
        **{name: in_english(it) if _is_text(it) else it for name, it in data.items()},
    }
    return payload_of(event, f"{text}\n{url}", content)


def _is_text(value: object) -> TypeGuard[Text]:
    return isinstance(value, str | Message)
