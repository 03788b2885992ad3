"""What people ask of a webhook."""

from __future__ import annotations

from notices.models import Delivery, Event, Webhook, payload_of


def send_test(hook: Webhook) -> Delivery:
    """Also to one that is switched off."""
    text = f"TrainHub: a test of {hook.name}."
    payload = payload_of(Event.TEST, text, {"webhook": {"id": hook.pk, "name": hook.name}})
    return Delivery.objects.create(webhook=hook, event=Event.TEST, payload=payload)
