"""Valid rows by default; a test says only what it is about."""

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from projects.models import Project
from runs.models import Recipe, Run, Worker
from runs.status import RunStatus


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


class WorkerFactory(DjangoModelFactory):
    class Meta:
        model = Worker

    name = factory.Sequence("worker-{}".format)
    host = "elsewhere"
    pid = 1
    executors = factory.LazyFunction(lambda: ["simulated", "process"])
    seats = 8
    started_at = factory.LazyFunction(timezone.now)
    last_heartbeat = factory.SelfAttribute("started_at")


class RunFactory(DjangoModelFactory):
    """A queued simulated run. Made directly: for the ways a run really comes to be, see
    runs.actions.create_run."""

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
    status = RunStatus.QUEUED
