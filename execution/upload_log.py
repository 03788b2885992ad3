"""Says in a run's log what uploads do to its checkpoints."""

from __future__ import annotations

from typing import Any

from artifacts.models import Artifact
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from runs.models import Run


def log_renewal(*, artifact: Artifact, run: Run, **_signal: Any) -> None:
    """Receiver of checkpoint_renewed."""
    path = artifact.folder or artifact.file
    text = f"{path} was uploaded again: see checkpoint {artifact.pk} of step {artifact.step or 0}."
    appending.append_log(run, [Line.new(text, LogLevel.INFO, "trainhub")])
