"""An attempt that is mirrored, and a node that mirrors it."""

import pytest

from execution.executors.attempt import Attempt
from execution.mirror.materializing import restore
from tests.execution.mirror.nodes import ImitatedNode, mirrored_attempt
from tests.factories import running


@pytest.fixture
def mirrored():
    row, attempt = mirrored_attempt(running())
    restore(row, attempt)
    return row


@pytest.fixture
def attempt(mirrored):
    return Attempt(mirrored.run_id, mirrored.number)


@pytest.fixture
def node(tmp_path, mirrored):
    return ImitatedNode(tmp_path / "node", mirrored)
