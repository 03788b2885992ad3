"""The demo's third project: preference optimization, with curves of rewards."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from artifacts.kinds import TagValue
from artifacts.models import Artifact
from core.messages import Message
from logs.models import LogLevel
from projects.models import Project
from runs.models import FailureKind, Run
from runs.status import RunStatus
from trainhub.demo import curves
from trainhub.demo.curves import Curve, every, random_of
from trainhub.demo.team import Team
from trainhub.demo.trainings import Ending, LogText, Training, checkpoint_of, queue, tag, write

DPO_STEPS: Final = 2000
PPO_STEPS: Final = 1500
# β → win rate and mean length of the answers at the end.
BETAS: Final = {0.05: (0.57, 512), 0.1: (0.63, 347), 0.3: (0.59, 301), 0.5: (0.55, 288)}


def dpo_curves(name: str, beta: float, last: int) -> dict[str, Curve]:
    """What TRL's DPOTrainer reports."""
    rng = random_of(name)
    steps, evaluated = every(10, 10, last), every(200, 200, last)
    count = len(steps)
    margin = curves.saturating(steps, first=0.0, last=1.1 + 0.25 / beta**0.5, scale=500)
    margin = margin + curves.noise(rng, count, 0.12)
    chosen = 0.3 * margin - 0.15 * steps / DPO_STEPS + curves.noise(rng, count, 0.06)
    accuracy = curves.saturating(steps, first=0.5, last=0.79, scale=350)
    win_rate, length = BETAS[beta]
    wins = curves.saturating(evaluated, first=0.5, last=win_rate, scale=600)
    return {
        "train/loss": Curve(
            steps,
            curves.power_law(steps, first=0.693, floor=0.41, scale=300, power=0.9)
            + curves.noise(rng, count, 0.014),
        ),
        "train/grad_norm": Curve(steps, curves.gradient_norm(rng, steps, level=1.8)),
        "train/learning_rate": Curve(
            steps, curves.warmup_cosine(steps, peak=5e-7, warmup=150, total=DPO_STEPS)
        ),
        "rewards/chosen": Curve(steps, chosen),
        "rewards/rejected": Curve(steps, chosen - margin),
        "rewards/margins": Curve(steps, margin),
        "rewards/accuracies": Curve(steps, accuracy + curves.noise(rng, count, 0.02)),
        "logps/chosen": Curve(steps, -214 + chosen / beta),
        "logps/rejected": Curve(steps, -231 + (chosen - margin) / beta),
        "eval/win_rate": Curve(evaluated, wins + rng.normal(0, 0.004, len(evaluated))),
        "eval/answer_tokens": Curve(
            evaluated, curves.saturating(evaluated, first=250, last=length, scale=700)
        ),
        **curves.host_metrics(rng, samples=120, gpus=2),
    }


def ppo_curves(name: str, last: int) -> dict[str, Curve]:
    """What TRL's PPOTrainer reports: the reward hovers, and the policy leaves its reference."""
    rng = random_of(name)
    steps = every(5, 5, last)
    count = len(steps)
    reward = curves.saturating(steps, first=-0.8, last=2.4, scale=450)
    divergence = 0.02 * steps**0.85
    return {
        "objective/rewards": Curve(steps, reward + curves.noise(rng, count, 0.22, memory=0.8)),
        "objective/kl": Curve(steps, divergence + abs(curves.noise(rng, count, 0.5))),
        "objective/entropy": Curve(
            steps, 58 * (1 + steps / 900) ** -0.4 + curves.noise(rng, count, 0.8)
        ),
        "policy/loss": Curve(steps, curves.noise(rng, count, 0.012, memory=0.2) - 0.008),
        "policy/clip_fraction": Curve(steps, abs(0.11 + curves.noise(rng, count, 0.02))),
        "value/loss": Curve(
            steps,
            curves.power_law(steps, first=1.9, floor=0.12, scale=50, power=0.8)
            * rng.lognormal(0, 0.1, count),
        ),
        "val/ratio": Curve(steps, 1 + curves.noise(rng, count, 0.006)),
        **curves.host_metrics(rng, samples=240, gpus=4, busy=0.72),
    }


def log_of(training: Training, shown: str) -> list[LogText]:
    lines = [LogText(0, "loading the policy and its reference in bf16")]
    curve = training.curves[shown]
    for step, value in zip(curve.steps, curve.values, strict=True):
        lines.append(LogText(int(step), f"step {step} | {shown} {value:.4f}"))
    for step in training.checkpoints:
        lines.append(LogText(step, f"saved the policy at step {step}"))
    return lines


def create(team: Team, project: Project, tuned: Artifact) -> None:
    """Write the project's runs. ``tuned``: the checkpoint that they align."""
    runs = {
        beta: write(project, _dpo(team, beta, number, tuned)) for number, beta in enumerate(BETAS)
    }
    _tag(team, runs)
    _ppo(team, project, tuned)
    queue(
        project,
        at=team.ago(minutes=50),
        by=team.people[2],
        name="dpo-beta0.1-more-data",
        dataset=team.texts.preferences,
        hyperparameters={"learning_rate": 5e-7, "beta": 0.1, "max_steps": 10 * DPO_STEPS},
        resources={"gpu_type": "H100", "gpu_count": 8},
        recipe=team.recipes["align"],
    )


def _dpo(team: Team, beta: float, number: int, tuned: Artifact) -> Training:
    name = f"dpo-beta{beta}"
    start = team.ago(days=2) + timedelta(hours=5 * number)
    win_rate, length = BETAS[beta]
    training = Training(
        name=name,
        by=team.people[2],
        started_at=start,
        finished_at=start + timedelta(hours=4, minutes=6 * number),
        last_step=DPO_STEPS,
        hyperparameters={
            "learning_rate": 5e-7,
            "batch_size": 64,
            "max_steps": DPO_STEPS,
            "beta": beta,
            "loss_type": "sigmoid",
            "warmup_steps": 150,
        },
        curves=dpo_curves(name, beta, DPO_STEPS),
        dataset=team.texts.preferences,
        recipe=team.recipes["align"],
        worker=team.nodes[0],
        gpu_type="H100",
        gpu_count=4,
        checkpoints=[1000, DPO_STEPS],
        evaluation={
            "win_rate": win_rate,
            "mt_bench": round(7.0 + 2 * (win_rate - 0.5), 2),
            "ifeval": round(0.52 - 0.1 * (0.5 - beta) ** 2, 3),
            "answer_tokens": float(length),
        },
        tags={"aligned": tuned.run.name},
    )
    return replace(training, log=log_of(training, "rewards/margins"))


def _tag(team: Team, runs: dict[float, Run]) -> None:
    aligner, reviewer = team.people[2], team.people[3]
    tag(
        checkpoint_of(runs[0.1], DPO_STEPS),
        TagValue.CANDIDATE,
        notes=team.texts.aligned_candidate,
        by=aligner,
        at=team.ago(hours=15),
    )
    tag(
        checkpoint_of(runs[0.05], DPO_STEPS),
        TagValue.ARCHIVED,
        notes=team.texts.aligned_archived,
        by=reviewer,
        at=team.ago(hours=16),
    )


def _ppo(team: Team, project: Project, tuned: Artifact) -> None:
    """One that was stopped, one whose ranks lost each other last night, one that still reports."""
    stopped = _ppo_training(
        team,
        "ppo-kl0.02",
        tuned,
        last=900,
        started_at=team.ago(days=3),
        finished_at=team.ago(days=3) + timedelta(hours=6),
        checkpoints=[500],
        ending=Ending(RunStatus.CANCELLED),
    )
    write(project, stopped)
    error = "torch.distributed.DistBackendError: NCCL communicator was aborted on rank 2."
    failed = _ppo_training(
        team,
        "ppo-kl0.05",
        tuned,
        last=620,
        started_at=team.ago(hours=11),
        finished_at=team.ago(hours=7, minutes=14),
        checkpoints=[500],
        ending=Ending(
            RunStatus.FAILED,
            Message(
                "%(what)s: %(error)s",
                what=Message("The training process exited with code %(code)d", code=1),
                error=error,
            ),
            FailureKind.COMMUNICATION,
            exit_code=1,
        ),
    )
    lines = [
        LogText(615, "no answer from rank 3 for 300 s", LogLevel.WARNING, 2),
        LogText(620, "Watchdog caught collective operation timeout: ALLREDUCE", "ERROR", 2),
        LogText(620, error, LogLevel.ERROR, 2),
    ]
    write(project, replace(failed, log=[*failed.log, *lines]))
    running = _ppo_training(
        team,
        "ppo-kl0.05-reward-v2",
        tuned,
        last=1130,
        started_at=team.ago(hours=6, minutes=40),
        finished_at=team.now,
        ending=Ending(RunStatus.RUNNING),
        recipe=None,
        worker=None,
        total_steps=PPO_STEPS,
    )
    write(project, running)


def _ppo_training(team: Team, name: str, tuned: Artifact, *, last: int, **fields: Any) -> Training:
    defaults: dict[str, Any] = {
        "by": team.people[2],
        "dataset": team.texts.preferences,
        "recipe": team.recipes["align"],
        "worker": team.nodes[1],
        "gpu_type": "H100",
        "gpu_count": 8,
        "tags": {"aligned": tuned.run.name},
    }
    training = Training(
        name=name,
        last_step=last,
        hyperparameters={
            "learning_rate": 1e-6,
            "batch_size": 128,
            "max_steps": PPO_STEPS,
            "kl_coefficient": float(name.split("kl")[1].split("-")[0]),
            "ppo_epochs": 4,
        },
        curves=ppo_curves(name, last),
        **{**defaults, **fields},
    )
    return replace(training, log=log_of(training, "objective/rewards"))
