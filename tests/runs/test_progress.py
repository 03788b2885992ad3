"""The progress of a run."""

import pytest

from runs.progress import report_progress
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("step", "total", "progress"), [(25, 100, 0.25), (150, 100, 1.0), (7, None, 0.4)]
)
def test_progress_is_the_fraction_of_the_total_steps_if_known(step, total, progress):
    run = RunFactory(progress=0.4)

    report_progress(run, step=step, total_steps=total)

    run.refresh_from_db()
    assert (run.step, run.total_steps, run.progress) == (step, total, progress)
