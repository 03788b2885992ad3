"""English pages and answers hold no Chinese but what people have entered."""

import re

import pytest
from django.test import Client
from django.utils.translation import override

from accounts.open_mode import local_administrator
from artifacts.kinds import TagValue
from artifacts.models import Artifact
from dashboard.comparison import address
from execution.executors.simulated import SimulatedExecutor
from execution.worker import WorkerLoop
from projects.models import Project
from runs import actions, unmanaged
from runs.interruptions import pause_run
from runs.models import ExecutorName, Recipe, Run, Worker
from runs.status import RunStatus
from tests.admin import list_of, page_of
from tests.factories import RecipeFactory, damage

pytestmark = pytest.mark.django_db

HAN = re.compile("[\u3400-\u9fff]+")
# The contract's values, which are the same in every language, and the link to the other language.
CONTRACT = {*RunStatus.values, *TagValue.values, "草稿", "进行中", "已归档"}
OTHER_LANGUAGE = {"中文"}
NOTES = "通过复核"  # what a person has entered


@pytest.fixture
def project() -> Project:
    return Project.create({"name": "summaries", "base_model": "llama"}, by=local_administrator())


@pytest.fixture
def runs(project) -> list[Run]:
    """One of each kind, all of which have ended, waited or run while Chinese was spoken."""
    with override("zh-hans"):
        executor = SimulatedExecutor(steps_per_poll=5)
        loop = WorkerLoop(name="one", executors={ExecutorName.SIMULATED: executor}, slots=9)
        loop.register()
        short = {"max_steps": 10, "save_steps": 5, "eval_steps": 5}
        completed = actions.create_run(project, by=None, hyperparameters=short)
        diverged = {"max_steps": 100, "learning_rate": 1.0}
        failed = actions.create_run(project, by=None, hyperparameters=diverged)
        cancelled = actions.create_run(project, by=None, hyperparameters=short)
        for _ in range(30):
            loop.tick()
            cancelled.refresh_from_db()
            if cancelled.status == RunStatus.RUNNING and cancelled.step:
                actions.cancel_run(cancelled, by=None)
        completed.refresh_from_db()
        broken = completed.artifacts.checkpoints().get(step=5)
        completed.artifacts.checkpoints().get(step=10).tag(
            TagValue.RELEASED, notes=NOTES, by=local_administrator()
        )
        damage(broken)
        refused = Run.objects.create(
            **{field: getattr(completed, field) for field in ("project", "recipe", "model")},
            project_version=1,
            name="refused",
            status=RunStatus.RUNNING,
            started_at=completed.started_at,
            resumed_from_id=broken.pk,
            start_step=5,
        )
        for _ in range(3):
            loop.tick()
        lost = unmanaged.create_unmanaged_run(project, by=None, name="lost")
        unmanaged._mark_as_lost(lost)
        waiting = actions.create_run(project, by=None, recipe=RecipeFactory())
        paused = pause_run(actions.create_run(project, by=None), by=None)
    found = [completed, failed, cancelled, refused, lost, waiting, paused]
    for run in found:
        run.refresh_from_db()
    return found


def paths(project, runs):
    yield from ("/dashboard", "/dashboard/workers", f"/dashboard/projects/{project.pk}")
    yield from ("/dashboard/home", "/dashboard/running", "/dashboard/failed", "/dashboard/projects")
    yield from ("/dashboard/activity", "/dashboard/recipes", "/dashboard/recipes/new")
    for recipe in Recipe.objects.all():
        yield from (f"/dashboard/recipe/{recipe.pk}", f"/dashboard/recipe/{recipe.pk}/edit")
    for part in ("edit", "about", "versions", "checkpoints", "checkpoints/leaderboard",
                 "checkpoints/leaderboard.csv", "checkpoints/releases", "table.csv"):  # fmt: skip
        yield f"/dashboard/projects/{project.pk}/{part}"
    yield f"/dashboard/projects/{project.pk}/runs/new"
    for run in runs:
        page = f"/dashboard/projects/{project.pk}/runs/{run.pk}"
        yield page
        for part in ("log", "checkpoints", "configuration", "lineage", "events", "describe", "live",
                     "metrics", "tail", "lines", "log/download", "series", "charts"):  # fmt: skip
            yield f"{page}/{part}"
        for artifact in run.artifacts.all():
            yield f"{page}/artifacts/{artifact.pk}"
        for artifact in run.artifacts.checkpoints():
            for part in ("resume", "release", "model-card", "model-card/README.md"):
                yield f"{page}/artifacts/{artifact.pk}/{part}"
    compared = ",".join(run.pk for run in runs)
    for tab in address.TABS:
        yield f"/dashboard/compare?runs={compared}&tab={tab}"
    for model in (Run, Artifact, Recipe, Worker, Project):
        yield list_of(model)
    for run in runs:
        yield page_of(run)
        for artifact in run.artifacts.all():
            yield page_of(artifact)


def answers(project, runs):
    yield from ("/projects", f"/projects/{project.pk}", f"/projects/{project.pk}/runs")
    for run in runs:
        detail = f"/projects/{project.pk}/runs/{run.pk}"
        yield from (detail, f"{detail}/artifacts", f"{detail}/logs", f"{detail}/events")
        yield f"{detail}/explanation"


def chinese_in(text, allowed):
    return [found for found in HAN.findall(text) if found not in allowed]


def read(client, path):
    response = client.get(path)
    assert response.status_code in {200, 204, 286}, (path, response.status_code)
    content = b"".join(response) if response.streaming else response.content
    return content.decode()


def test_english_pages_hold_no_chinese(project, runs):
    assert {run.status for run in runs} == set(RunStatus) - {RunStatus.RUNNING}
    assert all(run.status_reason for run in runs[1:5])
    client = Client(headers={"Accept-Language": "en"}, SERVER_NAME="localhost")
    client.force_login(local_administrator())

    allowed = {NOTES, *OTHER_LANGUAGE, *CONTRACT}
    found = {path: chinese_in(read(client, path), allowed) for path in paths(project, runs)}

    assert {path: words for path, words in found.items() if words} == {}


def test_english_answers_hold_no_chinese(project, runs):
    client = Client(headers={"Accept-Language": "en"}, SERVER_NAME="localhost")

    allowed = {NOTES, *CONTRACT}
    found = {path: chinese_in(read(client, path), allowed) for path in answers(project, runs)}

    assert {path: words for path, words in found.items() if words} == {}


def test_client_that_asks_for_no_language_gets_the_servers(settings, project):
    settings.LANGUAGE_CODE = "en"

    answer = Client(SERVER_NAME="localhost").get(f"/projects/{project.pk}/runs/run_none")

    assert not HAN.search(answer.content.decode())
