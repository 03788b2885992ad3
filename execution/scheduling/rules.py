"""What an installation sets of the scheduler."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings


@dataclass(frozen=True, slots=True)
class Rules:
    """``fair_share_days``: in which the GPU time of projects counts; 0: it does not.
    ``backfills``: whether runs that delay nobody go ahead of one that waits for GPUs."""

    fair_share_days: float
    backfills: bool


def rules_of_settings() -> Rules:
    return Rules(settings.FAIR_SHARE_DAYS, settings.BACKFILL)


FIRST_IN_FIRST_OUT = Rules(fair_share_days=0.0, backfills=False)
