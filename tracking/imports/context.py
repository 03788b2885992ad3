"""What the parts of an import share: the server, for whom, and what has come of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from django.contrib.auth.models import User

from accounts.models import Team
from core.text import storable
from tracking.imports.server import MlflowServer


@dataclass
class Totals:
    """What an import has done. Threads add to it by ``Context.count``."""

    runs_new: int = 0
    runs_continued: int = 0
    runs_unchanged: int = 0
    runs_in_trash: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    logged_models: int = 0
    models: int = 0
    versions: int = 0


@dataclass
class Context:
    """``owner``: owns the projects that are made; None for nobody, whom only operators see.
    ``projects``: the ids of those that come, or have come, from the server."""

    server: MlflowServer
    owner: User | None = None
    team: Team | None = None
    with_files: bool = True
    tell: Callable[[str], None] = lambda _text: None
    projects: frozenset[str] = frozenset()
    totals: Totals = field(default_factory=Totals)
    problems: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, name: str, number: int = 1) -> None:
        with self._lock:
            setattr(self.totals, name, getattr(self.totals, name) + number)

    def complain(self, text: str) -> None:
        with self._lock:
            self.problems.append(storable(text))
            self.tell(storable(text))
