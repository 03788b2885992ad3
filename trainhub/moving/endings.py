"""What was going on when it was exported has ended where it comes in: no worker here has it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core.messages import Message
from registry.release_requests import RequestState
from runs.status import TERMINAL, RunStatus
from sweeps.models import SweepStatus, TrialState


def end_run(values: dict[str, Any], at: datetime) -> None:
    values.update(held_since=None, stop_kind="", stop_requested_at=None)
    if values["status"] in TERMINAL:
        return
    values.update(
        status=RunStatus.CANCELLED,
        status_reason=Message("It had not ended when its project was exported."),
        finished_at=max(at, values["started_at"] or at),
    )


def end_sweep(values: dict[str, Any], at: datetime) -> None:
    if values["status"] in {SweepStatus.RUNNING, SweepStatus.PAUSED}:
        values.update(status=SweepStatus.CANCELLED, finished_at=at)


def end_trial(values: dict[str, Any], at: datetime) -> None:
    values.update(is_stopping=False, next_step=None)
    if values["state"] == TrialState.RUNNING:
        values.update(state=TrialState.FAILED, ended_at=at)


def end_request(values: dict[str, Any], at: datetime) -> None:
    if values["state"] == RequestState.ASKED:
        values.update(state=RequestState.WITHDRAWN, decided_at=at)
