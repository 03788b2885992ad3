"""The parts of a run's life: every microsecond from queued to over belongs to exactly one."""

from __future__ import annotations

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class Part(models.TextChoices):
    """In the order in which they are shown; goodput/account.py defines each."""

    TRAINING = "training", _("Training")
    REPEATED = "repeated", _("Repeated or thrown away")
    SAVING = "saving", _("Saving")
    EVALUATING = "evaluating", _("Evaluating")
    STARTING = "starting", _("Starting")
    STALLED = "stalled", _("Stalled")
    STOPPING = "stopping", _("Stopping")
    DOWN = "down", _("Down")
    WAITING = "waiting", _("Waiting")


# While it waits or is down, a run holds no GPUs.
HELD: Final = tuple(part for part in Part if part not in {Part.DOWN, Part.WAITING})
