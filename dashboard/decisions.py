"""Decisions about checkpoints, as pages make them."""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.contrib import messages
from django.utils.translation import gettext as _

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Text
from dashboard.pages import PageRequest, attempt
from registry.approval import ApprovalAsked


def is_decided(
    request: PageRequest,
    form: forms.BaseForm,
    decide: Callable[[], object],
    checkpoint: Artifact,
    value: TagValue,
) -> bool:
    """Do ``decide``, which tags ``checkpoint`` with ``value``, and tell the reader; also that
    approval was asked for instead. If it is refused, ``form`` says why."""

    def done() -> Text:
        try:
            decide()
        except ApprovalAsked as asked:
            return str(asked.message)
        return _("%(name)s is tagged %(tag)s.") % {"name": checkpoint.name, "tag": value.label}

    told = attempt(form, done)
    if told is None:
        return False
    messages.success(request, str(told))
    return True
