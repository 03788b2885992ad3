"""Finds out why a process failed: from its exit code, and from the end of what it has printed."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from django.utils.translation import gettext as _

from core.text import truncate
from execution.executors.attempt import SIGNALLED_CODES, Ending
from execution.executors.log_entries import shown
from execution.executors.log_text import level_of, prefixes
from execution.executors.rank_reports import is_report, signal_at_end
from logs.models import LogLevel
from runs.executors import WorkState, WorkStatus
from runs.models import FailureKind
from runs.models.encoding import DEFAULT_ENCODING

# Of the end of each file. Several ranks, and their launcher, each print a traceback.
TAIL_BYTES: Final = 128 * 1024
TAIL_LINES: Final = 400
MAX_ERROR_LENGTH: Final = 300
_CANNOT_EXECUTE: Final = frozenset({126, 127})  # of shells and of launcher.py
_SIGNAL_BASE: Final = 128  # shells report the death by signal n as the exit code 128 + n

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
_LAUNCHERS: Final = re.compile(
    r"ChildFailedError|CalledProcessError|ProcessRaisedException|ProcessExitedException"
    r"|failed \(exitcode|Sending process \d+ closing signal|exits with return code"
)
_CHAINED: Final = re.compile(
    r"During handling of the above exception|direct cause of the following exception"
)

# --- what launchers say about their ranks ----------------------------------------------------

_ROOT_CAUSE: Final = re.compile(r"^Root Cause \(first observed failure\):")
_RANK_CODE: Final = re.compile(
    r"""
    ^\s* exitcode \s* : \s* (?P<summary>-?\d+) \s+ \(pid                        # torchrun's summary
    | failed \s \(exitcode: \s (?P<agent>-?\d+)\)                     # torchrun's agent
    | exits \s with \s return \s code \s = \s (?P<deepspeed>-?\d+)
    | died \s with \s <Signals\.\w+: \s (?P<accelerate>\d+)>
    | exited \s on \s signal \s (?P<mpi>\d+)
    | terminated \s with \s signal \s (?P<spawn>SIG[A-Z]+)
    """,
    re.VERBOSE,
)


@dataclass(frozen=True)
class Diagnosis:
    """``error``: the line that tells why, or nothing. ``rank_signal``: the signal that ended a rank
    under the launcher, if it is the first failure that the launcher reports."""

    kind: FailureKind | None
    error: str
    rank_signal: int | None


def work_status(directory: Path, returncode: int, encoding: str = DEFAULT_ENCODING) -> WorkStatus:
    """How a process that nobody asked to stop has failed or died. ``returncode`` is not 0, and
    negative for a signal. ``directory``: the attempt's, with its output."""
    diagnosis = diagnose(_tails(directory, encoding))
    killed_by = -returncode if returncode < 0 else diagnosis.rank_signal
    died = killed_by is not None or returncode in SIGNALLED_CODES
    if returncode < 0:
        what = _("The training process was killed by %(signal)s") % {
            "signal": signal_name(-returncode)
        }
    elif diagnosis.rank_signal is not None:
        what = _(
            "A rank of the training was killed by %(signal)s; the training process exited with "
            "code %(code)d"
        ) % {"signal": signal_name(diagnosis.rank_signal), "code": returncode}
    else:
        what = _("The training process exited with code %(code)d") % {"code": returncode}
    kind = diagnosis.kind
    # What the others say of a rank that was killed is that the connection broke.
    is_echo = kind is FailureKind.COMMUNICATION and diagnosis.rank_signal == signal.SIGKILL
    if kind is None or is_echo:
        kind = FailureKind.KILLED if died else FailureKind.EXIT_CODE
        if returncode in _CANNOT_EXECUTE:
            kind = FailureKind.CANNOT_START
    error = truncate(diagnosis.error, MAX_ERROR_LENGTH)
    return WorkStatus(
        WorkState.DIED if died else WorkState.FAILED,
        reason=(_("%(what)s: %(error)s") if error else _("%(what)s."))
        % {
            "what": what,
            "error": error,
        },
        exit_code=returncode,
        failure_kind=kind,
    )


def with_full_disk(work: WorkStatus, ending: Ending) -> WorkStatus:
    """``work``, with a full disk as its cause if its output does not name another one: the error
    that would say so found no place either."""
    if not ending.disk_full or work.failure_kind != FailureKind.EXIT_CODE:
        return work
    reason = _("%(what)s The disk of its host was full.") % {"what": work.reason}
    return replace(work, reason=reason, failure_kind=FailureKind.DISK_FULL)


def with_killed_ranks(ending: Ending, directory: Path, encoding: str) -> Ending:
    """``ending``, cut off if a rank was killed under its launcher, which itself ends like any
    failed command: the rank may have been writing."""
    if ending.cut_off or not ending.returncode or ending.returncode < 0:
        return ending
    killed = ending.returncode == _SIGNAL_BASE + signal.SIGKILL
    if killed or diagnose(_tails(directory, encoding)).rank_signal is not None:
        return replace(ending, cut_off=True)
    return ending


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return str(number)


def _tails(directory: Path, encoding: str) -> Iterator[list[str]]:
    """The last lines of each of the attempt's files, the one most likely to tell first."""
    for name in ("stderr.log", "stdout.log"):
        try:
            with (directory / name).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                raw = file.read()
        except FileNotFoundError:
            continue
        yield [shown(line, encoding) for line in raw.split(b"\n")[-TAIL_LINES:]]


def diagnose(outputs: Iterable[list[str]]) -> Diagnosis:
    """Why a process failed, from the last lines of its outputs, e.g. stderr and stdout."""
    kind: FailureKind | None = None
    error = ""
    rank_signal: int | None = None
    any_rank_killed = False
    for lines in outputs:
        texts = [line[len(prefixes(line)) :] for line in lines]
        if rank_signal is None:
            rank_signal = _rank_signal(texts)
        any_rank_killed = any_rank_killed or signal.SIGKILL in map(_signal_in, texts)
        if not error:
            kind, error = _cause(texts)
        if rank_signal is None:
            has_own_error = bool(error) and not is_report(error)
            is_broken_connection = kind is FailureKind.COMMUNICATION
            rank_signal = signal_at_end(
                texts, has_own_error=has_own_error and not is_broken_connection
            )
    # The launcher may have seen the rank first that the broken connection has stopped.
    if rank_signal is None and any_rank_killed and kind is FailureKind.COMMUNICATION:
        rank_signal = signal.SIGKILL
    return Diagnosis(kind, error, rank_signal)


def kind_of(error: str) -> FailureKind | None:
    """The kind of failure that an error's text names."""
    return next((kind for kind, pattern in _KINDS if pattern.search(error)), None)


def _cause(lines: list[str]) -> tuple[FailureKind | None, str]:
    """The last error, or the one that it followed from: an earlier one of its chain that says
    more, or, if the connection to other ranks broke, what broke first."""
    errors = _errors(lines)
    if not errors:
        return None, ""
    at, error = errors[-1]
    kind = kind_of(error)
    if kind is not None and kind is not FailureKind.COMMUNICATION:
        return kind, error
    for earlier_at, earlier in reversed(errors[:-1]):
        earlier_kind = kind_of(earlier)
        if kind is FailureKind.COMMUNICATION:
            if earlier_kind is not FailureKind.COMMUNICATION:
                return earlier_kind, earlier
        elif any(_CHAINED.search(line) for line in lines[earlier_at:at]) and earlier_kind:
            return earlier_kind, earlier
    return kind, error


def _errors(lines: list[str]) -> list[tuple[int, str]]:
    """The numbers and texts of the lines that name an error, without those of launchers."""
    named = []
    in_traceback = False
    for number, line in enumerate(lines):
        is_exception = in_traceback and _AFTER_FRAMES.match(line) and not _LAUNCHERS.search(line)
        text = line.strip() if is_exception else _named_error(line)
        if text:
            named.append((number, text))
        in_traceback = line.startswith(_HEADER) or (in_traceback and line[:1].isspace())
    if named:
        return named
    return [
        (number, line.strip())
        for number, line in enumerate(lines)
        if level_of(line) in {LogLevel.ERROR, LogLevel.CRITICAL} and not _LAUNCHERS.search(line)
    ]


def _named_error(line: str) -> str:
    if _LAUNCHERS.search(line):
        return ""
    if _EXCEPTION.match(line):
        return line.strip()
    other = _OTHER_ERROR.match(line)
    if other is not None:
        return (other["what"] or line).strip()
    is_serious = level_of(line) in {LogLevel.ERROR, LogLevel.CRITICAL}
    return line.strip() if is_serious and kind_of(line) is not None else ""


def _rank_signal(lines: list[str]) -> int | None:
    """The signal that ended the rank whose failure came first, if the launcher says so."""
    roots = [number for number, line in enumerate(lines) if _ROOT_CAUSE.match(line)]
    if roots:
        lines = lines[roots[-1] :]
    found = [line for line in lines if _RANK_CODE.search(line)]
    if not found:
        return None
    return _signal_in(found[0] if roots else found[-1])


def _signal_in(line: str) -> int | None:
    """The signal that ended a rank, if this line of its launcher says so."""
    match = _RANK_CODE.search(line)
    if match is None:
        return None
    text = match[match.lastgroup or 0]
    if match.lastgroup == "spawn":
        return signal.Signals[text].value if text in signal.Signals.__members__ else None
    code = int(text)
    if match.lastgroup in {"accelerate", "mpi"}:
        return code
    if code < 0:
        return -code
    return code - _SIGNAL_BASE if code in SIGNALLED_CODES else None
