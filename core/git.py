"""Runs git against remote repositories, without trust in them.

Only the transports of ALLOWED_SCHEMES are let through, whatever an address, a redirect or the
configuration of this host says; nothing is asked at a terminal, no hook runs, and no file of this
host's users configures it (git(1): GIT_CONFIG_GLOBAL, GIT_ALLOW_PROTOCOL, GIT_TERMINAL_PROMPT).
Credentials of the host that git would use without a question, such as an SSH key of the worker's
user, still work.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from core.exceptions import DomainError
from core.messages import Message

ALLOWED_SCHEMES: Final = ("https", "http", "ssh", "git")
MAX_URL_LENGTH: Final = 500
MAX_REVISION_LENGTH: Final = 200
RESOLVE_SECONDS: Final = 10.0
MAX_TOLD: Final = 300  # characters of what git says

COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")  # SHA-1 or SHA-256
_SCP_LIKE: Final = re.compile(
    r"[A-Za-z0-9_][A-Za-z0-9_.\-]*@[A-Za-z0-9][A-Za-z0-9_.\-]*:[^\s:\\][^\s\\]*"
)
# See git-check-ref-format(1); a leading dash would be an option.
_REVISION: Final = re.compile(r"(?![-./])(?!.*(?:\.\.|@\{|//|\.lock$|/$))[A-Za-z0-9_./+@#=,%-]+")


class GitFailed(DomainError):
    """git has ended with an error, or has taken too long. Later it may succeed."""

    code = "git_failed"
    status_code = 502


def is_remote_url(url: str) -> bool:
    """Whether ``url`` names a repository on a server: no path of this host, no helper program such
    as ``ext::``, and no password, which everyone who sees the run would see."""
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or url != url.strip() or "::" in url:
        return False
    if _SCP_LIKE.fullmatch(url):
        return True
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_plain = bool(re.fullmatch(r"[A-Za-z0-9:][A-Za-z0-9_.:\-]*", host)) and " " not in url
    return parts.scheme in ALLOWED_SCHEMES and is_plain and parts.password is None


def without_credentials(url: str) -> str:
    """``url`` without a user and a password, for others to see."""
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def is_revision(text: str) -> bool:
    """Whether ``text`` may name a branch, a tag or a commit."""
    return len(text) <= MAX_REVISION_LENGTH and bool(_REVISION.fullmatch(text))


def resolve(url: str, revision: str, *, seconds: float = RESOLVE_SECONDS) -> str | None:
    """The full id of the commit that ``revision`` names in the repository now; None if it has no
    such branch or tag. A full id is taken as it is. Raises GitFailed."""
    if COMMIT.fullmatch(revision):
        return revision
    listing = run(["ls-remote", "--exit-code", "--", url], seconds=seconds, allowed=(0, 2))
    refs = {}
    for line in listing.decode(errors="replace").splitlines():
        commit, _tab, name = line.partition("\t")
        refs[name] = commit
    # What a tag with a message points to has a line of its own, ``^{}``.
    for prefix in ("refs/tags/", "refs/heads/", "refs/", ""):
        found = refs.get(f"{prefix}{revision}^{{}}") or refs.get(f"{prefix}{revision}")
        if found is not None and COMMIT.fullmatch(found):
            return found
    return None


def run(
    arguments: Sequence[str],
    *,
    seconds: float,
    directory: Path | None = None,
    allowed: Sequence[int] = (0,),
    max_file_bytes: int | None = None,
) -> bytes:
    """What ``git`` prints. ``allowed``: the exit codes that are no errors. ``max_file_bytes``: of a
    file that it writes; more is an error. Raises GitFailed."""
    command = [*COMMAND, *arguments]
    if max_file_bytes is not None:
        blocks = max_file_bytes // 512  # the unit of ulimit in POSIX
        command = ["sh", "-c", f'ulimit -f {blocks} && exec "$@"', "sh", *command]
    try:
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except FileNotFoundError:
        raise GitFailed(Message("git is not installed on this host.")) from None
    except subprocess.TimeoutExpired:
        raise GitFailed(Message("git has not ended within %(n)d s.", n=round(seconds))) from None
    if done.returncode not in allowed:
        raise GitFailed(Message("git has failed: %(why)s", why=_told(done.stderr)))
    return done.stdout


COMMAND: Final = (
    "git",
    "-c", "core.hooksPath=/dev/null",
    "-c", "core.fsmonitor=false",
    "-c", "core.askPass=",
    "-c", "credential.helper=",
    "-c", "http.followRedirects=initial",
    "-c", "http.lowSpeedLimit=1000",
    "-c", "http.lowSpeedTime=30",
    "-c", "fetch.fsckObjects=true",
    "-c", "gc.auto=0",
    "-c", "submodule.recurse=false",
    "-c", "uploadpack.packObjectsHook=",
)  # fmt: skip


def environment() -> dict[str, str]:
    """Of a git process: this one's without what would change what git does."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("GIT_")}
    return {
        **kept,
        "GIT_ALLOW_PROTOCOL": ":".join(ALLOWED_SCHEMES),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=10",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }


def _told(stderr: bytes) -> str:
    lines = [line for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    text = " ".join(lines[-2:]) or "?"
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_TOLD]
