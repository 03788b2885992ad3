"""The demo's second project: a sweep of 40 fine-tunings, and what ran next to it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import product
from typing import Any, Final

import numpy as np

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Message
from logs.models import LogLevel
from projects.models import Project
from registry.models import RegisteredModel, Source
from runs.models import FailureKind, Run
from runs.status import RunStatus
from trainhub.demo import curves
from trainhub.demo.curves import Curve, every, random_of
from trainhub.demo.team import Team
from trainhub.demo.trainings import Ending, LogText, Training, checkpoint_of, queue, tag, write

LEARNING_RATES: Final = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)
BATCH_SIZES: Final = (16, 32, 64, 128)
WARMUPS: Final = (0, 100)
STEPS: Final = 1200
GOOD_LEARNING_RATE: Final = 1.1e-4  # for a batch of 64; larger ones tolerate more
BEST_LOSS: Final = 1.214
SECONDS: Final = 2700  # of a run with a batch of 64


@dataclass(frozen=True)
class Setting:
    learning_rate: float
    batch_size: int
    warmup_steps: int

    @property
    def name(self) -> str:
        rate = f"{self.learning_rate:.1e}".replace(".0e", "e").replace("e-0", "e-")
        warmup = f"-w{self.warmup_steps}" if self.warmup_steps else ""
        return f"sft-lr{rate}-bs{self.batch_size}{warmup}"

    @property
    def final_loss(self) -> float:
        """A parabola in the logarithm of the rate; steeper above the best one and without warmup,
        and a little worse for batches that are small."""
        best = GOOD_LEARNING_RATE * math.sqrt(self.batch_size / 64)
        off = math.log10(self.learning_rate / best)
        steepness = 0.16 if off < 0 else 0.22 if self.warmup_steps else 0.34
        no_warmup = 0.0 if self.warmup_steps else 0.012 + 0.05 * max(off, 0)
        small = 0.02 * math.log2(64 / self.batch_size) if self.batch_size < 64 else 0.004
        return BEST_LOSS + steepness * off**2 + no_warmup + small

    @property
    def hyperparameters(self) -> dict[str, Any]:
        return {
            "learning_rate": self.learning_rate,
            "batch_size": self.batch_size,
            "warmup_steps": self.warmup_steps,
            "max_steps": STEPS,
            "weight_decay": 0.01,
            "lora_rank": 32,
            "seed": 7,
        }


def settings_of_sweep() -> Iterator[Setting]:
    for rate, size, warmup in product(LEARNING_RATES, BATCH_SIZES, WARMUPS):
        yield Setting(rate, size, warmup)


def curves_of(setting: Setting, last: int) -> dict[str, Curve]:
    """What the fine-tuning reports up to step ``last``, under the names of Hugging Face's
    Trainer."""
    rng = random_of(setting.name)
    steps, evaluated = every(10, 10, last), every(100, 100, last)
    final = setting.final_loss + rng.normal(0, 0.003)

    def expected(at: Any) -> Any:
        return curves.power_law(at, first=2.35, floor=final - 0.05, scale=60, power=1.0)

    size = 0.05 * math.sqrt(64 / setting.batch_size)
    loss = expected(steps) - 0.04 + curves.noise(rng, len(steps), size, memory=0.3)
    eval_loss = expected(evaluated) + 0.05 - 0.05 * (1 - 60 / (60 + evaluated))
    eval_loss += rng.normal(0, 0.003, len(evaluated))
    rate = curves.warmup_cosine(
        steps, peak=setting.learning_rate, warmup=setting.warmup_steps, total=STEPS
    )
    return {
        "loss": Curve(steps, loss),
        "grad_norm": Curve(steps, curves.gradient_norm(rng, steps, level=0.9)),
        "learning_rate": Curve(steps, rate),
        "eval_loss": Curve(evaluated, eval_loss),
        "eval_accuracy": Curve(evaluated, 0.91 - 0.17 * eval_loss),
        **curves.host_metrics(rng, samples=45, gpus=1),
    }


def log_of(training: Training) -> list[LogText]:
    """What Hugging Face's Trainer prints."""
    lines = [
        LogText(0, "***** Running training *****"),
        LogText(0, f"  Num examples = 180,000, total optimization steps = {STEPS}"),
    ]
    loss, rate = training.curves["loss"], training.curves["learning_rate"]
    for step, value, lr in zip(loss.steps, loss.values, rate.values, strict=True):
        text = f"{{'loss': {value:.4f}, 'learning_rate': {lr:.3e}, 'step': {step}}}"
        lines.append(LogText(int(step), text))
    for step, value in zip(*_columns(training.curves["eval_loss"]), strict=True):
        lines.append(LogText(int(step), f"{{'eval_loss': {value:.4f}, 'step': {step}}}"))
    return lines


def _columns(curve: Curve) -> tuple[Any, Any]:
    return curve.steps, curve.values


def create(team: Team, project: Project, base: Artifact) -> Artifact:
    """Write the project's runs; return the released checkpoint. ``base``: what is tuned."""
    runs = _sweep(team, project)
    released = _release(team, runs)
    _last_night(team, project)
    _queue(team, project)
    _elsewhere(team, project)
    _note_base(project, base)
    return released


def _note_base(project: Project, base: Artifact) -> None:
    for run in project.runs.all():
        run.change(tags={**run.tags, "base": base.run.name})


def _sweep(team: Team, project: Project) -> list[Run]:
    """Forty runs, four at a time, over a day and a half."""
    runs = []
    for number, setting in enumerate(settings_of_sweep()):
        start = team.ago(days=5) + timedelta(minutes=52 * (number // 4), seconds=20 * (number % 4))
        seconds = SECONDS * (setting.batch_size / 64) ** 0.35
        diverges = setting.learning_rate >= 1e-3 and setting.batch_size == 16
        last = 430 + 150 * bool(setting.warmup_steps) if diverges else STEPS
        training = _training(
            team,
            setting,
            last=last,
            started_at=start,
            finished_at=start + timedelta(seconds=seconds * last / STEPS),
            checkpoints=[600, STEPS] if last == STEPS else [],
        )
        runs.append(write(project, _diverged(training) if diverges else training))
    return runs


def _training(team: Team, setting: Setting, *, last: int, **fields: Any) -> Training:
    curves_so_far = curves_of(setting, last)
    defaults: dict[str, Any] = {
        "name": setting.name,
        "by": team.people[1],
        "dataset": team.texts.instructions,
        "recipe": team.recipes["tune"],
        "worker": team.nodes[2],
        "gpu_type": "A100",
        "gpu_count": 2,
    }
    if last == STEPS:
        accuracy = float(curves_so_far["eval_accuracy"].values[-1])
        defaults["evaluation"] = {
            "mt_bench": round(2.1 + 6.1 * accuracy, 2),
            "ifeval": round(accuracy - 0.19, 3),
            "gsm8k": round(1.6 * accuracy - 0.82, 3),
        }
    training = Training(
        last_step=last,
        hyperparameters=setting.hyperparameters,
        curves=curves_so_far,
        **{**defaults, **fields},
    )
    return replace(training, log=log_of(training))


def _diverged(training: Training) -> Training:
    loss = training.curves["loss"]
    grown = loss.values + np.expm1(np.maximum(loss.steps - training.last_step + 120, 0) / 50)
    grown[-1] = np.nan
    error = f"ValueError: loss is nan at step {training.last_step}"
    lines = [*training.log, LogText(training.last_step, error, LogLevel.ERROR)]
    return replace(
        training,
        curves={**training.curves, "loss": Curve(loss.steps, grown)},
        log=lines,
        ending=_failed(error, FailureKind.DIVERGED),
    )


def _failed(error: str, kind: FailureKind) -> Ending:
    what = Message("The training process exited with code %(code)d", code=1)
    reason = Message("%(what)s: %(error)s", what=what, error=error)
    return Ending(RunStatus.FAILED, reason, kind, exit_code=1)


def _release(team: Team, runs: list[Run]) -> Artifact:
    """The best one is released and registered, the second a candidate."""
    completed = [run for run in runs if run.status == RunStatus.COMPLETED]
    best, second = sorted(completed, key=lambda run: float(run.metrics["eval_loss"]))[:2]
    tuner, reviewer = team.people[1], team.people[3]
    released = checkpoint_of(best, STEPS)
    tag(
        checkpoint_of(second, STEPS),
        TagValue.CANDIDATE,
        notes=team.texts.tuned_candidate,
        by=tuner,
        at=team.ago(days=2, hours=6),
    )
    model = RegisteredModel.objects.filter(name="demo-chat-1.3b").first()
    if model is None:
        model = RegisteredModel.objects.register(
            "demo-chat-1.3b", description=team.texts.registered, tags={}, by=tuner
        )
    version = model.add_version(
        Source(uri=released.path, location=released.path, run=best),
        run_link="",
        description=team.texts.tuned_released,
        tags={},
        by=tuner,
    )
    registered_at = team.ago(hours=21)
    type(version).objects.filter(pk=version.pk).update(created_at=registered_at)
    tag(
        released,
        TagValue.RELEASED,
        notes=team.texts.tuned_released,
        by=reviewer,
        at=team.ago(hours=20),
    )
    return released


def _last_night(team: Team, project: Project) -> None:
    """A batch that did not fit, and a worker that went away."""
    large = Setting(1e-4, 256, 100)
    error = "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.91 GiB."
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "sft.py", line 187, in <module>\n'
        "    trainer.train()\n"
        '  File "modeling.py", line 911, in forward\n'
        "    logits = self.lm_head(hidden)\n"
        f"{error} GPU 1 has a total capacity of 79.15 GiB of which 1.20 GiB is free."
    )
    training = _training(
        team,
        large,
        last=40,
        started_at=team.ago(hours=10, minutes=5),
        finished_at=team.ago(hours=9, minutes=58),
        ending=_failed(error, FailureKind.OUT_OF_MEMORY),
    )
    lines = [
        LogText(30, "memory reserved: 77.6 GiB of 79.2 GiB", LogLevel.WARNING, 1),
        LogText(40, traceback, LogLevel.ERROR, 1),
    ]
    write(project, replace(training, log=[*training.log, *lines]))
    lost = _training(
        team,
        Setting(2e-4, 64, 100),
        last=740,
        started_at=team.ago(hours=6),
        finished_at=team.ago(hours=5, minutes=20),
        checkpoints=[600],
        ending=Ending(
            RunStatus.FAILED,
            Message("Its worker %(name)s died.", name=team.nodes[2].name),
            FailureKind.WORKER_LOST,
        ),
    )
    write(project, lost)


def _queue(team: Team, project: Project) -> None:
    """What waits, more than there are GPUs for. A worker that runs takes the first of them."""
    for minutes, setting, gpus, priority in (
        (25, Setting(1e-4, 64, 200), 4, 1),
        (24, Setting(1.5e-4, 64, 100), 8, 0),
        (22, Setting(7e-5, 64, 100), 4, 0),
        (9, Setting(1e-4, 512, 100), 12, 0),
    ):
        queue(
            project,
            at=team.ago(minutes=minutes),
            by=team.people[1],
            name=setting.name,
            dataset=team.texts.instructions,
            hyperparameters={**setting.hyperparameters, "max_steps": 20 * STEPS},
            resources={"gpu_type": "A100", "gpu_count": gpus},
            recipe=team.recipes["tune"],
            priority=priority,
        )


def _elsewhere(team: Team, project: Project) -> None:
    """A script on somebody's own machine, which still reports."""
    write(
        project,
        _training(
            team,
            Setting(5e-5, 32, 100),
            name="sft-qlora-laptop",
            last=870,
            by=team.people[4],
            started_at=team.ago(hours=3, minutes=12),
            finished_at=team.now,
            recipe=None,
            worker=None,
            gpu_type="RTX 4090",
            gpu_count=1,
            total_steps=STEPS,
            ending=Ending(RunStatus.RUNNING),
            tags={"mlflow.source.name": "sft.py"},
        ),
    )
