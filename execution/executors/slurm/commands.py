"""Slurm's commands, as this process's user.

Only formats that have stayed the same since Slurm 22.05 are read: ``squeue -o``, ``scontrol -o``,
``sacct -P``. Their JSON changes with every version.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from typing import Final

from core.exceptions import DomainError
from core.messages import Message

SECONDS: Final = 30.0  # of a command; Slurm's own MessageTimeout is 10 s
# What a command says when no controller has taken its request.
_AWAY: Final = re.compile(
    r"Unable to contact slurm controller|Connection refused|Zero Bytes were transmitted"
    r"|Unable to establish (?:controller|configuration)|Slurm backup controller in standby mode",
    re.IGNORECASE,
)
# The same when a controller may have taken it.
_UNSURE: Final = re.compile(r"Socket timed out|Communication connection failure", re.IGNORECASE)


class SlurmAway(DomainError):
    """Slurm's controller does not answer."""

    status_code = 503


class SlurmUnsure(SlurmAway):
    """The same, but it may have done what it was asked."""


class SlurmRefused(DomainError):
    """Slurm has refused what it was asked. ``text``: its own words."""

    def __init__(self, text: str) -> None:
        super().__init__(Message("Slurm says: %(text)s", text=text or "–"))
        self.text = text


def slurm(command: Sequence[str], *, stdin: str = "") -> str:
    """What the command prints. Raises SlurmAway, SlurmUnsure, SlurmRefused."""
    try:
        result = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            env=_environment(),
        )
    except subprocess.TimeoutExpired:
        raise SlurmUnsure(_no_answer(command, f"{SECONDS:.0f} s")) from None
    except OSError as error:
        raise SlurmAway(_no_answer(command, str(error))) from None
    if result.returncode == 0:
        return result.stdout
    text = _last_words(result.stderr or result.stdout)
    if _UNSURE.search(text):
        raise SlurmUnsure(_no_answer(command, text))
    if _AWAY.search(text):
        raise SlurmAway(_no_answer(command, text))
    raise SlurmRefused(text)


def _no_answer(command: Sequence[str], why: str) -> Message:
    return Message(
        "Slurm does not answer (%(command)s: %(why)s). Its jobs go on.",
        command=command[0],
        why=why,
    )


def _last_words(text: str) -> str:
    """The last line of what a command says, without its name."""
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return re.sub(r"^\w+: (?:error: )?", "", last).strip()


def _environment() -> dict[str, str]:
    """Times in UTC, words in English, and no defaults of an operator's shell."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if not re.match(r"(?:SQUEUE|SACCT|SCANCEL|SBATCH|SALLOC|SRUN)_|SLURM_JOB|SLURM_STEP", name)
    }
    return {**inherited, "TZ": "UTC", "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
