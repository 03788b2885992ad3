"""The user that trainings run as, if it is another than their worker's: TRAINHUB_TRAINING_USER.

It is a user's name, or a range of UIDs of which each run gets one of its own. What that protects
from, and what not: docs/adr/0020-a-user-for-trainings.md.
"""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from django.conf import settings

from core.exceptions import DomainError
from core.files import private
from core.messages import Message

FOLDER: Final = "work"  # of an attempt: the only one that belongs to its training
GPU_GROUPS: Final = ("render", "video")  # they open the devices of some GPUs
NOBODYS_NAME: Final = "training"  # of a UID without an account
# What the worker must be allowed to (capabilities(7), by their numbers there): give files away,
# read and delete them whatever their modes, signal and look at processes, become another user.
CAPABILITIES: Final = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
    "CAP_SYS_PTRACE": 19,
}

_RANGE: Final = re.compile(r"(\d{1,9})-(\d{1,9})")


class NoUserFree(DomainError):
    """Every UID of the range is in use on this host. One is free when a run has ended."""


@dataclass(frozen=True)
class TrainingUser:
    """``home``: None without an account, for the run's own folder."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str = NOBODYS_NAME
    home: str | None = None

    def environment(self, folder: Path) -> dict[str, str]:
        return {"HOME": self.home or str(folder), "USER": self.name, "LOGNAME": self.name}

    def note(self) -> dict[str, Any]:
        """For the launcher, in JSON."""
        return {name: value for name, value in asdict(self).items() if name in _NOTED}

    def own(self, folder: Path) -> None:
        """Give it ``folder`` and all that is in it; call while nobody else can enter it. Raises
        OSError."""
        for _path, folders, files, descriptor in os.fwalk(folder):
            os.fchown(descriptor, self.uid, self.gid)
            for name in (*folders, *files):
                os.chown(name, self.uid, self.gid, dir_fd=descriptor, follow_symlinks=False)


_NOTED: Final = ("uid", "gid", "groups")


def uid_range(setting: str) -> range | None:
    """The UIDs that the setting names; None if it is a user's name, or empty."""
    found = _RANGE.fullmatch(setting.strip())
    return range(int(found[1]), int(found[2]) + 1) if found else None


def claim(folder: Path) -> TrainingUser | None:
    """The user for a training, who gets ``folder``; None if trainings run as their worker's. While
    that folder exists, no other run on this host gets the same UID of a range.

    Raises NoUserFree; KeyError if there is no user of this name; OSError if it may not be given
    away.
    """
    uids = uid_range(settings.TRAINING_USER)
    if not settings.TRAINING_USER:
        return None
    if uids is None:
        user = _named(settings.TRAINING_USER)
        os.chown(folder, user.uid, user.gid)
        return user
    with _locked():
        free = sorted(set(uids) - _taken())
        if not free:
            raise NoUserFree(
                Message(
                    "All %(count)d UIDs of TRAINHUB_TRAINING_USER are in use on this host.",
                    count=len(uids),
                )
            )
        uid = secrets.choice(free)  # not the last one, of which something may be left in /tmp
        os.chown(folder, uid, uid)
    return TrainingUser(uid, uid, tuple(_gpu_groups()))


def _named(name: str) -> TrainingUser:
    account = pwd.getpwnam(name)
    groups = {*os.getgrouplist(name, account.pw_gid), *_gpu_groups()}
    return TrainingUser(account.pw_uid, account.pw_gid, tuple(sorted(groups)), name, account.pw_dir)


def _gpu_groups() -> Iterator[int]:
    for name in GPU_GROUPS:
        with suppress(KeyError):
            yield grp.getgrnam(name).gr_gid


def _taken() -> set[int]:
    """The UIDs of folders and of processes on this host."""
    taken = set()
    for folder in settings.WORK_DIR.glob(f"*/*/{FOLDER}"):
        with suppress(FileNotFoundError):
            taken.add(folder.lstat().st_uid)
    for process in psutil.process_iter(["uids"]):
        taken.update(process.info["uids"] or ())
    return taken


@contextmanager
def _locked() -> Iterator[None]:
    with open(settings.WORK_DIR / "uids.lock", "w", opener=private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- checks ----------------------------------------------------------------------------------


def problem() -> str | None:
    """Why trainings cannot run as the user of the setting; None if they can."""
    setting = settings.TRAINING_USER
    if not setting:
        return None
    uids = uid_range(setting)
    wrong = _problem_of_name(setting) if uids is None else _problem_of_range(uids)
    if wrong is not None:
        return wrong
    missing = missing_capabilities()
    if missing:
        return (
            f"This worker may not run trainings as another user: run it as root, or give it "
            f"{', '.join(missing)}; or unset TRAINHUB_TRAINING_USER."
        )
    return unreachable(settings.DATA_DIR)


def unreachable(path: Path) -> str | None:
    """Why the user of the setting, a valid one, cannot reach ``path``; None if it can."""
    uids = uid_range(settings.TRAINING_USER)
    if uids is None:
        user = _named(settings.TRAINING_USER)
    else:
        user = TrainingUser(uids.start, uids.start, ())
    closed = _closed_on_the_way(path, user)
    if closed is None:
        return None
    return (
        f"TRAINHUB_TRAINING_USER: its trainings cannot reach {path}, as {closed} is closed to "
        f"them. Allow it (chmod o+x {closed}), or use another place."
    )


def _closed_on_the_way(path: Path, user: TrainingUser) -> Path | None:
    for parent in (*reversed(path.parents), *reversed(path.resolve().parents)):
        status = parent.stat()
        if status.st_uid == user.uid:
            bit = stat.S_IXUSR
        else:
            bit = stat.S_IXGRP if status.st_gid in {user.gid, *user.groups} else stat.S_IXOTH
        if not status.st_mode & bit:
            return parent
    return None


def _problem_of_name(name: str) -> str | None:
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        return (
            f"TRAINHUB_TRAINING_USER: there is no user {name} on this host. Create it, or set a "
            "range of unused UIDs such as 200000-200999."
        )
    if account.pw_uid in {0, os.geteuid()}:
        return f"TRAINHUB_TRAINING_USER: {name} is root or the worker's own user. Name another."
    status = settings.DATA_DIR.stat()
    if status.st_gid in os.getgrouplist(name, account.pw_gid) and status.st_mode & (
        stat.S_IRGRP | stat.S_IWGRP
    ):
        return (
            f"TRAINHUB_TRAINING_USER: {name} is in the group of the data directory "
            f"{settings.DATA_DIR}. Take it out, or name another user."
        )
    return None


def _problem_of_range(uids: range) -> str | None:
    text = f"TRAINHUB_TRAINING_USER: {uids.start}-{uids.stop - 1}"
    if not uids or uids.start == 0:
        return f"{text} is no range of UIDs above 0."
    names = [account.pw_name for account in pwd.getpwall() if account.pw_uid in uids]
    groups = [group.gr_name for group in grp.getgrall() if group.gr_gid in uids]
    if names or groups or os.geteuid() in uids:
        used = (names + groups or ["the worker itself"])[0]
        return f"{text} is in use by {used}. Choose a range without accounts and groups."
    return None


def missing_capabilities() -> list[str]:
    """Those of CAPABILITIES that this process lacks."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux: root may all
        return [] if os.geteuid() == 0 else list(CAPABILITIES)
    effective = re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)
    bits = int(effective[1], 16) if effective else 0
    return [name for name, number in CAPABILITIES.items() if not bits >> number & 1]
