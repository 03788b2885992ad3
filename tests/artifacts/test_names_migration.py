"""The names that earlier versions gave artifacts become messages."""

from importlib import import_module

import pytest
from django.apps import apps
from django.db import connection

from artifacts.models import Artifact
from tests.factories import RunFactory, checkpoint

migration = import_module("artifacts.migrations.0002_names_as_messages")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "name", ["第 2000 步检查点", "取消前的检查点", "最终模型", '最终模型 out/"best"', "模型.pt"]
)
def test_name_reads_in_chinese_as_before(name):
    artifact = checkpoint(RunFactory())
    Artifact.objects.filter(pk=artifact.pk).update(name=name)

    with connection.schema_editor() as editor:
        migration.as_messages(apps, editor)

    artifact.refresh_from_db()
    assert str(artifact.name) == name
    assert isinstance(artifact.name, str) == (name == "模型.pt")


@pytest.mark.django_db
def test_uploaded_checkpoint_that_a_cancel_kept_is_found():
    run = RunFactory()
    artifact = checkpoint(run)
    Artifact.objects.filter(pk=artifact.pk).update(name="取消前的检查点", stored_as="abc")

    with connection.schema_editor() as editor:
        migration.as_messages(apps, editor)

    assert list(run.artifacts.kept_at_cancel()) == [artifact]
