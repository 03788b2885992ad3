"""What people ask of a webhook: the API and the pages call these.

Who may is decided by the caller: maintainers of its project, operators for those of all projects.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypedDict, Unpack

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext as _
from django.utils.translation import override

from core.exceptions import InvalidInput
from core.secrets import Unreadable
from notices.http import check_entered
from notices.models import (
    Delivery,
    Event,
    Fired,
    Shape,
    Webhook,
    new_secret,
    payload_of,
)
from notices.queries import held
from projects.models import Project

OFFERED: Final = [event.value for event in Event if event is not Event.TEST]
MAX_ADDRESSES: Final = 20  # of e-mail
MAX_WEBHOOKS: Final = 50  # of a project, and for all projects
RULE: Final = ("metric", "comparison", "threshold")
PLAIN: Final = ("name", "shape", *RULE, "enabled")
WITH_GIVEN_SECRET: Final = {Shape.DINGTALK, Shape.FEISHU}


class Given(TypedDict, total=False):
    """``secret``: that of a robot of DingTalk or Feishu; empty: it has none."""

    name: str
    shape: str
    address: str
    secret: str
    events: list[str]
    metric: str
    comparison: str
    threshold: float | None
    enabled: bool


def create_webhook(
    project: Project | None, *, by: User | None, **given: Unpack[Given]
) -> tuple[Webhook, str]:
    """For all projects, if ``project`` is None. Return it, and the secret that was made up for it,
    if any: it is shown once. Raises InvalidInput."""
    if Webhook.objects.filter(project=project).count() >= MAX_WEBHOOKS:
        raise InvalidInput(_("At most %(limit)d webhooks.") % {"limit": MAX_WEBHOOKS})
    hook = Webhook(project=project, created_by=by)
    made_up = _set(hook, given, shape_before="")
    hook.save()
    return hook, made_up


@transaction.atomic
def change_webhook(hook: Webhook, **changes: Unpack[Given]) -> tuple[Webhook, str]:
    """What waits to be delivered goes to the new address. Another rule is told anew of each run.
    Return it as it is now, and the secret that was made up for another shape, if any. Raises
    InvalidInput, Http404 if it has been deleted."""
    current = get_object_or_404(Webhook.objects.select_for_update(no_key=True), pk=hook.pk)
    rule = [getattr(current, name) for name in RULE]
    made_up = _set(current, changes, shape_before=current.shape)
    current.save()
    if [getattr(current, name) for name in RULE] != rule:
        Fired.objects.filter(webhook=current, event=Event.METRIC_BEYOND).delete()
    return current, made_up


def _set(hook: Webhook, given: Given, *, shape_before: str) -> str:
    """Does not save. Return the secret that was made up. Raises InvalidInput."""
    values: Mapping[str, Any] = given
    for name in PLAIN:
        if name in values:
            setattr(hook, name, values[name])
    if "events" in given:
        hook.events = [event.value for event in Event if event in given["events"]]
    _check_rule(hook)
    if "address" in given or hook.shape != shape_before:
        entered = given.get("address")
        address = checked_address(hook.address if entered is None else entered, Shape(hook.shape))
        if not _has_address(hook, address):
            hook.address = address
    return _set_secret(hook, given.get("secret"), is_other_shape=hook.shape != shape_before)


def _has_address(hook: Webhook, address: str) -> bool:
    """Each encryption differs: the audit would tell of a change."""
    try:
        return bool(hook.encrypted_address) and hook.address == address
    except Unreadable:
        return False


def _check_rule(hook: Webhook) -> None:
    if Event.METRIC_BEYOND not in hook.events:
        return
    for name in ("metric", "threshold"):
        if getattr(hook, name) in {None, ""}:
            raise InvalidInput(_("The event metric.beyond needs it."), attr=name)


def _set_secret(hook: Webhook, secret: str | None, *, is_other_shape: bool) -> str:
    if secret and hook.shape not in WITH_GIVEN_SECRET:
        message = _("Only robots of DingTalk and Feishu have a secret that is entered.")
        raise InvalidInput(message, attr="secret")
    if is_other_shape:
        hook.forget_secrets()
    if hook.shape == Shape.JSON and is_other_shape:
        made_up = new_secret()
        hook.set_secret(made_up)
        return made_up
    if secret is not None and hook.shape in WITH_GIVEN_SECRET:
        hook.forget_secrets()
        hook.set_secret(secret)
    return ""


def checked_address(text: str, shape: Shape) -> str:
    """Raises InvalidInput."""
    if shape is not Shape.EMAIL:
        check_entered(text)
        return text
    addresses = [part.strip() for part in text.split(",")]
    if len(addresses) > MAX_ADDRESSES:
        message = _("At most %(limit)d addresses.") % {"limit": MAX_ADDRESSES}
        raise InvalidInput(message, attr="address")
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError as error:
            raise InvalidInput(str(error.message), attr="address") from None
    return ", ".join(addresses)


@transaction.atomic
def delete_webhook(hook: Webhook) -> None:
    """With its deliveries. Raises Http404 if somebody else has."""
    get_object_or_404(Webhook.objects.select_for_update(), pk=hook.pk).delete()


@transaction.atomic
def send_test(hook: Webhook) -> Delivery:
    """Also to one that is switched off. Raises Http404 if it has been deleted."""
    if not held([hook]):
        raise Http404
    with override(settings.LANGUAGE_CODE):
        text = _("TrainHub: a test of %(name)s.") % {"name": hook.name}
    payload = payload_of(Event.TEST, text, {"webhook": {"id": hook.pk, "name": hook.name}})
    return Delivery.objects.create(webhook=hook, event=Event.TEST, payload=payload)
