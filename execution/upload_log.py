"""Says in a run's log what uploads do to its checkpoints."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from artifacts.models import Artifact
from logs import appending
from logs.lines import Line
from logs.models import LogLevel
from runs.models import Run


def log_renewal(*, artifact: Artifact, run: Run, **_signal: Any) -> None:
    """Receiver of checkpoint_renewed."""
    text = _("%(path)s was uploaded again: see checkpoint %(id)s of step %(step)d.") % {
        "path": artifact.folder or artifact.file,
        "id": artifact.pk,
        "step": artifact.step or 0,
    }
    appending.append_log(run, [Line.new(text, LogLevel.INFO, "trainhub")])
