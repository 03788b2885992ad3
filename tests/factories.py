"""Factories for valid rows; tests set only the fields they are about."""

import hashlib
import io
import json
import sys
from datetime import timedelta
from pathlib import Path

import factory
from django.contrib.auth.models import User
from django.utils import timezone
from factory.django import DjangoModelFactory

from accounts.roles import Role
from artifacts import storing
from artifacts.direct_uploads import DirectUpload
from artifacts.models import Artifact
from artifacts.storage import artifact_storage
from notices.models import Event, Webhook
from projects.models import Project
from runs.models import GpuPool, Recipe, Run, Worker
from runs.status import TERMINAL, RunStatus


class UserFactory(DjangoModelFactory):
    class Meta:
        model = "auth.User"
        skip_postgeneration_save = True

    username = factory.Sequence("user{}".format)


class ProjectFactory(DjangoModelFactory):
    class Meta:
        model = Project

    name = "中文摘要系统"
    task_type = "文本摘要"
    base_model = "llama-2-13b"
    owner = "小李"
    default_hyperparameters = factory.LazyFunction(
        lambda: {"learning_rate": 3e-5, "batch_size": 16}
    )


def member_of(project: Project, role: Role = Role.MEMBER, **fields) -> User:
    """A new user with this role in the project."""
    user: User = UserFactory(**fields)
    project.roles.create(user=user, role=role)
    return user


class WorkerFactory(DjangoModelFactory):
    class Meta:
        model = Worker

    name = factory.Sequence("worker-{}".format)
    host = "elsewhere"
    pid = 1
    executors = factory.LazyFunction(lambda: ["simulated", "process"])
    slots = 8
    started_at = factory.LazyFunction(timezone.now)
    last_heartbeat = factory.SelfAttribute("started_at")


class GpuPoolFactory(DjangoModelFactory):
    class Meta:
        model = GpuPool

    name = factory.SelfAttribute("gpu_type")
    gpu_type = "A100"
    capacity = 8


class WebhookFactory(DjangoModelFactory):
    class Meta:
        model = Webhook

    name = "hook"
    project = factory.SubFactory(ProjectFactory)
    address = "https://hooks.example.org/one"
    events = factory.LazyFunction(lambda: [Event.RUN_FAILED.value])


class RecipeFactory(DjangoModelFactory):
    """A recipe that runs a process; ``script`` is its Python code."""

    class Meta:
        model = Recipe

    class Params:
        script = "pass"

    name = factory.Sequence("recipe-{}".format)
    executor = "process"
    command = factory.LazyAttribute(lambda recipe: [sys.executable, "-c", recipe.script])
    stop_grace_seconds = 30


class RunFactory(DjangoModelFactory):
    """A queued simulated run, created directly and not through runs.actions.create_run."""

    class Meta:
        model = Run

    project = factory.SubFactory(ProjectFactory)
    project_version = 1
    name = factory.Sequence("run-{:03d}".format)
    recipe = factory.LazyFunction(lambda: Recipe.objects.get(name="simulated"))
    model = "llama-2-13b"
    dataset = "中文科技论文语料"
    hyperparameters = factory.LazyFunction(lambda: {"max_steps": 100})
    total_steps = 100
    # That of its type, if there is one.
    pool = factory.LazyAttribute(
        lambda run: run.gpu_type if getattr(run, "gpu_count", 0) and _has_pool(run) else ""
    )
    status = RunStatus.QUEUED
    queued_at = factory.LazyFunction(timezone.now)
    started_at = factory.LazyAttribute(
        lambda run: None if run.status == RunStatus.QUEUED else timezone.now()
    )
    finished_at = factory.LazyAttribute(
        lambda run: timezone.now() if run.status in TERMINAL else None
    )


def _has_pool(run) -> bool:
    return GpuPool.objects.filter(pk=getattr(run, "gpu_type", "")).exists()


class DirectUploadFactory(DjangoModelFactory):
    """An open upload of one part, of which S3 does not know."""

    class Meta:
        model = DirectUpload

    run = factory.SubFactory(RunFactory)
    file = "large.bin"
    size_bytes = 10
    sha256 = "0" * 64
    part_count = 1
    part_size = 10
    stored_as = factory.Sequence(".files/{}".format)
    key = factory.LazyAttribute(lambda it: f"{it.run.project_id}/{it.run.pk}/{it.stored_as}")
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(days=1))


def running(worker: Worker | None = None, **fields) -> Run:
    """A running run assigned to a worker."""
    return RunFactory(status=RunStatus.RUNNING, worker=worker or WorkerFactory(), **fields)


def unmanaged_run(**fields) -> Run:
    """A running run whose script reports through the API."""
    defaults = {"recipe": None, "status": RunStatus.RUNNING, "hyperparameters": {}}
    return RunFactory(**{**defaults, **fields})


def checkpoint(run: Run, *, step: int = 100, content: bytes | None = None) -> Artifact:
    """A checkpoint with content like that of the simulated executor."""
    if content is None:
        content = json.dumps({"step": step, "effort": float(step)}).encode() + b"\nweights"
    return storing.store_checkpoint(run, io.BytesIO(content), step=step, suffix=".pt")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def stored_path(artifact: Artifact) -> Path:
    """The path of the artifact's file."""
    return Path(artifact_storage().path(artifact.storage_key))


def damage(artifact: Artifact) -> None:
    """Flip one bit of the stored content."""
    path = stored_path(artifact)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
