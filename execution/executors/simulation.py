"""The curves of a simulated training: pure functions of configuration, seed and step.

The loss follows the power law of neural scaling (Kaplan et al., 2020, arXiv:2001.08361): it falls
from the first loss towards a floor as a power of the *effort*, a count of steps in which a step
with a well-chosen learning rate counts fully and one with a small rate counts less. Batches add
noise of 1/√batch_size. Too large a rate makes the loss grow until it is NaN.

Every value depends only on its own step, not on earlier ones, so that a run that resumes from a
checkpoint continues the same curve.
"""

import math
import random
from dataclasses import dataclass
from typing import Any

EXAMPLES_PER_EPOCH = 3200
FIRST_LOSS = 3.2
LOSS_FLOOR = 1.35
GOOD_LEARNING_RATE = 2e-5  # for a batch of 16; larger batches tolerate more (√ scaling)
DIVERGING_FACTOR = 40.0  # times the good rate
EFFORT_SCALE = 40.0  # effort after which the distance to the floor has shrunk by √2
WARMUP_SHARE = 0.05

# The evaluation metric of a task, its initial value, and its value with a perfect loss.
EVALUATION_METRICS: dict[str, tuple[str, float, float]] = {
    "摘要": ("eval_rouge_l", 12.0, 46.0),
    "翻译": ("eval_bleu", 6.0, 38.0),
    "分类": ("eval_accuracy", 0.5, 0.96),
    "问答": ("eval_f1", 20.0, 86.0),
    "代码": ("eval_pass_at_1", 0.02, 0.62),
    "对话": ("eval_win_rate", 0.2, 0.71),
    "summar": ("eval_rouge_l", 12.0, 46.0),
    "translat": ("eval_bleu", 6.0, 38.0),
    "classif": ("eval_accuracy", 0.5, 0.96),
    "question": ("eval_f1", 20.0, 86.0),
    "code": ("eval_pass_at_1", 0.02, 0.62),
    "chat": ("eval_win_rate", 0.2, 0.71),
}


@dataclass(frozen=True)
class Training:
    """A simulated training's configuration, read from hyperparameters and their defaults.

    ``start_step`` and ``start_effort``: where a resumed training continues.
    """

    learning_rate: float = GOOD_LEARNING_RATE
    batch_size: int = 16
    total_steps: int = 600
    seed: int = 0
    eval_steps: int = 50
    save_steps: int = 100
    logging_steps: int = 10
    task_type: str = ""
    start_step: int = 0
    start_effort: float = 0.0

    @classmethod
    def configured(
        cls,
        hyperparameters: dict[str, Any],
        *,
        task_type: str = "",
        start_step: int = 0,
        start_effort: float = 0.0,
    ) -> "Training":
        """Ignores unknown hyperparameters, which other recipes may use; known ones have already
        been validated (projects/hyperparameters.py)."""
        known = {
            name: hyperparameters[name]
            for name in (
                "learning_rate",
                "batch_size",
                "seed",
                "eval_steps",
                "save_steps",
                "logging_steps",
            )
            if name in hyperparameters
        }
        return cls(
            **known,
            total_steps=planned_steps(hyperparameters),
            task_type=task_type,
            start_step=start_step,
            start_effort=start_effort,
        )

    def rate_at(self, step: int) -> float:
        """Linear warm-up, then linear decay to a tenth."""
        warmup = max(1, round(self.total_steps * WARMUP_SHARE))
        if step <= warmup:
            return self.learning_rate * step / warmup
        left = (self.total_steps - step) / max(1, self.total_steps - warmup)
        return self.learning_rate * (0.1 + 0.9 * max(0.0, left))

    @property
    def _relative_rate(self) -> float:
        return self.learning_rate / (GOOD_LEARNING_RATE * math.sqrt(self.batch_size / 16))

    @property
    def diverges(self) -> bool:
        return self._relative_rate > DIVERGING_FACTOR

    def effort_at(self, step: int) -> float:
        """What the steps so far have achieved, in steps at the good learning rate."""
        quality = min(self._relative_rate, 1.0 + math.log1p(max(0.0, self._relative_rate - 1.0)))
        return self.start_effort + (step - self.start_step) * quality

    def smooth_loss_at(self, step: int) -> float:
        progress = 1.0 + self.effort_at(step) / EFFORT_SCALE
        return LOSS_FLOOR + (FIRST_LOSS - LOSS_FLOOR) / math.sqrt(progress)

    def loss_at(self, step: int) -> float:
        """The training loss of one batch; NaN once a diverging training has blown up."""
        loss = self.smooth_loss_at(step)
        if self.diverges:
            loss *= math.exp(min(700.0, 0.12 * (step - self.start_step)))
            if loss > 1e4:
                return math.nan
        noise = 0.35 / math.sqrt(self.batch_size)
        return max(0.01, loss + self._random(step, "loss").gauss(0.0, noise))

    def evaluation_at(self, step: int) -> dict[str, float]:
        """eval_loss, and the metric of the task (eval_perplexity for an unknown one)."""
        loss = self.smooth_loss_at(step) + 0.06 + self._random(step, "eval").gauss(0.0, 0.01)
        for word, (name, first, best) in EVALUATION_METRICS.items():
            if word in self.task_type.lower():
                learned = (FIRST_LOSS - loss) / (FIRST_LOSS - LOSS_FLOOR)
                value = first + (best - first) * min(1.0, max(0.0, learned))
                return {"eval_loss": round(loss, 4), name: round(value, 4)}
        return {"eval_loss": round(loss, 4), "eval_perplexity": round(math.exp(loss), 4)}

    def gpu_utilization_at(self, step: int) -> float:
        busy = 0.93 - 0.25 / math.sqrt(self.batch_size)
        return round(min(1.0, max(0.05, self._random(step, "gpu").gauss(busy, 0.02))), 3)

    def _random(self, step: int, purpose: str) -> random.Random:
        return random.Random(f"{self.seed}/{purpose}/{step}")


def planned_steps(hyperparameters: dict[str, Any]) -> int:
    """max_steps, or num_epochs (default 3) times the steps per epoch; at least 1."""
    if "max_steps" in hyperparameters:
        return int(hyperparameters["max_steps"])
    epoch = math.ceil(EXAMPLES_PER_EPOCH / int(hyperparameters.get("batch_size", 16)))
    return max(1, math.ceil(float(hyperparameters.get("num_epochs", 3)) * epoch))
