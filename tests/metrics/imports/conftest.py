"""Fixtures of the import tests."""

import pytest
from django.core.management import call_command

from metrics.models import MetricPoint
from runs.models import Run
from tests.factories import ProjectFactory


@pytest.fixture
def project():
    return ProjectFactory.create(name="old runs")


@pytest.fixture
def bring_in(project, monkeypatch, capsys):
    """Runs an import command on paths; returns what it prints."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")

    def command(name, *paths, **options):
        call_command(name, *map(str, paths), project=options.pop("project", project.pk), **options)
        return capsys.readouterr().out

    return command


@pytest.fixture
def points_of():
    def points(run, key):
        stored = MetricPoint.objects.filter(series__run=run, series__key=key)
        return list(stored.order_by("step", "timestamp_ms").values_list("step", "value"))

    return points


@pytest.fixture
def run_named():
    return lambda name: Run.objects.get(name=name)
