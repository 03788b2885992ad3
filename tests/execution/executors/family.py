"""A training of several processes: a launcher, two ranks, a loader of each rank.

Run as ``family.py ROLE FOLDER [HOW]``. Each process writes ``FOLDER/<role>-<n>.pid``. A rank asked
to stop saves ``FOLDER/rank-<n>.saved``, for which it needs a moment, and one asked twice writes
``FOLDER/rank-<n>.twice`` and exits without saving. A loader clears its environment, has a session
of its own and is no child of its rank. HOW says what the launcher does: it ``fails`` or ``ends`` as
soon as all are there and FOLDER/go exists, or it ``waits`` for its ranks.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

role, folder, *rest = sys.argv[1:]
folder = Path(folder)


def arrive(name):
    draft = folder / f".{name}"
    draft.write_text(str(os.getpid()))
    draft.rename(folder / f"{name}.pid")


def child(*arguments, **options):
    return subprocess.Popen([sys.executable, __file__, *arguments], **options)


def wait_for(*names):
    while not all((folder / f"{name}.pid").exists() for name in names):
        time.sleep(0.01)


def launcher(how):
    """Forwards SIGTERM and waits, as torchrun does; exits with 1 then."""
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
    ranks = [child("rank", str(folder), str(number)) for number in range(2)]
    arrive("launcher")
    wait_for("rank-0", "rank-1", "loader-0", "loader-1")
    if how != "waits":
        while not (folder / "go").exists():
            time.sleep(0.01)
        sys.exit(1 if how == "fails" else 0)
    while not asked:
        time.sleep(0.01)
    for rank in ranks:
        rank.terminate()
    for rank in ranks:
        rank.wait()
    sys.exit(1)


def rank(number):
    asked = []

    def note(*_):
        if asked:
            (folder / f"rank-{number}.twice").touch()
            os._exit(1)
        asked.append(True)

    signal.signal(signal.SIGTERM, note)
    middle = child("middle", str(folder), number)
    middle.wait()
    wait_for(f"loader-{number}")
    arrive(f"rank-{number}")
    while not asked:
        time.sleep(0.01)
    deadline = time.monotonic() + 0.5  # the time that saving takes
    while time.monotonic() < deadline:
        time.sleep(0.01)
    (folder / f"rank-{number}.saved").touch()


def middle(number):
    """Starts the loader and ends: the loader is an orphan."""
    child("loader", str(folder), number, env={}, start_new_session=True)


def loader(number):
    arrive(f"loader-{number}")
    time.sleep(600)


globals()[role](*rest)
