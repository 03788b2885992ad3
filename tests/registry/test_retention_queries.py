"""What policies read of all checkpoints at once is what is told of each of them."""

import io

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from artifacts import trash, uploads
from artifacts.models import Artifact, EvaluationResult
from registry import checkpoint_queries
from registry.checkpoint_retention import Retention
from registry.retention_preview import preview
from registry.retention_queries import checkpoints_of, results_of
from runs.status import RunStatus
from tests.factories import ProjectFactory, RunFactory, checkpoint

pytestmark = pytest.mark.django_db

STEPS = st.integers(0, 12)


def test_row_of_a_checkpoint_tells_what_the_artifact_does():
    run = RunFactory(status=RunStatus.COMPLETED)
    checkpoint(run, step=10)
    model = checkpoint(run, step=11)
    model.metadata = {"layout": "model"}
    model.set_damage("cut off")
    model.save()
    for path in ("checkpoint-20/model.safetensors", "checkpoint-20/optimizer.pt", "last.ckpt"):
        uploads.store(run, path, io.BytesIO(b"x"))

    rows = {row.pk: row for row in checkpoints_of(run.project_id, [run.pk])}

    artifacts = Artifact.objects.checkpoints().filter(run=run)
    assert len(rows) == len(artifacts) == 4
    for artifact in artifacts:
        row = rows[artifact.pk]
        for name in ("run_id", "name", "file", "is_uploaded", "step", "size_bytes", "folder"):
            assert getattr(row, name) == getattr(artifact, name), name
        assert (row.layout, row.is_damaged) == (artifact.layout, bool(artifact.damage))
        assert (row.run_name, row.updated) == (run.name, artifact.updated_at.timestamp())


@hypothesis_settings(
    max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    steps=st.sets(STEPS, min_size=1),
    removed=st.sets(STEPS),
    own=st.lists(STEPS, max_size=6),
    by_runs=st.lists(STEPS, max_size=4),
)
def test_results_are_those_that_lists_tell(steps, removed, own, by_runs):
    run = RunFactory(status=RunStatus.COMPLETED)
    artifacts = {step: checkpoint(run, step=step) for step in sorted(steps)}
    file, _is_new = uploads.store(run, "notes.txt", io.BytesIO(b"x"))
    for number, step in enumerate(own):
        tell(run, step, number, artifact=file, key="acc" if number % 3 else "other")
    for number, step in enumerate(by_runs):
        evaluated = artifacts[min(steps, key=lambda it: abs(it - step))]
        evaluation = RunFactory(project=run.project)
        tell(run, evaluated.step, -number, checkpoint=evaluated, evaluated_by=evaluation)
    for step in removed & steps:
        trash.trash(artifacts[step], reason="", by=None)

    rows = checkpoints_of(run.project_id, [run.pk])
    found = results_of(rows, [run.pk], "acc")

    places = [(row.run_id, row.step, row.pk) for row in rows]
    listed = checkpoint_queries.results_of(places)
    assert [found.get(row.pk) for row in rows] == [told.get("acc") for told in listed]


def tell(run, step, value, *, key="acc", **source):
    EvaluationResult.objects.update_or_create(
        run=run, step=step, key=key, project=run.project, **source, defaults={"value": value}
    )


def test_preview_takes_as_many_statements_for_many_runs(django_assert_max_num_queries):
    project = ProjectFactory()
    for _number in range(5):
        run = RunFactory(project=project, status=RunStatus.PAUSED)
        for step in (10, 20):
            checkpoint(run, step=step)

    with django_assert_max_num_queries(12):
        found = preview(project, Retention(last=1))

    assert (len(found.removed), len(found.kept)) == (5, 5)
