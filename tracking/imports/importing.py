"""An import from an MLflow server: one experiment after another, some runs at once, the registry.

It may be started again at any time: what is here already is known by its ID.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from django.db import connection
from django.utils import translation
from django.utils.translation import gettext as _

from core.exceptions import DomainError
from projects.models import Project
from runs.models import Run
from tracking.errors import MlflowError
from tracking.imports import messages
from tracking.imports.connection import ServerRefused
from tracking.imports.context import Context
from tracking.imports.experiments import (
    archive_if_deleted,
    bring_in_experiment,
    is_unused_default,
    project_id_of,
)
from tracking.imports.logged_models import bring_in_logged_model
from tracking.imports.registry import bring_in_model, is_known
from tracking.imports.runs import bring_in_run

RUNS_AT_ONCE: Final = 4
WAITING: Final = 2 * RUNS_AT_ONCE  # that many are known before they are begun


class Bar(Protocol):
    """A progress bar that counts runs."""

    total: float | None

    def update(self, n: float = 1) -> object: ...
    def refresh(self) -> object: ...


@dataclass
class Import:
    context: Context
    bar: Bar
    names: Collection[str] = ()  # of experiments; empty: all

    def run(self) -> None:
        """Raises ServerAway, ServerRefused, InvalidInput for what concerns the whole server."""
        for experiment in self._chosen():
            self._experiment(experiment)
        self._registry()

    def rehearse(self) -> Iterator[tuple[messages.Experiment, int, int]]:
        """What would be imported: the experiments, with the number of their runs and how many of
        them are here already."""
        for experiment in self._chosen():
            ids = list(self.context.server.run_ids(experiment.experiment_id))
            if is_unused_default(experiment, has_runs=bool(ids)):
                continue
            here = Run.objects.filter(
                project=project_id_of(self.context, experiment), is_hidden=False
            )
            yield experiment, len(ids), len(set(ids) & set(here.values_list("pk", flat=True)))

    def _chosen(self) -> list[messages.Experiment]:
        """Raises NoSuchExperiment."""
        found = list(self.context.server.experiments())
        self.context.projects = frozenset(project_id_of(self.context, it) for it in found)
        if not self.names:
            return found
        missing = set(self.names) - {experiment.name for experiment in found}
        if missing:
            text = _("The server has no experiment %(names)s.")
            raise NoSuchExperiment(text % {"names": ", ".join(sorted(missing))})
        return [experiment for experiment in found if experiment.name in self.names]

    # --- an experiment ---------------------------------------------------------------------------

    def _experiment(self, experiment: messages.Experiment) -> None:
        ids = self.context.server.run_ids(experiment.experiment_id)
        first = next(ids, None)
        if is_unused_default(experiment, has_runs=first is not None):
            return
        project = bring_in_experiment(self.context, experiment)
        if project.is_archived:
            if not experiment.is_deleted:
                text = _("%(name)s is archived here: reopen the project to import its runs.")
                self.context.tell(text % {"name": project.name})
            return
        if first is not None:
            self._runs(project, first, ids)
        for model in self.context.server.logged_models(experiment.experiment_id):
            work = partial(bring_in_logged_model, self.context, project, model)
            self._tried(model.info.model_id, work)
        archive_if_deleted(project, experiment)

    def _runs(self, project: Project, first: str, others: Iterator[str]) -> None:
        language = translation.get_language()

        def bring_in(run_id: str) -> None:
            try:
                with translation.override(language):
                    self._tried(run_id, lambda: bring_in_run(self.context, project, run_id))
            finally:
                close_connection()

        with ThreadPoolExecutor(RUNS_AT_ONCE, thread_name_prefix="import") as pool:
            pending: set[Future[None]] = {pool.submit(bring_in, first)}
            self._expect(1)
            try:
                for run_id in others:
                    pending.add(pool.submit(bring_in, run_id))
                    self._expect(1)
                    while len(pending) >= WAITING:
                        pending = self._finish(pending)
                while pending:
                    pending = self._finish(pending)
            except BaseException:
                self.context.server.stopping.set()  # those that are at work end soon
                pool.shutdown(cancel_futures=True)
                raise

    def _expect(self, count: int) -> None:
        self.bar.total = (self.bar.total or 0) + count

    def _finish(self, pending: set[Future[None]]) -> set[Future[None]]:
        """Wait for one at least. Raises what it has raised."""
        done, rest = wait(pending, return_when=FIRST_COMPLETED)
        for future in done:
            future.result()
            self.bar.update(1)
        return rest

    # --- the registry ----------------------------------------------------------------------------

    def _registry(self) -> None:
        for prompts in (False, True):
            for model in self.context.server.registered_models(prompts=prompts):
                self._tried(model.name, partial(self._model, model, prompts=prompts))

    def _model(self, model: messages.RegisteredModel, *, prompts: bool) -> None:
        versions = list(self.context.server.versions(model.name, prompts=prompts))
        if self._is_wanted(model, versions):
            bring_in_model(self.context, model, versions)

    def _is_wanted(
        self, model: messages.RegisteredModel, versions: list[messages.ModelVersion]
    ) -> bool:
        """Of some experiments, only the models with a version of one of their runs."""
        if not self.names or is_known(model):
            return True
        ids = {version.run_id for version in versions}
        return Run.objects.filter(pk__in=ids, is_hidden=False).exists()

    def _tried(self, name: str, work: Callable[[], object]) -> None:
        """What is wrong with one run or model must not stop the others."""
        try:
            work()
        except DomainError as error:
            self.context.complain(f"{name}: {error.message}")
        except (ServerRefused, MlflowError) as error:
            self.context.complain(f"{name}: {error}")


def close_connection() -> None:
    """That of this thread, which may end."""
    connection.close()


class NoSuchExperiment(DomainError):
    code = "no_such_experiment"
