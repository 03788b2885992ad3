"""Finds out why a process failed: from its exit code, and from the end of what it has printed."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from core.messages import Message
from core.text import truncate
from execution.executors.attempt import SIGNALLED_CODES, Ending
from execution.executors.error_lines import (
    CHAINED,
    ErrorLine,
    errors_in,
    is_ordinary,
    since_ordinary,
)
from execution.executors.log_entries import shown
from execution.executors.log_text import prefixes
from execution.executors.rank_reports import is_report, signal_at_end
from runs.executors import WorkState, WorkStatus
from runs.models import FailureKind
from runs.models.encoding import DEFAULT_ENCODING

# Of the end of each file. Several ranks, and their launcher, each print a traceback.
TAIL_BYTES: Final = 128 * 1024
TAIL_LINES: Final = 400
MAX_ERROR_LENGTH: Final = 300
_CANNOT_EXECUTE: Final = frozenset({126, 127})  # of shells and of the launcher
_SIGNAL_BASE: Final = 128  # shells report the death by signal n as the exit code 128 + n
# A training that prints for longer after an error has survived it.
LAST_WORDS_SECONDS: Final = 10.0
# Kinds of errors after which a process may be killed by a signal, or kill itself.
_DEADLY: Final = frozenset(
    {FailureKind.OUT_OF_MEMORY, FailureKind.DISK_FULL, FailureKind.COMMUNICATION}
)
_CRASH: Final = re.compile(r"\s*what\(\):\s+(.+)$|(Fatal Python error: .+)$")

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
    outputs = _outputs(directory, encoding)
    if returncode < 0 or returncode in SIGNALLED_CODES:
        diagnosis = diagnose(_last_words(outputs), has_died=True)
    else:
        diagnosis = diagnose(output.lines for output in outputs)
    killed_by = -returncode if returncode < 0 else diagnosis.rank_signal
    died = killed_by is not None or returncode in SIGNALLED_CODES
    if returncode < 0:
        what = Message(
            "The training process was killed by %(signal)s", signal=signal_name(-returncode)
        )
    elif diagnosis.rank_signal is not None:
        what = Message(
            "A rank of the training was killed by %(signal)s; the training process exited with "
            "code %(code)d",
            signal=signal_name(diagnosis.rank_signal),
            code=returncode,
        )
    else:
        what = Message("The training process exited with code %(code)d", code=returncode)
    kind = diagnosis.kind
    # What the others say of a rank that was killed is that the connection broke.
    is_echo = kind is FailureKind.COMMUNICATION and diagnosis.rank_signal == signal.SIGKILL
    if kind is None or is_echo:
        kind = FailureKind.KILLED if died else FailureKind.EXIT_CODE
        if returncode in _CANNOT_EXECUTE:
            kind = FailureKind.CANNOT_START
    error = "" if is_echo else truncate(diagnosis.error, MAX_ERROR_LENGTH)
    return WorkStatus(
        WorkState.DIED if died else WorkState.FAILED,
        reason=Message("%(what)s: %(error)s", what=what, error=error)
        if error
        else Message("%(what)s.", what=what),
        exit_code=returncode,
        failure_kind=kind,
    )


def with_full_disk(work: WorkStatus, ending: Ending) -> WorkStatus:
    """``work``, with a full disk as its cause if its output does not name another one: the error
    that would say so found no place either."""
    if not ending.disk_full or work.failure_kind != FailureKind.EXIT_CODE:
        return work
    reason = Message("%(what)s The disk of its host was full.", what=work.reason)
    return replace(work, reason=reason, failure_kind=FailureKind.DISK_FULL)


def with_killed_ranks(ending: Ending, directory: Path, encoding: str) -> Ending:
    """``ending``, cut off if a rank was killed under its launcher, which itself ends like any
    failed command: the rank may have been writing."""
    if ending.cut_off or not ending.returncode or ending.returncode < 0:
        return ending
    killed = ending.returncode == _SIGNAL_BASE + signal.SIGKILL
    outputs = _outputs(directory, encoding)
    if killed or diagnose(output.lines for output in outputs).rank_signal is not None:
        return replace(ending, cut_off=True)
    return ending


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal has no name
        return str(number)


@dataclass(frozen=True)
class _Output:
    """The last lines of a file, and when it was last written to, in Unix seconds."""

    lines: list[str]
    written_at: float


def _outputs(directory: Path, encoding: str) -> list[_Output]:
    """Of each of the attempt's files, the one most likely to tell first."""
    outputs = []
    for name in ("stderr.log", "stdout.log"):
        try:
            with (directory / name).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - TAIL_BYTES))
                raw = file.read()
                written_at = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            continue
        lines = [shown(line, encoding) for line in raw.split(b"\n")[-TAIL_LINES:]]
        outputs.append(_Output(lines, written_at))
    return outputs


def _last_words(outputs: Sequence[_Output]) -> list[list[str]]:
    """The lines of the outputs, without those of one that was written to before the training went
    on printing to the other."""
    newest = max((output.written_at for output in outputs), default=0.0)
    went_on = any(
        output.written_at == newest and _ends_ordinarily(output.lines) for output in outputs
    )
    return [
        output.lines
        for output in outputs
        if not went_on or newest - output.written_at <= LAST_WORDS_SECONDS
    ]


def _ends_ordinarily(lines: Sequence[str]) -> bool:
    last = next((line for line in reversed(lines) if line), "")
    return is_ordinary(last[len(prefixes(last)) :])


def diagnose(outputs: Iterable[Sequence[str]], *, has_died: bool = False) -> Diagnosis:
    """Why a process failed, from the last lines of its outputs, e.g. stderr and stdout."""
    texts = [[line[len(prefixes(line)) :] for line in lines] for lines in outputs]
    cause = _first(map(_cause, texts))
    rank_signal = next(filter(None, map(_rank_signal, texts)), None)
    is_broken = cause is not None and cause.kind is FailureKind.COMMUNICATION
    if rank_signal is None:
        has_own_error = cause is not None and not is_broken and not is_report(cause.text)
        reported = (signal_at_end(lines, has_own_error=has_own_error) for lines in texts)
        rank_signal = next(filter(None, reported), None)
    # The launcher may have seen the rank first that the broken connection has stopped.
    if rank_signal is None and is_broken:
        killed = (_signal_in(line) for lines in texts for line in lines)
        rank_signal = signal.SIGKILL if signal.SIGKILL in killed else None
    if has_died or rank_signal is not None:
        cause = _first(map(_cause_of_death, texts))
    if cause is None:
        return Diagnosis(None, "", rank_signal)
    return Diagnosis(cause.kind, cause.text, rank_signal)


def _first(causes: Iterable[ErrorLine | None]) -> ErrorLine | None:
    """The first one that is not of something next to the training, else the first one."""
    found = [cause for cause in causes if cause is not None]
    return next((cause for cause in found if not cause.is_aside), found[0] if found else None)


def _cause(lines: Sequence[str]) -> ErrorLine | None:
    """The last error, or the one that it followed from: an earlier one of its chain that says
    more, or, if the connection to other ranks broke, what broke first."""
    errors = errors_in(lines)
    if not errors:
        return None
    last = errors[-1]
    if last.kind is not None and last.kind is not FailureKind.COMMUNICATION:
        return last
    for earlier in reversed(errors[:-1]):
        if last.kind is FailureKind.COMMUNICATION:
            if earlier.kind is not FailureKind.COMMUNICATION:
                return earlier
        elif earlier.kind and any(map(CHAINED.search, lines[earlier.number : last.number])):
            return earlier
    return last


def _cause_of_death(lines: Sequence[str]) -> ErrorLine | None:
    """Why a process was killed: an error of a kind that ends in a signal, or what C++ says of it,
    if the training did not go on. Other errors are answered with an exit code, if at all."""
    rest = since_ordinary(lines)
    deadly = [error for error in errors_in(rest) if error.kind in _DEADLY]
    causes = [error for error in deadly if error.kind is not FailureKind.COMMUNICATION] or deadly
    if causes:
        return causes[-1]
    crashes = [match[1] or match[2] for match in map(_CRASH.match, rest) if match]
    return ErrorLine(0, crashes[-1]) if crashes else None


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
