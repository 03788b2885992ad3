"""Runs with hyperparameters and metrics."""

import pytest

from accounts.open_mode import local_administrator
from metrics.points import Point, Points
from metrics.recording import record_points
from runs.models import Run
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory

START_MS = 1_700_000_000_000


@pytest.fixture
def project():
    return ProjectFactory()


@pytest.fixture
def make_run(project):
    def make(name: str, *, metrics=None, **fields) -> Run:
        """``metrics``: key -> values at steps 0, 1, 2 …"""
        run = RunFactory(project=project, name=name, **{"status": RunStatus.RUNNING, **fields})
        points = [
            Point(key, step, float(value), START_MS + step)
            for key, values in (metrics or {}).items()
            for step, value in enumerate(values)
        ]
        record_points(run.pk, Points.of(points))
        run.refresh_from_db()
        return run

    return make


@pytest.fixture
def client(client, settings):
    settings.LANGUAGE_CODE = "en"
    local_administrator()  # otherwise created by the first request
    return client


@pytest.fixture
def url(project):
    return f"/dashboard/projects/{project.pk}"
