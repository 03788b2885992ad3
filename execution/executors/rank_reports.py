"""What launchers and shells say at their end about what was killed under them, though they exit
like any failed command themselves: MPICH, Intel MPI, srun, horovodrun, make, xargs, shells."""

from __future__ import annotations

import re
import signal
from typing import Final

LAUNCHER_LINES: Final = 60  # of the end: a report is a block of lines, for each rank in turn
SHELL_LINES: Final = 3  # a shell's report is one line, and little comes after it
_SIGNAL_BASE: Final = 128  # shells report the death by signal n as the exit code 128 + n
_ENDED_BY: Final = {
    "Killed": signal.SIGKILL,
    "Out Of Memory": signal.SIGKILL,
    "Terminated": signal.SIGTERM,
    "Segmentation fault": signal.SIGSEGV,
    "Bus error": signal.SIGBUS,
    "Aborted": signal.SIGABRT,
}
_NAMES: Final = "|".join(_ENDED_BY)
_CORE: Final = r"(?: \(core dumped\))?"
_LAUNCHER: Final = re.compile(
    "|".join(
        (
            r"(?:YOUR )?APPLICATION TERMINATED WITH THE EXIT STRING: .*\(signal (?P<mpich>\d+)\)$",
            r"=\s+KILLED BY SIGNAL: (?P<intel>\d+)\b",
            rf"srun: error: \S+: tasks? [\d,\-]+: (?P<srun>{_NAMES}){_CORE}$",
            r"srun: error: \S+: tasks? [\d,\-]+: Exited with exit code (?P<task>\d+)$",
            r"Process \S+ exit with status code (?P<horovod>\d+)\.$",
            r"Exit code:\s+(?P<first>\d+)$",  # horovodrun's summary
            r"(?:\[\S+\] ?)*MPI process \(rank: \d+, pid: \d+\) "
            r"terminated with signal (?P<mvapich>\d+)",
            r"g?make(?:\[\d+\])?: \*\*\* \[.+\] Error (?P<make>\d+)$",
            r"xargs: .+: terminated by signal (?P<xargs>\d+)$",
        )
    )
)
_SHELL: Final = re.compile(
    rf"(?:\S+: line \d+:|(?:\S*/)?(?:ba|da|k|a|z)?sh:)\s+\d+ (?P<job>{_NAMES})\b"  # bash
    rf"|(?P<alone>Killed|Segmentation fault|Bus error){_CORE}$"  # dash
)
# How the launcher has ended it, or that it exited with this code.
_BY_SIGNAL: Final = frozenset({"mpich", "intel", "mvapich", "xargs"})


def signal_at_end(lines: list[str], *, has_own_error: bool) -> int | None:
    """The signal that ended a process under a launcher or a shell, by the end of what they have
    printed; None if they say nothing of the kind. Of several reports the first counts: the others
    are about what the launcher has ended itself.

    ``has_own_error``: the processes have told of another failure. Intel MPI kills those that have
    failed as well, and says so.
    """
    told = [line.strip() for line in lines if line.strip()]
    for line in told[-LAUNCHER_LINES:]:
        match = _LAUNCHER.match(line)
        if match is not None and not (match.lastgroup == "intel" and has_own_error):
            return _signal_of(match)
    shells = (_SHELL.match(line) for line in told[-SHELL_LINES:])
    return next((_signal_of(match) for match in shells if match is not None), None)


def is_report(line: str) -> bool:
    """Whether a shell tells with ``line`` that something was ended by a signal."""
    return _SHELL.match(line) is not None


def _signal_of(match: re.Match[str]) -> int | None:
    text = match[match.lastgroup or 0]
    if text in _ENDED_BY:
        return _ENDED_BY[text]
    number = int(text)
    if match.lastgroup in _BY_SIGNAL:
        return number
    number -= _SIGNAL_BASE
    return number if number in {item.value for item in signal.Signals} else None
