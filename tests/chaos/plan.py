"""What runs there are, and what becomes of them: from a seed, so that it can be repeated."""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from runs.actions import create_run
from runs.models import Quota, Run
from tests.factories import GpuPoolFactory, ProjectFactory, RecipeFactory

TRAINING = Path(__file__).with_name("witnessed_training.py")
GPU_TYPE = "a100"
GRACE_SECONDS = 2
SAVE_STEPS = 10
MAX_RESTARTS = 3
DYING_RESTARTS = 2
# Of 20 runs, how many have which fate.
FATES = {
    "completes": 10,
    "fails": 2,  # raises an error at some step
    "dies": 1,  # kills itself, at the same step in each attempt
    "is fragile": 1,  # has no restarts
    "is cancelled": 2,
    "is cancelled and deaf": 1,  # and does not listen to SIGTERM
    "is paused": 2,
    "is urgent": 1,  # others give up their GPUs for it
}
CANCELLED = {"is cancelled", "is cancelled and deaf"}


@dataclass
class Planned:
    number: int
    at: float  # seconds from the beginning until it is created
    fate: str
    steps: int
    gpus: int
    nodes: int
    priority: int
    wish_after: float  # seconds until somebody cancels or pauses it
    project: int
    run: Run | None = None
    wished: list[str] = field(default_factory=list)  # what was asked for and not refused

    @property
    def max_restarts(self):
        return {"is fragile": 0, "dies": DYING_RESTARTS}.get(self.fate, MAX_RESTARTS)

    def hyperparameters(self, ledger, pause_seconds):
        chosen = {
            "max_steps": self.steps,
            "pause_seconds": pause_seconds,
            "save_steps": SAVE_STEPS,
            "ledger": str(ledger),
        }
        if self.fate == "fails":
            chosen["fails_at"] = self.steps // 2
        if self.fate == "dies":
            chosen["dies_at"] = self.steps // 2
        if self.fate == "is cancelled and deaf":
            chosen["is_deaf"] = True
        return chosen


@dataclass(frozen=True)
class Sizes:
    """``gpus``: what runs ask for, each (GPUs, nodes) as often as it is there."""

    gpus: tuple[tuple[int, int], ...]
    capacity: int
    quota: int  # of the first project


def planned_runs(random, count, seconds, sizes, steps):
    """``steps``: (least, most). A third of the runs is there from the beginning."""
    fates = [fate for fate, often in FATES.items() for _ in range(often)]
    chosen = (fates * (count // len(fates) + 1))[:count]
    random.shuffle(chosen)
    planned = []
    for number, fate in enumerate(chosen):
        gpus, nodes = random.choice(sizes.gpus)
        planned.append(
            Planned(
                number=number,
                at=0.0 if number < count // 3 else random.uniform(0, seconds * 0.9),
                fate=fate,
                steps=random.randint(*steps),
                gpus=gpus,
                nodes=nodes,
                priority=90 if fate == "is urgent" else random.choice([0, 0, 0, 10, 50]),
                wish_after=random.uniform(0.2, seconds / 4),
                project=random.randrange(2),
            )
        )
    return planned


class Creator:
    """Creates the runs of a plan."""

    def __init__(self, executor, sizes, ledger, pause_seconds):
        self.executor, self.ledger, self.pause_seconds = executor, ledger, pause_seconds
        self.pool = GpuPoolFactory(
            name=GPU_TYPE, gpu_type=GPU_TYPE, capacity=sizes.capacity, executor=executor
        )
        self.projects = [ProjectFactory(owner="a"), ProjectFactory(owner="b")]
        self.quota = Quota.objects.create(project=self.projects[0], max_gpus=sizes.quota)
        self.recipes = {}

    def create(self, planned):
        recipe = self.recipes.get(planned.max_restarts)
        if recipe is None:
            recipe = self.recipes[planned.max_restarts] = RecipeFactory(
                command=[sys.executable, str(TRAINING)],
                executor=self.executor,
                max_restarts=planned.max_restarts,
                stop_grace_seconds=GRACE_SECONDS,
            )
        resources = {"gpu_type": GPU_TYPE, "gpu_count": planned.gpus, "nodes": planned.nodes}
        planned.run = create_run(
            self.projects[planned.project],
            by=None,
            recipe=recipe,
            hyperparameters=planned.hyperparameters(self.ledger, self.pause_seconds),
            resources=resources,
            priority=planned.priority,
            preemptible=planned.priority == 0,
        )
