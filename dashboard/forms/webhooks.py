"""Form of a webhook: of a new one, and of one that is changed."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from notices.actions import OFFERED, Given
from notices.models import Event, Shape, Webhook
from notices.serializers import MAX_ADDRESS, MAX_SECRET

CHOICES = [(event, Event(event).label) for event in OFFERED]


class WebhookForm(forms.ModelForm):  # type: ignore[type-arg]
    """``secret``: that of the robot of DingTalk or Feishu; for TrainHub's JSON it is made up. When
    a webhook is changed, an empty address or secret leaves it as it is: neither is shown."""

    address = forms.CharField(
        label=_("address"),
        max_length=MAX_ADDRESS,
        help_text=_("A URL; for e-mail, addresses with commas between them."),
    )
    secret = forms.CharField(
        label=_("secret"),
        max_length=MAX_SECRET,
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off"}),
        help_text=_("Of the robot, for DingTalk and Feishu. For TrainHub's JSON it is made up."),
    )
    events = forms.MultipleChoiceField(
        label=_("events"),
        choices=CHOICES,
        widget=forms.SelectMultiple(attrs={"size": len(CHOICES)}),
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
            "enabled",
        )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        hook: Webhook = self.instance
        if hook._state.adding:
            del self.fields["enabled"]
            return
        address, secret = self.fields["address"], self.fields["secret"]
        if hook.shape == Shape.EMAIL:
            self.initial["address"] = hook.shown_address
        elif hook.shown_address:
            address.required = False
            address.help_text = _t("Empty: as before, at %(host)s.") % {"host": hook.shown_address}
        as_before = _t("Empty: as before.")
        secret.help_text = f"{secret.help_text} {as_before}"

    def given(self) -> Given:
        """Call when it is valid."""
        left_out = {"secret"} if self.instance._state.adding else {"secret", "address"}
        given: Given = {  # type: ignore[assignment]
            name: value
            for name, value in self.cleaned_data.items()
            if value or name not in left_out
        }
        return given
