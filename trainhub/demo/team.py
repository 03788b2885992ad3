"""Whom and what the demo's trainings share: the team, its recipes, GPU pools and workers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib.auth.models import User

from accounts.models import Team as UserTeam
from accounts.roles import Role
from runs.models import ExecutorName, GpuPool, Recipe, Worker
from trainhub.demo.texts import Texts

POOLS: Final = {"H100": 16, "A100": 8}
TEAM: Final = "Demo"
NODES: Final = ("gpu-node-1", "gpu-node-2", "gpu-node-3")


@dataclass(frozen=True)
class Team:
    """``now``: the moment that all times count back from."""

    now: datetime
    texts: Texts
    people: tuple[User, ...]
    owners: UserTeam  # of the projects: all of ``people``
    recipes: dict[str, Recipe]
    nodes: tuple[Worker, ...]

    def ago(self, *, days: float = 0, hours: float = 0, minutes: float = 0) -> datetime:
        return self.now - timedelta(days=days, hours=hours, minutes=minutes)


def gather(texts: Texts, now: datetime) -> Team:
    """The team, created as far as it is not there."""
    for gpu_type, capacity in POOLS.items():
        GpuPool.objects.get_or_create(
            name=gpu_type, defaults={"gpu_type": gpu_type, "capacity": capacity}
        )
    people = tuple(_person(name) for name in texts.people)
    return Team(
        now=now,
        texts=texts,
        people=people,
        owners=_owners(people),
        recipes={
            "pretrain": _recipe("demo-pretrain", texts.pretrain_recipe, {"seq_length": 4096}),
            "tune": _recipe("demo-sft", texts.tune_recipe, {"optimizer": "adamw"}),
            "align": _recipe("demo-dpo", texts.align_recipe, {"max_length": 2048}),
        },
        nodes=tuple(_node(name, now) for name in NODES),
    )


def _owners(people: tuple[User, ...]) -> UserTeam:
    team, _is_new = UserTeam.objects.get_or_create(name=TEAM)
    for person in people:
        team.add(person, Role.MAINTAINER if person is not people[0] else Role.OWNER, by=None)
    return team


def _person(name: str) -> User:
    """Somebody who cannot sign in until an operator sets a password."""
    person, is_new = User.objects.get_or_create(username=name)
    if is_new:
        person.set_unusable_password()
        person.save(update_fields=["password"])
    return person


def _recipe(name: str, description: str, defaults: dict[str, Any]) -> Recipe:
    """Simulated, so that "Run again" works everywhere."""
    recipe, _is_new = Recipe.objects.get_or_create(
        name=name,
        defaults={
            "description": description,
            "executor": ExecutorName.SIMULATED,
            "default_hyperparameters": defaults,
        },
    )
    return recipe


def _node(name: str, now: datetime) -> Worker:
    """A worker that has stopped: it claims nothing."""
    stopped_at = now - timedelta(hours=5, minutes=20)
    worker, _is_new = Worker.objects.get_or_create(
        name=name,
        defaults={
            "host": name,
            "pid": 4117,
            "executors": [ExecutorName.SIMULATED],
            "slots": 4,
            "started_at": now - timedelta(days=30),
            "last_heartbeat": stopped_at,
            "stopped_at": stopped_at,
        },
    )
    return worker
