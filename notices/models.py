"""Webhooks, what was to be delivered to them, and which rules have fired."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from django.contrib.auth.models import User
from django.contrib.postgres.fields import ArrayField
from django.db import models, transaction
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.grants import AnyUser
from accounts.permissions import script_run_of, sees_everything
from accounts.roles import Role
from core.exceptions import DomainError
from core.ids import PublicIdField
from core.json_field import JSONField
from core.secrets import Unreadable, decrypt, encrypt
from core.text import MAX_KEY_LENGTH
from notices.access import operates_webhooks
from projects.models import Project
from runs.models import Run

SECRET_PREFIX: Final = "whsec_"  # noqa: S105  # of Standard Webhooks
MAX_NAME: Final = 100
SECRET_BYTES: Final = 32
OVERLAP: Final = timedelta(days=1)  # in which the secret before signs, too


class Event(models.TextChoices):
    RUN_FAILED = "run.failed", _("A run has failed")
    RUN_COMPLETED = "run.completed", _("A run has completed")
    RUN_STALLED = "run.stalled", _("A run has stalled")
    RUN_DIVERGED = "run.diverged", _("A run diverges: its loss is not finite")
    CHECKPOINT_RELEASED = "checkpoint.released", _("A checkpoint is released")
    CHECKPOINT_CANDIDATE = "checkpoint.candidate", _("A checkpoint becomes a candidate")
    METRIC_BEYOND = "metric.beyond", _("A metric is beyond the threshold")
    TEST = "test", _("A test")


class Shape(models.TextChoices):
    """As whom the receiver wants it."""

    JSON = "json", _("TrainHub's JSON")
    SLACK = "slack", "Slack"
    DINGTALK = "dingtalk", _("DingTalk")
    FEISHU = "feishu", _("Feishu, Lark")
    WECOM = "wecom", _("WeCom")
    EMAIL = "email", _("E-mail")


class Comparison(models.TextChoices):
    ABOVE = "above", _("above")
    BELOW = "below", _("below")


class WebhookQuerySet(models.QuerySet["Webhook"]):
    def visible_to(self, user: AnyUser) -> WebhookQuerySet:
        """Of projects that ``user`` maintains, and to operators those for all projects."""
        if script_run_of(user):
            return self.none()
        if sees_everything(user, role=Role.MAINTAINER):
            found = models.Q(project__isnull=False)
        else:
            projects = Project.objects.visible_to(user, role=Role.MAINTAINER)
            found = models.Q(project__in=projects)
        if operates_webhooks(user):
            found |= models.Q(project=None)
        return self.filter(found)

    def that_want(self, event: Event, project_id: str) -> WebhookQuerySet:
        of_project = models.Q(project=project_id) | models.Q(project=None)
        return self.filter(of_project, enabled=True, events__contains=[event.value])


class NoSecretToRotate(DomainError):
    """The receiver has made the secret, if there is one: enter its new one."""

    code = "no_secret_to_rotate"


class Webhook(models.Model):
    """Of a project, or for all projects if it has none. ``address`` is a URL, or e-mail addresses;
    encrypted, since the URLs of chats are secrets. ``secret``: with which what is sent is signed;
    empty for shapes that sign nothing."""

    id = PublicIdField(prefix="hook")
    project = models.ForeignKey(
        Project, models.CASCADE, null=True, blank=True, related_name="webhooks"
    )
    name = models.CharField(_("name"), max_length=MAX_NAME)
    shape = models.CharField(_("shape"), max_length=16, choices=Shape, default=Shape.JSON)
    encrypted_address = models.TextField(editable=False)
    encrypted_secret = models.TextField(editable=False, blank=True)
    earlier_secret = models.TextField(editable=False, blank=True)  # encrypted
    rotated_at = models.DateTimeField(null=True, editable=False)
    events = ArrayField(models.CharField(max_length=32, choices=Event), verbose_name=_("events"))
    metric = models.CharField(_("metric"), max_length=MAX_KEY_LENGTH, blank=True)
    comparison = models.CharField(
        _("comparison"), max_length=8, choices=Comparison, default=Comparison.ABOVE
    )
    threshold = models.FloatField(_("threshold"), null=True, blank=True)
    enabled = models.BooleanField(_("enabled"), default=True)
    created_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = WebhookQuerySet.as_manager()

    class Meta:
        verbose_name = _("webhook")
        verbose_name_plural = _("webhooks")
        ordering = ("name", "id")

    def __str__(self) -> str:
        return self.name

    @property
    def event_names(self) -> list[str]:
        """What it is told of, in the reader's language."""
        return [str(Event(event).label) for event in self.events]

    @property
    def address(self) -> str:
        return decrypt(self.encrypted_address)

    @address.setter
    def address(self, text: str) -> None:
        self.encrypted_address = encrypt(text)

    @property
    def shown_address(self) -> str:
        """Without what makes it a secret: the host, or the addresses of e-mail. Empty if SECRET_KEY
        has changed: it can be listed, deleted, and given its address again."""
        try:
            address = self.address
        except Unreadable:
            return ""
        return address if self.shape == Shape.EMAIL else urlsplit(address).hostname or ""

    @property
    def secrets(self) -> list[str]:
        """With which to sign: also the one before, for a day."""
        found = [decrypt(self.encrypted_secret)] if self.encrypted_secret else []
        if self.overlap_ends_at is not None:
            found.append(decrypt(self.earlier_secret))
        return found

    @property
    def is_signed(self) -> bool:
        return bool(self.encrypted_secret)

    @property
    def overlap_ends_at(self) -> datetime | None:
        """Until when the secret before signs, too; None if it does not, or no longer."""
        if not self.earlier_secret or self.rotated_at is None:
            return None
        ends = self.rotated_at + OVERLAP
        return ends if timezone.now() < ends else None

    def set_secret(self, secret: str) -> None:
        """Does not save."""
        if self.encrypted_secret:
            self.earlier_secret, self.rotated_at = self.encrypted_secret, timezone.now()
        self.encrypted_secret = encrypt(secret) if secret else ""

    def forget_secrets(self) -> None:
        """Does not save."""
        self.encrypted_secret = self.earlier_secret = ""
        self.rotated_at = None

    def rotate(self) -> str:
        """Sign with a new secret, and for a day with the one before, too. Return the new one.
        Raises NoSecretToRotate, Http404 if it has been deleted."""
        if self.shape != Shape.JSON:
            raise NoSecretToRotate(
                _("Only the secret of TrainHub's JSON is made up here. Enter that of the robot.")
            )
        secret = new_secret()
        with transaction.atomic():
            current = get_object_or_404(Webhook.objects.select_for_update(no_key=True), pk=self.pk)
            current.set_secret(secret)
            current.save(update_fields=["encrypted_secret", "earlier_secret", "rotated_at"])
        self.refresh_from_db()
        return secret

    def is_beyond(self, value: float) -> bool:
        if self.threshold is None:
            return False
        if self.comparison == Comparison.BELOW:
            return value < self.threshold
        return value > self.threshold


def new_secret() -> str:
    return SECRET_PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()


class DeliveryStatus(models.TextChoices):
    WAITING = "waiting", _("waiting")
    DELIVERED = "delivered", _("delivered")
    DEAD = "dead", _("given up")


class Delivery(models.Model):
    """Something that has happened, for one webhook. Its id is that of all attempts."""

    id = PublicIdField(prefix="msg")
    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="deliveries")
    event = models.CharField(_("event"), max_length=32, choices=Event)
    payload = JSONField(_("payload"))
    status = models.CharField(
        _("status"), max_length=16, choices=DeliveryStatus, default=DeliveryStatus.WAITING
    )
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    next_attempt_at = models.DateTimeField(_("next attempt"), default=timezone.now)
    # While a worker sends it; that of one which has died is taken again then.
    taken_until = models.DateTimeField(null=True, editable=False)
    attempted_at = models.DateTimeField(_("last attempt"), null=True)
    response_code = models.PositiveSmallIntegerField(_("answer"), null=True)
    response = models.TextField(_("what it said"), blank=True)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        ordering: ClassVar = ("-created_at", "-id")
        indexes = (
            models.Index(
                fields=["next_attempt_at"],
                name="delivery_due",
                condition=models.Q(status=DeliveryStatus.WAITING),
            ),
            models.Index(fields=["webhook", "-created_at", "-id"], name="delivery_newest_first"),
            models.Index(fields=["created_at"], name="delivery_by_age"),
            # Which webhooks a worker sends to.
            models.Index(
                fields=["webhook"],
                name="delivery_taken",
                condition=models.Q(taken_until__isnull=False),
            ),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.pk}"

    def send_again(self) -> None:
        """At once, with as many attempts as a new one."""
        Delivery.objects.filter(pk=self.pk).update(
            status=DeliveryStatus.WAITING, attempts=0, next_attempt_at=timezone.now()
        )
        self.refresh_from_db()


class Fired(models.Model):
    """That a webhook's rule about a run at work has been told: once for each run."""

    webhook = models.ForeignKey(Webhook, models.CASCADE, related_name="+")
    run = models.ForeignKey(Run, models.CASCADE, related_name="+")
    event = models.CharField(max_length=32, choices=Event)

    class Meta:
        constraints = (
            models.UniqueConstraint(name="fired_once", fields=["webhook", "run", "event"]),
        )

    def __str__(self) -> str:
        return f"{self.event} {self.run_id}"


def payload_of(event: Event, text: str, data: dict[str, Any]) -> dict[str, Any]:
    """As Standard Webhooks asks for: type, timestamp and data."""
    now = timezone.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"type": event.value, "timestamp": now, "text": text, "data": data}
