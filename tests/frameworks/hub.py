"""What the tests of frameworks do with TrainHub, as a user would: by its API."""

from __future__ import annotations

import re
from typing import Any

import psutil
from django.core.management import call_command

from artifacts.models import Artifact
from runs.models import Recipe, Run
from tests.factories import RecipeFactory
from tests.frameworks.recipes import COMMON, EXAMPLES, FRAMEWORKS, Framework
from tests.waiting import wait_until
from tests.web_server import WebServer

SECONDS = 180.0  # for a training, on a machine that is busy with others


class Hub:
    def __init__(self, server: WebServer) -> None:
        self.server = server
        self.api = server.api
        self._undisturbed: dict[str, Training] = {}

    def start(self, framework: Framework, **hyperparameters: Any) -> Training:
        """Of 24 steps; a hyperparameter that is None is left to the recipe."""
        project = self.api.post("/projects", {"name": framework.name}).json
        wanted = {"max_steps": 24, **hyperparameters}
        answer = self.api.post(
            f"/projects/{project['id']}/runs",
            {
                "recipe": framework.name,
                "hyperparameters": {
                    name: value for name, value in wanted.items() if value is not None
                },
            },
        )
        assert answer.status == 201, answer.body
        return Training(self, framework, answer.json["id"])

    def undisturbed(self, framework: Framework) -> Training:
        """A training that nothing has disturbed; one for all tests."""
        if framework.name not in self._undisturbed:
            training = self.start(framework)
            training.wait_for_end()
            self._undisturbed[framework.name] = training
        return self._undisturbed[framework.name]


def make_recipes() -> None:
    for framework in FRAMEWORKS:
        RecipeFactory(
            name=framework.name,
            command=framework.command,
            environment=COMMON | framework.environment,
            stop_grace_seconds=60,
        )
    for file, framework in EXAMPLES.items():
        call_command("loaddata", file, verbosity=0)
        recipe = Recipe.objects.get(name=framework.name)
        recipe.command = framework.command
        recipe.environment |= COMMON | framework.environment
        recipe.save()


class Training:
    """A run, followed from outside."""

    def __init__(self, hub: Hub, framework: Framework, run_id: str) -> None:
        self.hub = hub
        self.framework = framework
        self.id = run_id

    @property
    def run(self) -> Run:
        return Run.objects.select_related("project").get(pk=self.id)

    @property
    def path(self) -> str:
        return f"/projects/{self.run.project_id}/runs/{self.id}"

    # --- observing ---------------------------------------------------------------------------

    def losses(self) -> list[tuple[int, float]]:
        """Step and loss of every point that was stored."""
        series = self.run.series.filter(key=self.framework.loss).first()
        if series is None:
            return []
        return list(series.points.order_by("step").values_list("step", "value"))

    def checkpoints(self) -> list[Artifact]:
        return list(self.run.artifacts.checkpoints().order_by("step", "created_at"))

    def output(self) -> str:
        return "\n".join(self.run.log_lines.order_by("seq").values_list("message", flat=True))

    def wait_for_step(self, step: int) -> None:
        self._wait(lambda: self.run.step >= step, f"step {step}")

    def wait_for_checkpoint(self) -> None:
        """Until TrainHub has stored one, and the training is two steps further."""
        self._wait(lambda: any(not item.damage for item in self.checkpoints()), "a checkpoint")
        self.wait_for_step(max(item.step or 0 for item in self.checkpoints()) + 2)

    def wait_for_end(self) -> Run:
        self._wait(lambda: self.run.is_terminal, "its end")
        return self.run

    def _wait(self, condition: Any, what: str) -> None:
        def or_over() -> bool:
            return condition() or self.run.is_terminal

        try:
            wait_until(or_over, seconds=SECONDS, every=0.05)
        except AssertionError:
            raise AssertionError(f"not within {SECONDS} s: {what}\n{self.report()}") from None
        assert condition(), f"ended before {what}\n{self.report()}"

    def report(self) -> str:
        run = self.run
        events = [
            f"attempt {event.attempt}: {event.kind} {event.reason}" for event in run.events.all()
        ]
        status = f"{run.status} at step {run.step}: {run.status_reason}"
        return "\n".join([status, *events, self.output()[-8000:]])

    # --- disturbing --------------------------------------------------------------------------

    def cancel(self) -> dict[str, Any]:
        answer = self.hub.api.post(f"{self.path}/cancel")
        assert answer.status in {200, 202}, answer.body
        self.wait_for_end()
        return self.hub.api.get(self.path).json

    def resume(self, checkpoint: Artifact, **hyperparameters: Any) -> Training:
        answer = self.hub.api.post(
            f"{self.path}/resume?source_artifact_id={checkpoint.pk}",
            {"hyperparameters": hyperparameters},
        )
        assert answer.status == 201, answer.body
        return Training(self.hub, self.framework, answer.json["id"])

    def leader(self) -> psutil.Process:
        """The command's process."""
        [process] = [item for item in self.processes() if _is_child_of_launcher(item)]
        return process

    def ranks(self) -> list[psutil.Process]:
        """The processes that train: of those with the script in their command, those that have
        started no other."""
        [script] = re.findall(r"/\S+/trainings/\w+\.py", " ".join(self.framework.command))
        return [item for item in self.processes() if _trains(item, script)]

    def processes(self) -> list[psutil.Process]:
        variables = {"TRAINHUB_RUN_ID": self.id, "TRAINHUB_ATTEMPT": str(self.run.attempt)}
        found = []
        for process in psutil.process_iter():
            try:
                if variables.items() <= process.environ().items():
                    found.append(process)
            except psutil.Error:
                continue
        return sorted(found, key=lambda process: process.create_time())


def _is_child_of_launcher(process: psutil.Process) -> bool:
    parent = process.parent()
    return parent is not None and any(
        part.endswith("launcher/__main__.py") for part in parent.cmdline()
    )


def _trains(process: psutil.Process, script: str) -> bool:
    try:
        return script in process.cmdline() and not process.children()
    except psutil.Error:
        return False
