"""Forms of the workers page: priorities and GPU pools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms
from django.utils.translation import gettext_lazy as _

from runs.models import MAX_CAPACITY, MAX_PRIORITY, MIN_PRIORITY, GpuPool

if TYPE_CHECKING:
    PoolModelForm = forms.ModelForm[GpuPool]  # generic only for type checkers
else:
    PoolModelForm = forms.ModelForm


class PriorityForm(forms.Form):
    priority = forms.IntegerField(
        label=_("priority"), min_value=MIN_PRIORITY, max_value=MAX_PRIORITY
    )


class PoolForm(PoolModelForm):
    """A new pool."""

    class Meta:
        model = GpuPool
        fields = ("gpu_type", "capacity")


class CapacityForm(forms.Form):
    capacity = forms.IntegerField(label=_("GPUs"), min_value=0, max_value=MAX_CAPACITY)
