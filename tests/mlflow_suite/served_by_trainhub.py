"""A pytest plugin in MLflow's own environment: the servers of its tests are the TrainHub that runs.

MLflow's fixtures start a server for each test by two helpers. Here these empty TrainHub's database
and give its address; the tests themselves stay as they are.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import pytest
import requests

TRAINHUB = os.environ["TRAINHUB_ADDRESS"]
EMPTIER = os.environ["TRAINHUB_EMPTIER"]  # a request to this address empties the database


@contextmanager
def trainhub(*args: object, **kwargs: object) -> Iterator[str]:
    requests.post(EMPTIER, timeout=60).raise_for_status()
    mlflow.set_tracking_uri(TRAINHUB)  # for MLflow's commands, which would use its server's files
    yield TRAINHUB


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Before MLflow's tests are imported, which copy the names."""
    from tests.tracking import integration_test_utils

    integration_test_utils.ServerThread = trainhub
    integration_test_utils._init_server = trainhub
    defaults = requests.sessions.default_headers
    # Tests compare messages with MLflow's English ones.
    requests.sessions.default_headers = lambda: {**defaults(), "Accept-Language": "en"}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Once is enough: which store MLflow's server would have makes no difference here. One test
    starts that server itself."""
    own = ("[file", "test_create_model_version_with_validation_regex")
    dropped = [item for item in items if any(text in item.name for text in own)]
    config.hook.pytest_deselected(items=dropped)
    items[:] = [item for item in items if item not in dropped]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write a line for each test: its name and how it ended."""
    is_end = report.when == "call" or (report.when == "setup" and not report.passed)
    if is_end:
        outcome = "passed" if hasattr(report, "wasxfail") else report.outcome
        with open(os.environ["TRAINHUB_OUTCOMES"], "a") as file:
            file.write(f"{report.nodeid.rpartition('::')[2]} {outcome}\n")
