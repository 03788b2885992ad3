"""Bundles in the storage: once each, and for as long as a run has them."""

import io
from datetime import timedelta

import pytest
from django.db.models import ProtectedError
from django.utils import timezone

from artifacts.storage import artifact_storage
from artifacts.unreferenced_blobs import UnreferencedBlob
from code_bundles import storing
from code_bundles.manifest import BadBundle
from runs.models import CodeBundle, RunCode
from tests.code_bundles.bundles import bundle, packed
from tests.factories import RunFactory

pytestmark = pytest.mark.django_db


def blobs():
    return artifact_storage().listdir(storing.FOLDER)[1]


def age(stored):
    old = timezone.now() - storing.KEPT_UNUSED - timedelta(minutes=1)
    CodeBundle.objects.filter(pk=stored.pk).update(used_at=old)


def test_same_files_are_stored_once():
    first = bundle({"a.py": "x"})

    again, is_new = storing.receive(io.BytesIO(packed({"a.py": "x"})), by=None)

    assert (again, is_new) == (first, False)
    assert len(blobs()) == 1


def test_bundle_of_another_hash_than_announced_is_refused():
    with pytest.raises(storing.WrongHash):
        storing.receive(io.BytesIO(packed({"a": "x"})), by=None, announced="0" * 64)

    assert not CodeBundle.objects.exists()


def test_too_large_archive_is_refused_while_it_comes(monkeypatch):
    monkeypatch.setattr(storing, "MAX_ARCHIVE_BYTES", 1000)
    monkeypatch.setattr(storing, "CHUNK_BYTES", 100)
    sent = io.BytesIO(bytes(1_000_000))

    with pytest.raises(storing.TooLarge):
        storing.receive(sent, by=None)

    assert sent.tell() == 1100


def test_refused_archive_leaves_nothing():
    with pytest.raises(BadBundle):
        storing.receive(io.BytesIO(b"no archive"), by=None)

    assert not UnreferencedBlob.objects.exists()


def test_unused_bundle_is_swept(django_capture_on_commit_callbacks):
    stored = bundle({"a.py": "x"})
    age(stored)

    with django_capture_on_commit_callbacks(execute=True):
        storing.sweep()

    assert not CodeBundle.objects.exists()
    assert blobs() == []


def test_bundle_just_uploaded_is_kept():
    bundle({"a.py": "x"})

    storing.sweep()

    assert CodeBundle.objects.exists()


def test_bundle_is_kept_while_a_run_has_it(django_capture_on_commit_callbacks):
    stored = bundle({"a.py": "x"})
    run = RunFactory()
    RunCode.objects.create(run=run, bundle=stored)
    age(stored)

    with django_capture_on_commit_callbacks(execute=True):
        storing.sweep()
    with pytest.raises(ProtectedError):
        stored.delete()
    assert len(blobs()) == 1

    run.delete()
    with django_capture_on_commit_callbacks(execute=True):
        storing.sweep()

    assert blobs() == []


def test_asking_for_a_bundle_keeps_it():
    stored = bundle({"a.py": "x"})
    age(stored)

    assert storing.touch(stored.pk)
    storing.sweep()

    assert CodeBundle.objects.exists()
