"""Forms of the workers page: priorities and GPU pools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.utils.translation import gettext_lazy as _

from runs.models import MAX_CAPACITY, MAX_PRIORITY, MIN_PRIORITY, GpuPool
from runs.models.pool import MAX_NAME

if TYPE_CHECKING:
    PoolModelForm = forms.ModelForm[GpuPool]  # generic only for type checkers
else:
    PoolModelForm = forms.ModelForm


class PriorityForm(forms.Form):
    priority = forms.IntegerField(
        label=_("priority"), min_value=MIN_PRIORITY, max_value=MAX_PRIORITY
    )


class PoolForm(PoolModelForm):
    """A new pool. Its name is that of the type, where there are several with the executor's."""

    class Meta:
        model = GpuPool
        fields = ("gpu_type", "capacity", "executor", "reserve")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reserve"].required = False

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        gpu_type = cleaned.get("gpu_type", "")
        executor = cleaned.get("executor", "")
        cleaned["reserve"] = cleaned.get("reserve") or 0
        name = gpu_type
        if GpuPool.objects.filter(pk=name).exists():
            name = f"{gpu_type} {executor}".strip()[:MAX_NAME]
            if GpuPool.objects.filter(pk=name).exists():
                self.add_error("gpu_type", _("There is a pool of this type already."))
        self.instance.name = name
        return cleaned


class CapacityForm(forms.Form):
    capacity = forms.IntegerField(label=_("GPUs"), min_value=0, max_value=MAX_CAPACITY)
