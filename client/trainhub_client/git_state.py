"""Which commit a folder is based on, and what it changes in it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

MAX_PATCH_LENGTH = 1_000_000  # characters
MAX_UNTRACKED = 100
SECONDS = 60.0
# A repository's own configuration could name a program that Git runs.
OPTIONS = ("-c", "core.fsmonitor=false", "-c", "core.quotePath=false", "-c", "color.ui=never")


def describe(folder: Path) -> dict[str, Any]:
    """For a request, which has the hash of the code besides: ``commit``, ``branch``, ``remote``,
    ``dirty``, ``untracked``, ``patch``. Empty if the folder is in no repository, or there is no
    Git."""
    commit = _git(folder, "rev-parse", "--verify", "HEAD")
    if commit is None or not re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", commit.strip()):
        return {}
    listing = (
        _git(folder, "status", "--porcelain=v1", "-z", "--untracked-files=all", "--", ".") or ""
    )
    entries = [entry for entry in listing.split("\0") if entry]
    untracked = [entry[3:] for entry in entries if entry.startswith("?? ")]
    patch = _git(folder, "diff", "--no-ext-diff", "--no-textconv", "--relative", "HEAD", "--", ".")
    state = {
        "commit": commit.strip(),
        "branch": (_git(folder, "branch", "--show-current") or "").strip(),
        "remote": without_credentials((_git(folder, "remote", "get-url", "origin") or "").strip()),
        "dirty": bool(entries),
        "untracked": [name for name in untracked if name.isprintable()][:MAX_UNTRACKED],
        "patch": _shortened(patch or ""),
    }
    return {name: value for name, value in state.items() if value not in ("", [])}


def without_credentials(url: str) -> str:
    return re.sub(r"(?<=://)[^/@]*@", "", url)


def _shortened(patch: str) -> str:
    patch = patch.replace("\0", "")
    if len(patch) <= MAX_PATCH_LENGTH:
        return patch
    end = "\n# The rest is left out.\n"
    return patch[: MAX_PATCH_LENGTH - len(end)].rpartition("\n")[0] + end


def _git(folder: Path, *arguments: str) -> str | None:
    """None if Git cannot tell."""
    try:
        done = subprocess.run(
            ["git", *OPTIONS, *arguments],
            cwd=folder,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None
