"""What the commands that import runs have in common: arguments, progress bar, report."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import translation
from django.utils.translation import gettext as _
from tqdm import tqdm

from core.exceptions import DomainError
from core.sessions import lift_limits
from core.terminal import terminal_language
from core.text import readable, storable
from metrics.imports.folders import UnreadableFolder
from metrics.imports.past_runs import (
    BadSource,
    Outcome,
    PastRun,
    Progress,
    Result,
    Source,
    bring_in,
    reason_of,
)
from projects.models import Project

logger = logging.getLogger(__name__)

T = TypeVar("T")

INTERRUPTED: Final = 130  # the shell's exit code after Ctrl-C
READING: Final = 0.3  # its share of the work; the rest is storing


class ImportCommand(BaseCommand):
    paths_help = ""

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, help=self.paths_help, metavar="PATH")
        parser.add_argument(
            "--project", required=True, help="ID or name of the project that gets the runs"
        )
        parser.add_argument("--run-name", help="name of the run, if there is only one")

    @abstractmethod
    def sources(self, paths: Sequence[Path]) -> Iterable[Source]:
        """What there is to import at ``paths``, which exist."""

    def handle(
        self, *, paths: list[Path], project: str, run_name: str | None, **options: Any
    ) -> None:
        lift_limits()  # a run of millions of points is one transaction
        with translation.override(terminal_language()):
            importing = _Importing(self, _project(project), run_name)
            try:
                for path in paths:
                    path.lstat()  # a link that leads nowhere is a source that cannot be read
                importing.bring_in(list(self.sources(paths)), paths)
            except FileNotFoundError as error:
                text = _("There is no %(path)s.")
                raise CommandError(text % {"path": readable(error.filename)}) from None
            except OSError as error:  # before a source is read; see below for later ones
                raise CommandError(storable(str(error))) from None
            except KeyboardInterrupt:
                raise CommandError(_("Interrupted."), returncode=INTERRUPTED) from None


def _project(text: str) -> Project:
    """Raises CommandError."""
    text = storable(text)
    project = Project.objects.filter(pk=text).first()
    if project is not None:
        return project
    named = list(Project.objects.filter(name=text)[:2])
    if not named:
        raise CommandError(_("No project with the ID or name %(name)s.") % {"name": text})
    if len(named) > 1:
        raise CommandError(
            _("Several projects have the name %(name)s: give its ID.") % {"name": text}
        )
    return named[0]


class _Importing:
    """One run of a command. A source that cannot be read does not stop the others."""

    def __init__(self, command: BaseCommand, project: Project, run_name: str | None) -> None:
        self.command = command
        self.project = project
        self.run_name = run_name
        self.results: Counter[Result] = Counter()
        self.points = 0
        self.problems: list[str] = []
        self.is_alone = False  # the only source; then its problem is the command's

    def bring_in(self, sources: list[Source], paths: Sequence[Path]) -> None:
        """Raises CommandError."""
        if not sources:
            names = ", ".join(map(readable, paths))
            raise CommandError(_("There is nothing to import in %(path)s.") % {"path": names})
        self._check_name(sum(not isinstance(source, UnreadableFolder) for source in sources))
        self.is_alone = len(sources) == 1
        sizes = list(map(_size_bytes, sources))
        total_bytes = sum(sizes) or 1
        # On standard error, only if it is a terminal.
        with tqdm(
            total=1.0, disable=None, bar_format="{percentage:3.0f}%|{bar}| {remaining}{postfix}"
        ) as bar:
            for source, size in zip(sources, sizes, strict=True):
                bar.set_postfix_str(f" {source.name}", refresh=False)
                self._bring_in_source(source, _part(bar.update, size / total_bytes))
        if self.is_alone and self.problems:
            raise CommandError(self.problems[0])
        self._report()

    def _check_name(self, count: int) -> None:
        if self.run_name and count > 1:
            text = _("--run-name is for one run; there are %(count)d.")
            raise CommandError(text % {"count": count})

    def _bring_in_source(self, source: Source, progress: Progress) -> None:
        runs = self._tried(source.name, lambda: source.read(_part(progress, READING)))
        if runs is None:
            return
        self._check_name(len(runs))
        self.is_alone = self.is_alone and len(runs) <= 1
        for past in runs:
            part = _part(progress, (1 - READING) / len(runs))
            name = source.name if len(runs) == 1 else past.name
            self._tried(name, partial(self._bring_in_run, past, part))
        if not runs:
            text = _("%(name)s has no metrics.") % {"name": source.name}
            self._say(text)

    def _tried(self, name: str, work: Callable[[], T]) -> T | None:
        """What ``work`` returns; None if it has failed: whatever is wrong with one source or run
        must not stop the others."""
        try:
            return work()
        except BadSource as error:
            self._complain(str(error))
        except (DomainError, OSError) as error:
            self._complain(f"{name}: {reason_of(error)}")
        except Exception as error:
            logger.debug("%s cannot be imported", name, exc_info=True)
            self._complain(f"{name}: {_first_line(error)}")
        return None

    def _bring_in_run(self, past: PastRun, progress: Progress) -> None:
        named = replace(past, name=self.run_name or past.name)
        outcome = bring_in(self.project, named, progress)
        self.results[outcome.result] += 1
        self.points += outcome.points
        if outcome.result == Result.IN_TRASH:
            text = _("%(id)s (%(name)s) is in the trash: restore it first.")
            self._complain(text % {"id": outcome.run_id, "name": named.name})
        elif outcome.result != Result.UNCHANGED:
            self._say(_said(named, outcome))

    def _say(self, text: str) -> None:
        with tqdm.external_write_mode():
            self.command.stdout.write(storable(text))

    def _complain(self, text: str) -> None:
        text = storable(text)
        self.problems.append(text)
        if not self.is_alone:
            with tqdm.external_write_mode():
                self.command.stderr.write(text)

    def _report(self) -> None:
        text = _(
            "Runs: %(created)d new, %(continued)d with new points, %(unchanged)d unchanged. "
            "New points: %(points)d."
        )
        self.command.stdout.write(
            text
            % {
                "created": self.results[Result.CREATED],
                "continued": self.results[Result.CONTINUED],
                "unchanged": self.results[Result.UNCHANGED],
                "points": self.points,
            }
        )
        if self.problems:
            text = _("Not imported: %(count)d, see above.") % {"count": len(self.problems)}
            raise CommandError(text)


def _size_bytes(source: Source) -> int:
    try:
        return source.size_bytes
    except OSError:  # reading it says why
        return 0


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _part(progress: Progress, weight: float) -> Progress:
    """Reports a part of the work."""
    return lambda share: progress(share * weight)


def _said(past: PastRun, outcome: Outcome) -> str:
    text = _("%(id)s %(name)s: %(points)d new points") % {
        "id": outcome.run_id,
        "name": past.name,
        "points": outcome.points,
    }
    if past.left_out:
        text += _("; %(count)d values that are no metrics are left out") % {"count": past.left_out}
    if outcome.left_out:
        text += _("; %(count)d hyperparameters and tags that cannot be stored are left out") % {
            "count": outcome.left_out
        }
    return text
