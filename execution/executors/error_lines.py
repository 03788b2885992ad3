"""Finds the lines of a process's output that name errors.

Lines are without the prefixes of ranks and without escape sequences.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from execution.executors.log_text import level_of
from logs.models import LogLevel
from runs.models import FailureKind

# --- what errors say -------------------------------------------------------------------------

_KINDS: Final[tuple[tuple[FailureKind, re.Pattern[str]], ...]] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE | re.VERBOSE))
    for kind, pattern in (
        (
            FailureKind.OUT_OF_MEMORY,
            r"out \s of \s memory | OutOfMemory | \bMemoryError\b | oom[-_ ]?kill | std::bad_alloc"
            r"| cannot \s allocate \s memory | RESOURCE_EXHAUSTED | ALLOC_FAILED"
            r"| not \s enough \s memory | unable \s to \s allocate",
        ),
        (
            FailureKind.DISK_FULL,
            r"no \s space \s left | disk \s quota \s exceeded | \bENOSPC\b"
            r"| \[Errno \s (?:28|122)\]",
        ),
        (
            FailureKind.DIVERGED,
            r"FloatingPointError | \bdiverged\b"
            r"| loss .{0,40} \b(?:nan|inf|infinite|not \s finite)\b"
            r"| \b(?:nan|inf|infinite|non-finite)\b .{0,40} \b(?:loss|grad\w*)\b",
        ),
        (
            FailureKind.IMPORT_ERROR,
            r"^(?:ModuleNotFoundError|ImportError)\b | cannot \s open \s shared \s object",
        ),
        (
            FailureKind.COMMUNICATION,
            r"\bnccl | Dist(?:Backend|Network|Store)Error | Watchdog \s caught | \bgloo\b"
            r"| Rendezvous\w*Error | Connection \s (?:reset|refused|closed) | Connection\w+Error"
            r"| collective \s operation \s time",
        ),
    )
)

_HEADER: Final = "Traceback (most recent call last):"
_AFTER_FRAMES: Final = re.compile(r"[A-Za-z_][\w.<>]*(?:: .*|:)?$")
# An exception's name ends like this, if no traceback before it tells that it is one.
_EXCEPTION: Final = re.compile(
    r"(?P<name>(?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*"
    r"(?:Error|Exception|Interrupt|Exit|Failure|Timeout|Expired|OutOfMemory))(?:: .*|:)?$"
)
# … of C++, of argparse and other programs, of the kernel by way of a shell.
_OTHER_ERROR: Final = re.compile(
    r"\s*what\(\):\s+(?P<what>.+)$"
    r"|(?:\S+\.py: error: ).+$"
    r"|.*\bline \d+:\s+\d+ (?:Killed|Segmentation fault|Bus error|Aborted)\b.*$"
    r"|.*(?:oom[-_]kill|No space left on device|Disk quota exceeded).*$"
    r"|(?:Killed|Segmentation fault|Bus error|Aborted)(?: \(core dumped\))?$",
    re.IGNORECASE,
)
# What launchers say about the failure of what they launched, which is no cause.
LAUNCHERS: Final = re.compile(
    r"ChildFailedError|CalledProcessError|ProcessRaisedException|ProcessExitedException"
    r"|failed \(exitcode|Sending process \d+ closing signal|exits with return code"
)
CHAINED: Final = re.compile(
    r"During handling of the above exception|direct cause of the following exception"
)

# These announce a traceback of something next to the training, often while it ends. Python,
# threading, atexit, asyncio, logging.
_ASIDE: Final = re.compile(
    r"Exception ignored\b|Exception in thread\b|Error in (?:atexit|sys\.excepthook)\b"
    r"|Task exception was never retrieved|Exception in callback\b|--- Logging error ---"
)
# What a dying process, its C++ libraries and its launcher print, besides errors.
_LAST_WORDS: Final = re.compile(
    r"""
    Exception \s raised \s from | frame \s \#\d | \#\d+ \s | terminate \s called | \*\*\* | PC: \s @
    | (?:Current \s thread | Thread) \s 0x | Extension \s modules: | \[[\w.-]+:\d+\]
    | Fatal \s Python \s error | (?: .*\s)? (?:Killed|Segmentation \s fault|Bus \s error|Aborted)\b
    | CUDA \s kernel \s errors | For \s debugging \s consider | Compile \s with | Last \s error:
    | \S+ \s FAILED $ | Failures:$ | \[\d+\]:$ | Root \s Cause | <NO_OTHER_FAILURES>   # torchrun
    | .* sigkill_handler                                                    # DeepSpeed
    | srun: \s | slurmstepd: \s | =\s | =+$ | g?make(?:\[\d+\])?: \s \*\*\* | xargs: \s
    | Primary \s job | a \s non-zero \s exit \s code | mpirun \s noticed | .*MPI_ABORT      # mpirun
    """,
    re.VERBOSE,
)
_BAR: Final = re.compile(r"\s*\d+%\|")  # the only indented line that is no part of another


@dataclass(frozen=True)
class ErrorLine:
    """``is_aside``: it is of something next to the training."""

    number: int
    text: str
    is_aside: bool = False

    @property
    def kind(self) -> FailureKind | None:
        return kind_of(self.text)


def kind_of(error: str) -> FailureKind | None:
    """The kind of failure that an error's text names."""
    return next((kind for kind, pattern in _KINDS if pattern.search(error)), None)


def errors_in(lines: Sequence[str]) -> list[ErrorLine]:
    """The lines that name an error, without those of launchers; those of something next to the
    training only if there are no others."""
    named = _named_errors(lines)
    if named:
        return [error for error in named if not error.is_aside] or named
    return [
        ErrorLine(number, line.strip())
        for number, line in enumerate(lines)
        if _is_serious(line) and not LAUNCHERS.search(line)
    ]


def _named_errors(lines: Sequence[str]) -> list[ErrorLine]:
    named = []
    in_traceback = is_aside = is_told = False  # is_told: what was announced has been named
    for number, line in enumerate(lines):
        is_header = line.startswith(_HEADER)
        is_exception = in_traceback and _AFTER_FRAMES.match(line) and not LAUNCHERS.search(line)
        text = line.strip() if is_exception else _named_error(line)
        if _ASIDE.match(line):
            is_aside, is_told, text = True, False, ""
        elif CHAINED.search(line):
            is_told = False
        elif is_told and (is_header or not line[:1].isspace()) and line:
            is_aside = is_told = False
        if text:
            named.append(ErrorLine(number, text, is_aside))
            is_told = is_aside
        in_traceback = is_header or (in_traceback and line[:1].isspace())
    return named


def _named_error(line: str) -> str:
    if LAUNCHERS.search(line):
        return ""
    if _EXCEPTION.match(line):
        return line.strip()
    other = _OTHER_ERROR.match(line)
    if other is not None:
        return (other["what"] or line).strip()
    return line.strip() if _is_serious(line) and kind_of(line) is not None else ""


def _is_serious(line: str) -> bool:
    return level_of(line) in {LogLevel.ERROR, LogLevel.CRITICAL}


def since_ordinary(lines: Sequence[str]) -> Sequence[str]:
    """The lines after the last one that a training prints while it works: what it has printed
    before, it has survived."""
    named = {error.number for error in _named_errors(lines)}
    ordinary = (
        number for number, line in enumerate(lines) if number not in named and is_ordinary(line)
    )
    return lines[max(ordinary, default=-1) + 1 :]


def is_ordinary(line: str) -> bool:
    """Whether a training that works may have printed the line, which names no error."""
    if _BAR.match(line):
        return True
    if line[:1].isspace() or not re.search(r"\w", line) or line.startswith(_HEADER):
        return False
    special = (LAUNCHERS.search(line), CHAINED.search(line), _ASIDE.match(line))
    if any(special) or _LAST_WORDS.match(line):
        return False
    return level_of(line) in {LogLevel.DEBUG, LogLevel.INFO}
