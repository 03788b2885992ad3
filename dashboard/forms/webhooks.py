"""Form of a webhook."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from core.exceptions import InvalidInput
from notices.http import check_url
from notices.models import Event, Shape, Webhook, new_secret
from projects.models import Project

OFFERED = [(event.value, event.label) for event in Event if event is not Event.TEST]
MAX_ADDRESSES = 20


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    """``secret``: that of the robot of DingTalk or Feishu; for TrainHub's JSON it is made up."""

    address = forms.CharField(
        label=_("address"),
        max_length=2000,
        help_text=_("A URL; for e-mail, addresses with commas between them."),
    )
    secret = forms.CharField(
        label=_("secret"),
        max_length=200,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Of the robot, for DingTalk and Feishu. For TrainHub's JSON it is made up."),
    )
    events = forms.MultipleChoiceField(
        label=_("events"),
        choices=OFFERED,
        widget=forms.SelectMultiple(attrs={"size": len(OFFERED)}),
    )

    class Meta:
        model = Webhook
        fields = (
            "name",
            "shape",
            "address",
            "secret",
            "events",
            "metric",
            "comparison",
            "threshold",
        )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        address, shape = cleaned.get("address"), cleaned.get("shape")
        if address and shape:
            try:
                cleaned["address"] = _checked_address(address, Shape(shape))
            except (InvalidInput, ValidationError) as error:
                self.add_error("address", str(getattr(error, "message", error)))
        if Event.METRIC_BEYOND in cleaned.get("events", []):
            for name in ("metric", "threshold"):
                if cleaned.get(name) in {None, ""}:
                    self.add_error(name, _t("This event needs it."))
        return cleaned

    def create(self, project: Project, *, by: User) -> tuple[Webhook, str]:
        """The webhook, and the secret that was made up for it, which is shown once."""
        hook: Webhook = self.save(commit=False)
        hook.project, hook.created_by = project, by
        hook.address = self.cleaned_data["address"]
        made_up = new_secret() if hook.shape == Shape.JSON else ""
        if hook.shape in {Shape.JSON, Shape.DINGTALK, Shape.FEISHU}:
            hook.set_secret(made_up or self.cleaned_data["secret"])
        hook.save()
        return hook, made_up


def _checked_address(text: str, shape: Shape) -> str:
    """Raises InvalidInput, ValidationError."""
    if shape is not Shape.EMAIL:
        check_url(text)
        return text
    addresses = [part.strip() for part in text.split(",")]
    if len(addresses) > MAX_ADDRESSES:
        raise ValidationError(_t("At most %(limit)d addresses.") % {"limit": MAX_ADDRESSES})
    for address in addresses:
        validate_email(address)
    return ", ".join(addresses)
