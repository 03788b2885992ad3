"""What a line of text says: its level and rank, as logging libraries and launchers print them."""

from __future__ import annotations

import re
from typing import Final

from logs.models import MAX_RANK, LogLevel

# --- escape sequences ------------------------------------------------------------------------

_ESCAPES: Final = re.compile(
    r"""
    (?:\x1b\[|\x9b) [0-?]* [ -/]* [@-~]                # CSI: colors, cursor movements
    | \x1b [\]PX^_] [^\x07\x1b]* (?:\x07|\x1b\\|$)     # OSC (links, titles) and other strings
    | \x1b [ -/]* [0-~]                                # two and three characters
    | \x1b
    """,
    re.VERBOSE,
)


def plain(text: str) -> str:
    """``text`` without terminal escape sequences."""
    return _ESCAPES.sub("", text) if "\x1b" in text or "\x9b" in text else text


# --- who printed it --------------------------------------------------------------------------

_PREFIX: Final = re.compile(
    r"""
    \[ (?: rank | default ) : ? \s? (?P<torch>\d{1,9}) \] : \s?   # torch, torchrun
    | \[ \d+ , (?P<mpi>\d{1,9}) \] < std(?:out|err|diag) > : \s?                   # mpirun
    | [\w.-]{1,64} : \s (?= \[ (?: rank | default ) )              # pdsh, of several hosts
    | rank \s? (?P<composer>\d{1,9}) (?: \[ [^\]]* \] )* : \s                      # Composer
    """,
    re.VERBOSE,
)
_NCCL: Final = re.compile(
    r"(?:\[[^\]]*\] )? [^\s:]+ : \d+ : \d+ \s \[ (?P<rank>\d{1,9}) \] \s "
    r"(?: \S+ \s )? NCCL \s (?P<level> [A-Z]+ )",
    re.VERBOSE,
)
# Torch's watchdog, DeepSpeed, Lightning: anywhere near the start.
_NAMED_RANK: Final = re.compile(r"\[\s?rank[ :]\s?(\d{1,9})\s?\]", re.IGNORECASE)
_NEAR_START: Final = 200


def prefixes(text: str) -> str:
    """The prefixes with which launchers mark what a rank printed, or nothing."""
    end = 0
    while match := _PREFIX.match(text, end):
        end = match.end()
    return text[:end]


def rank_of(text: str) -> int | None:
    """The rank that printed ``text``, if it says so."""
    found: str | None = None
    end = 0
    while match := _PREFIX.match(text, end):
        found = found or (match[match.lastgroup] if match.lastgroup else None)
        end = match.end()
    if found is None:
        nccl = _NCCL.match(text, end)
        named = nccl or _NAMED_RANK.search(text[:_NEAR_START])
        found = named[1] if named else None
    return int(found) if found is not None and int(found) <= MAX_RANK else None


# --- how serious it is -----------------------------------------------------------------------

_LEVELS: Final = {
    "TRACE": LogLevel.DEBUG,
    "DEBUG": LogLevel.DEBUG,
    "INFO": LogLevel.INFO,
    "NOTICE": LogLevel.INFO,
    "SUCCESS": LogLevel.INFO,
    "VERSION": LogLevel.INFO,
    "WARN": LogLevel.WARNING,
    "WARNING": LogLevel.WARNING,
    "ERROR": LogLevel.ERROR,
    "CRITICAL": LogLevel.CRITICAL,
    "FATAL": LogLevel.CRITICAL,
    "I": LogLevel.INFO,
    "W": LogLevel.WARNING,
    "E": LogLevel.ERROR,
    "F": LogLevel.CRITICAL,
    "调试": LogLevel.DEBUG,
    "信息": LogLevel.INFO,
    "警告": LogLevel.WARNING,
    "错误": LogLevel.ERROR,
    "严重": LogLevel.CRITICAL,
    "致命": LogLevel.CRITICAL,
}
_WORD: Final = "TRACE|DEBUG|INFO|NOTICE|SUCCESS|WARNING|WARN|ERROR|CRITICAL|FATAL"
_CHINESE: Final = "调试|信息|警告|错误|严重|致命"
_SEPARATOR: Final = r"[:|\]>,]|\s+(?:[-\u2013|:]|>>)(?=\s|$)|\s*$"

# glog and absl: `E1128 13:48:58.260 12345 file.cpp:632]`; earlier versions of torch:
# `[W socket.cpp:663]`.
_GLOG: Final = re.compile(
    r"\[? ([IWEF]) (?: \d{4} (?: \d{4} )? \s+ \d\d:\d\d | \s [\w./-]+ \. \w{1,4} : \d+ )",
    re.VERBOSE,
)
# `[ERROR]`, `[INFO|trainer.py:804]`, `(WARNING)`, structlog's `[error    ]`, `【警告】`, `[E]`
_BRACKETED: Final = re.compile(
    rf"[\[(<【] \s* ({_WORD}|{_CHINESE}|[EWF](?=\])) \s* (?: [|/:] [^\])>】]* )? [\])>】]",
    re.VERBOSE | re.IGNORECASE,
)
_BARE: Final = re.compile(rf"({_WORD}) (?= {_SEPARATOR} | \s )", re.VERBOSE)
_SEPARATED: Final = re.compile(rf"({_WORD}) (?= {_SEPARATOR} )", re.VERBOSE)
# `Error: no such file`, but not `Error: 0.25`, a metric
_SPOKEN: Final = re.compile(
    rf"(warning|error|fatal|{_CHINESE}) [:：] (?! \s* [-+]? \.? \d )", re.X | re.I
)
# The module warnings: `train.py:12: UserWarning: …`, and without the place
_WARNED: Final = re.compile(r"(?: \S+ : \d+ : \s )? [A-Z]\w* Warning : \s", re.VERBOSE)

_TIME: Final = re.compile(
    r"""
    (?: \d{4}[-/.]\d\d?[-/.]\d\d? | \d\d?[-/.]\d\d?[-/.]\d{2,4} | (?:[A-Z][a-z]{2},?\ )+\s?\d\d? )
        (?: [T_ ] \s? (?=\d\d:) | \b )
    | \d\d?:\d\d(?::\d\d)? (?: [.,]\d+ )? (?: \s?(?:AM|PM|UTC|Z)\b | Z | [+-]\d\d:?\d\d )?
    | \d{9,}(?:\.\d+)?\b
    """,
    re.VERBOSE,
)
_IN_BRACKETS: Final = re.compile(r"\[[^\[\]]{0,80}\]|\([^()]{0,80}\)|<[^<>]{0,80}>")
_SEPARATORS: Final = re.compile(r"(?:[\s:|,]|[-\u2013](?=\s)|>>)+")
# The name of a logger or a file, with a separator after it …
_NAME: Final = re.compile(
    r"[\w./<>-]+ (?: \[\d+\] )? (?: :\d+ )? (?: : | \s+[-\u2013|:](?=\s) )", re.X
)
# … or, after a time, without one, if it does not look like a word.
_CODE: Final = re.compile(r"\d+(?=\s) | [\w<>]*[._/]\w[\w./<>:-]* (?=\s)", re.VERBOSE)
_MOST_TOKENS: Final = 12


def level_of(text: str) -> LogLevel:
    """The level that a logging library has printed before the message; INFO without one.

    Before it may stand the prefix of a rank, times, names with a separator, and anything in
    brackets; a level in the midst of a sentence is none.
    """
    at = len(prefixes(text))
    nccl = _NCCL.match(text, at)
    if nccl is not None:
        return _LEVELS.get(nccl["level"], LogLevel.INFO)
    if _WARNED.match(text, at):
        return LogLevel.WARNING
    timed = named = False
    for _token in range(_MOST_TOKENS):
        separators = _SEPARATORS.match(text, at)
        at = separators.end() if separators else at
        found = _GLOG.match(text, at) or _BRACKETED.match(text, at)
        if found is None:
            bare = _BARE if timed or not named else _SEPARATED
            found = bare.match(text, at) or (None if named else _SPOKEN.match(text, at))
        if found is not None:
            return _LEVELS[found[1].upper()]
        token = _TIME.match(text, at)
        timed = timed or token is not None
        if token is None:
            token = _IN_BRACKETS.match(text, at)
        if token is None:
            token = _NAME.match(text, at)
            named = named or token is not None
        if token is None and timed:
            token = _CODE.match(text, at)
        if token is None or token.end() == at or token.end() > _NEAR_START:
            break
        at = token.end()
    return LogLevel.INFO
