"""Workers send what waits: each delivery by one of them at a time, at least once.

A delivery is taken for a while, longer than an attempt can take: nothing is locked meanwhile, and
that of a worker which dies is taken by another one, with the same ``webhook-id``. Meanwhile nothing
else is sent to its webhook: a receiver that is slow holds one thread, not all of them.
"""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Final

import orjson
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import models, transaction
from django.utils import timezone

from core.exceptions import DomainError
from core.text import storable
from notices.http import MAX_ANSWER, Answer, Failed, post
from notices.models import Delivery, DeliveryStatus, Shape, Webhook
from notices.shapes import message

TAKEN_FOR: Final = timedelta(minutes=2)
# Between attempts: 8 in about a day.
PAUSES: Final = tuple(
    timedelta(seconds=seconds) for seconds in (10, 60, 300, 1800, 7200, 21_600, 54_000)
)
KEPT_FOR: Final = timedelta(days=30)
PRUNED: Final = 1_000
PER_PASS: Final = 20


def send_due() -> int:
    """Send what is due, up to a number; return how many attempts were made."""
    for sent in range(PER_PASS):
        delivery = _take()
        if delivery is None:
            return sent
        attempt(delivery)
    return PER_PASS


def _take() -> Delivery | None:
    now = timezone.now()
    busy = Delivery.objects.filter(taken_until__gt=now).values("webhook")
    with transaction.atomic():
        due = _due().filter(attempts__lte=len(PAUSES)).exclude(webhook__in=busy)
        delivery = (
            due.select_related("webhook")
            .order_by("next_attempt_at")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if delivery is not None:
            delivery.attempts += 1
            delivery.taken_until = delivery.next_attempt_at = now + TAKEN_FOR
            delivery.save(update_fields=["attempts", "next_attempt_at", "taken_until"])
    return delivery


def _due() -> models.QuerySet[Delivery]:
    waiting = Delivery.objects.filter(status=DeliveryStatus.WAITING)
    return waiting.filter(next_attempt_at__lte=timezone.now())


def attempt(delivery: Delivery) -> None:
    """Outside of a transaction: the receiver may take its time."""
    hook = delivery.webhook
    try:
        answer = _mail(hook, delivery) if hook.shape == Shape.EMAIL else _post(hook, delivery)
    except (Failed, DomainError, OSError) as error:
        _note(delivery, None, storable(str(error)))
    else:
        _note(delivery, answer, answer.text)


def _post(hook: Webhook, delivery: Delivery) -> Answer:
    made = message(
        Shape(hook.shape),
        hook.address,
        delivery.payload,
        delivery_id=delivery.pk,
        secrets=hook.secrets,
        seconds=time.time(),
    )
    return post(made.url, made.body, made.headers)


def _mail(hook: Webhook, delivery: Delivery) -> Answer:
    if not settings.EMAIL_CONFIGURED:
        raise Failed("There is no mail server: TRAINHUB_EMAIL_URL is not set.")
    text: str = delivery.payload["text"]
    subject = " ".join(text.split("\n")[0].split())
    headers = {"Message-ID": f"<{delivery.pk}@trainhub>"}  # the same in every attempt
    mail = EmailMessage(subject, text, to=hook.address.split(", "), headers=headers)
    mail.send()
    return Answer(250, "")


def _note(delivery: Delivery, answer: Answer | None, text: str) -> None:
    """Nothing if its webhook has been deleted meanwhile."""
    status, pause = DeliveryStatus.WAITING, timedelta()
    if answer is not None and answer.is_success and not _refuses(delivery, text):
        status = DeliveryStatus.DELIVERED
    elif delivery.attempts > len(PAUSES):
        status = DeliveryStatus.DEAD
    else:
        pause = PAUSES[delivery.attempts - 1] * random.uniform(1.0, 1.1)  # nosec B311
    Delivery.objects.filter(pk=delivery.pk).update(
        status=status,
        attempted_at=timezone.now(),
        next_attempt_at=timezone.now() + pause,
        taken_until=None,
        response_code=None if answer is None else answer.status,
        response=text[:MAX_ANSWER],
    )


def _refuses(delivery: Delivery, text: str) -> bool:
    """DingTalk, Feishu and WeCom answer 200 to what they refuse, with a code in the body."""
    if delivery.webhook.shape not in {Shape.DINGTALK, Shape.FEISHU, Shape.WECOM}:
        return False
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    if not isinstance(content, dict):
        return False
    return bool(content.get("errcode") or content.get("code"))


def prune() -> int:
    """Delete a batch of old deliveries, and give those up whose last attempt ended with its
    worker."""
    _due().filter(attempts__gt=len(PAUSES)).update(status=DeliveryStatus.DEAD)
    old = Delivery.objects.filter(created_at__lt=timezone.now() - KEPT_FOR)
    old = old.exclude(status=DeliveryStatus.WAITING)
    pks = list(old.order_by("created_at").values_list("pk", flat=True)[:PRUNED])
    return Delivery.objects.filter(pk__in=pks).delete()[0] if pks else 0
