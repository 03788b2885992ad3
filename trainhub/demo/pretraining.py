"""The demo's first project: a base model, resumed twice, and the smaller models that predict it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final, NamedTuple

import numpy as np

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Message
from logs.models import LogLevel
from projects.models import Project
from runs.models import FailureKind
from runs.status import RunStatus
from trainhub.demo import curves
from trainhub.demo.curves import Curve, every, random_of
from trainhub.demo.team import Team
from trainhub.demo.trainings import Ending, LogText, Training, checkpoint_of, tag, write

LOGGED_EVERY: Final = 10
EVALUATED_EVERY: Final = 500
SPIKE_AT: Final = 14_870
TOKENS_PER_STEP: Final = 2_097_152


class Size(NamedTuple):
    """``loss``, ``hellaswag``, ``mmlu``: what a training without an end comes to."""

    layers: int
    heads: int
    width: int
    loss: float
    hellaswag: float
    mmlu: float


SIZES: Final = {
    "125m": Size(12, 12, 768, 2.87, 0.36, 0.262),
    "350m": Size(24, 16, 1024, 2.60, 0.43, 0.276),
    "760m": Size(24, 16, 1536, 2.41, 0.50, 0.292),
    "1.3b": Size(24, 16, 2048, 2.19, 0.54, 0.31),
    "3b": Size(32, 32, 2560, 2.06, 0.58, 0.33),
}
FIRST_LOSS: Final = 10.9  # the logarithm of the vocabulary


def configuration(size: str, *, lr: float, max_steps: int) -> dict[str, Any]:
    shape = SIZES[size]
    return {
        "learning_rate": lr,
        "batch_size": 512,
        "max_steps": max_steps,
        "warmup_steps": 500,
        "weight_decay": 0.1,
        "num_layers": shape.layers,
        "num_heads": shape.heads,
        "hidden_size": shape.width,
        "precision": "bf16",
        "seed": 1234,
    }


def training_curves(
    name: str,
    size: str,
    *,
    lr: float,
    first: int,
    last: int,
    total: int,
    gpus: int,
    spikes: Sequence[int] = (),
) -> dict[str, Curve]:
    """What a pretraining reports from step ``first`` to ``last``."""
    rng = random_of(name)
    steps = every(LOGGED_EVERY, first + LOGGED_EVERY, last)
    ends = SIZES[size]

    def expected(at: Any) -> Any:
        return curves.power_law(at, first=FIRST_LOSS, floor=ends.loss, scale=40, power=0.62)

    loss = expected(steps) + curves.noise(rng, len(steps), 0.018)
    norm = curves.gradient_norm(rng, steps)
    for at in spikes:
        loss += curves.spike(steps, at=at, height=6.4, lasts=25)
        norm += curves.spike(steps, at=at, height=91, lasts=12)
    evaluated = every(EVALUATED_EVERY, first + EVALUATED_EVERY, last)
    held_out = expected(evaluated) + 0.035 + rng.normal(0, 0.004, len(evaluated))
    hellaswag = curves.saturating(evaluated, first=0.25, last=ends.hellaswag, scale=8000)
    mmlu = curves.saturating(evaluated, first=0.25, last=ends.mmlu, scale=14_000)
    speed = 52_000 * gpus * (1 + rng.normal(0, 0.008, len(steps)))
    return {
        "train/loss": Curve(steps, loss),
        "train/grad_norm": Curve(steps, norm),
        "train/learning_rate": Curve(
            steps, curves.warmup_cosine(steps, peak=lr, warmup=500, total=total)
        ),
        "train/tokens_per_second": Curve(steps, speed),
        "train/tokens": Curve(steps, steps.astype(float) * TOKENS_PER_STEP),
        "eval/loss": Curve(evaluated, held_out),
        "eval/perplexity": Curve(evaluated, np.exp(held_out)),
        "eval/hellaswag": Curve(evaluated, hellaswag + rng.normal(0, 0.002, len(evaluated))),
        "eval/mmlu": Curve(evaluated, mmlu + rng.normal(0, 0.002, len(evaluated))),
        **curves.host_metrics(rng, samples=min(600, (last - first) // 20), gpus=min(gpus, 4)),
    }


def log_of(training: Training) -> list[LogText]:
    """What Megatron would print, one line for each report of the loss."""
    lines = [
        LogText(training.first_step, f"using {training.gpu_count} GPUs, bf16, 512 sequences"),
        LogText(training.first_step, "building datasets: train 41.9B tokens, valid 21.0M tokens"),
    ]
    loss, norm = training.curves["train/loss"], training.curves["train/grad_norm"]
    for step, value, length in zip(loss.steps, loss.values, norm.values, strict=True):
        text = f"iteration {step} | lm loss: {value:.4f} | grad norm: {length:.3f}"
        lines.append(LogText(int(step), text))
    held_out = training.curves["eval/loss"]
    for step, value in zip(held_out.steps, held_out.values, strict=True):
        lines.append(LogText(int(step), f"validation at iteration {step} | lm loss: {value:.4f}"))
    for step in training.checkpoints:
        lines.append(LogText(step, f"saved checkpoint at iteration {step}"))
    return lines


SPIKE_LINES: Final = (
    LogText(SPIKE_AT, "loss spike: 8.79 after 2.41, grad norm 91.6", LogLevel.WARNING, 0),
    LogText(SPIKE_AT, "batch 7613: shard web-0187 has 41 % repeated lines", LogLevel.WARNING, 3),
    LogText(SPIKE_AT, "gradient clipped to norm 1.0; keep going", LogLevel.WARNING, 0),
)


def create(team: Team, project: Project) -> Artifact:
    """Write the project's runs; return the checkpoint that the others build on."""
    released = _base_model(team, project)
    _ladder(team, project)
    _last_night(team, project)
    _elsewhere(team, project)
    return released


def _base_model(team: Team, project: Project) -> Artifact:
    """Three runs, each of which continues the one before."""
    owner, reviewer = team.people[0], team.people[3]
    common: dict[str, Any] = {
        "by": owner,
        "recipe": team.recipes["pretrain"],
        "worker": team.nodes[0],
        "gpu_type": "H100",
        "gpu_count": 8,
    }
    start = team.ago(days=11)
    first = _training(
        "base-1.3b",
        "1.3b",
        first=0,
        last=12_400,
        total=20_000,
        lr=3e-4,
        started_at=start,
        finished_at=start + timedelta(days=2, hours=20),
        dataset=team.texts.web_corpus,
        checkpoints=[4000, 8000, 11_000],
        ending=Ending(RunStatus.CANCELLED),
        **common,
    )
    parent = write(project, first)
    start = first.finished_at + timedelta(hours=3)
    second = _training(
        "base-1.3b-lower-lr",
        "1.3b",
        first=11_000,
        last=20_000,
        total=20_000,
        lr=2e-4,
        spikes=[SPIKE_AT],
        started_at=start,
        finished_at=start + timedelta(days=2, hours=2),
        dataset=team.texts.web_corpus,
        checkpoints=[14_000, 17_000, 20_000],
        evaluation={"hellaswag": 0.512, "mmlu": 0.297, "arc_easy": 0.581, "piqa": 0.723},
        resumed_from=checkpoint_of(parent, 11_000),
        **common,
    )
    second = replace(second, log=[*second.log, *SPIKE_LINES])
    middle = write(project, second)
    start = second.finished_at + timedelta(hours=20)
    third = _training(
        "base-1.3b-anneal",
        "1.3b",
        first=20_000,
        last=24_000,
        total=24_000,
        lr=8e-5,
        started_at=start,
        finished_at=start + timedelta(hours=22),
        dataset=team.texts.clean_corpus,
        checkpoints=[22_000, 24_000],
        evaluation={"hellaswag": 0.536, "mmlu": 0.318, "arc_easy": 0.607, "piqa": 0.731},
        resumed_from=checkpoint_of(middle, 20_000),
        **common,
    )
    last = write(project, third)
    candidate, released = checkpoint_of(middle, 20_000), checkpoint_of(last, 24_000)
    texts = team.texts
    tag(
        candidate,
        TagValue.CANDIDATE,
        notes=texts.base_candidate,
        by=owner,
        at=second.finished_at + timedelta(hours=1),
    )
    tag(
        released,
        TagValue.RELEASED,
        notes=texts.base_released,
        by=reviewer,
        at=third.finished_at + timedelta(hours=5),
    )
    return released


def _ladder(team: Team, project: Project) -> None:
    for number, size in enumerate(("125m", "350m", "760m")):
        start = team.ago(days=19 - 2 * number)
        write(
            project,
            _training(
                f"ladder-{size}",
                size,
                first=0,
                last=6000,
                total=6000,
                lr=6e-4 / (number + 1),
                by=team.people[0],
                started_at=start,
                finished_at=start + timedelta(hours=7 + 6 * number),
                dataset=team.texts.web_corpus,
                recipe=team.recipes["pretrain"],
                worker=team.nodes[1],
                gpu_type="A100",
                gpu_count=8,
                checkpoints=[6000],
                evaluation={
                    "hellaswag": round(0.31 + 0.035 * number, 3),
                    "mmlu": round(0.254 + 0.005 * number, 3),
                    "arc_easy": round(0.42 + 0.04 * number, 3),
                    "piqa": round(0.62 + 0.03 * number, 3),
                },
            ),
        )


def _last_night(team: Team, project: Project) -> None:
    """What failed while everybody slept: a loss that diverged, and a disk that was full."""
    common: dict[str, Any] = {
        "by": team.people[0],
        "recipe": team.recipes["pretrain"],
        "gpu_type": "H100",
        "gpu_count": 8,
        "dataset": team.texts.web_corpus,
    }
    start = team.ago(hours=13)
    diverged = _training(
        "base-1.3b-lr-1e-2",
        "1.3b",
        first=0,
        last=1240,
        total=20_000,
        lr=1e-2,
        started_at=start,
        finished_at=start + timedelta(hours=2, minutes=31),
        worker=team.nodes[0],
        ending=Ending(
            RunStatus.FAILED,
            Message(
                "%(what)s: %(error)s",
                what=Message("The training process exited with code %(code)d", code=1),
                error="FloatingPointError: loss is nan at iteration 1240",
            ),
            FailureKind.DIVERGED,
            exit_code=1,
        ),
        **common,
    )
    write(project, _diverging(diverged, at=1100))
    start = team.ago(hours=9, minutes=40)
    full = _training(
        "base-1.3b-z-loss",
        "1.3b",
        first=0,
        last=2990,
        total=20_000,
        lr=3e-4,
        started_at=start,
        finished_at=start + timedelta(hours=6, minutes=8),
        worker=team.nodes[1],
        checkpoints=[1000, 2000],
        ending=Ending(
            RunStatus.FAILED,
            Message(
                "%(what)s: %(error)s",
                what=Message("The training process exited with code %(code)d", code=1),
                error="OSError: [Errno 28] No space left on device",
            ),
            FailureKind.DISK_FULL,
            exit_code=1,
        ),
        **common,
    )
    traceback = (
        "Traceback (most recent call last):\n"
        '  File "train.py", line 412, in save_checkpoint\n'
        "    torch.save(state, path)\n"
        "OSError: [Errno 28] No space left on device: '/checkpoints/step-3000/rank-5.pt'"
    )
    lines = [
        LogText(2980, "/checkpoints is 99 % full", LogLevel.WARNING, 0),
        LogText(2990, traceback, LogLevel.ERROR, 5),
    ]
    write(project, replace(full, log=[*full.log, *lines]))


def _diverging(training: Training, *, at: int) -> Training:
    """``training``, whose loss grows from step ``at`` on until it is NaN."""
    loss, norm = training.curves["train/loss"], training.curves["train/grad_norm"]
    since = np.maximum(loss.steps - at, 0)
    grown = loss.values + np.expm1(since / 60)
    length = norm.values * np.exp(since / 25)
    is_last = loss.steps == loss.steps[-1]
    grown[is_last], length[is_last] = np.nan, np.inf
    changed = {
        **training.curves,
        "train/loss": Curve(loss.steps, grown),
        "train/grad_norm": Curve(norm.steps, length),
    }
    lines = [
        LogText(at + 40, "loss has grown for 4 reports in a row", LogLevel.WARNING, 0),
        LogText(training.last_step, "found NaN in the gradients of layers.23.mlp", "WARNING", 0),
        LogText(
            training.last_step,
            "Traceback (most recent call last):\n"
            '  File "train.py", line 298, in train_step\n'
            '    raise FloatingPointError(f"loss is nan at iteration {step}")\n'
            "FloatingPointError: loss is nan at iteration 1240",
            LogLevel.ERROR,
            0,
        ),
    ]
    changed_log = replace(training, curves=changed)
    return replace(changed_log, log=[*log_of(changed_log), *lines])


def _elsewhere(team: Team, project: Project) -> None:
    """A script on another cluster, which still reports."""
    write(
        project,
        _training(
            "base-3b-probe",
            "3b",
            first=0,
            last=5210,
            total=12_000,
            lr=2e-4,
            by=team.people[4],
            started_at=team.ago(hours=31),
            finished_at=team.now,
            dataset=team.texts.web_corpus,
            gpu_type="H100",
            gpu_count=32,
            total_steps=12_000,
            ending=Ending(RunStatus.RUNNING),
            tags={"cluster": "west-2", "mlflow.source.name": "pretrain.py"},
        ),
    )


def _training(
    name: str,
    size: str,
    *,
    first: int,
    last: int,
    total: int,
    lr: float,
    gpu_count: int,
    spikes: Sequence[int] = (),
    **fields: Any,
) -> Training:
    training = Training(
        name=name,
        last_step=last,
        hyperparameters=configuration(size, lr=lr, max_steps=total),
        curves=training_curves(
            name, size, lr=lr, first=first, last=last, total=total, gpus=gpu_count, spikes=spikes
        ),
        gpu_count=gpu_count,
        **fields,
    )
    return replace(training, log=log_of(training))
