"""The optimizer: AdamW, gradient clipping, and the learning rate of each step.

AdamW is Adam with weight decay applied to the weights themselves instead of through the gradient:
Loshchilov and Hutter, "Decoupled Weight Decay Regularization" (ICLR 2019), algorithm 2. As in
most implementations, the decay is multiplied by the learning rate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from model import Parameters

BETA_MEAN = 0.9
BETA_SQUARE = 0.999
EPSILON = 1e-8


@dataclass
class AdamW:
    """Running mean of the gradient and of its square, with the shapes of the parameters.

    ``updates`` counts the updates so far; it corrects for the bias of means that start at zero.
    """

    mean: Parameters
    square: Parameters
    updates: int = 0

    @classmethod
    def start(cls, parameters: Parameters) -> AdamW:
        """Return the state before the first update of ``parameters``."""
        return cls(
            mean={name: np.zeros_like(value) for name, value in parameters.items()},
            square={name: np.zeros_like(value) for name, value in parameters.items()},
        )

    def update(
        self,
        parameters: Parameters,
        gradients: Parameters,
        learning_rate: float,
        weight_decay: float,
    ) -> None:
        """Update ``parameters`` in place by one step against ``gradients``.

        Weight decay applies only to matrices: biases do not make the model more complex.
        """
        self.updates += 1
        mean_correction = 1 - BETA_MEAN**self.updates
        square_correction = 1 - BETA_SQUARE**self.updates
        for name, parameter in parameters.items():
            gradient, mean, square = gradients[name], self.mean[name], self.square[name]
            mean *= BETA_MEAN
            mean += (1 - BETA_MEAN) * gradient
            square *= BETA_SQUARE
            square += (1 - BETA_SQUARE) * gradient * gradient
            if parameter.ndim > 1:
                parameter *= 1 - learning_rate * weight_decay
            root = np.sqrt(square / square_correction) + EPSILON
            parameter -= learning_rate / mean_correction * mean / root


def clip_gradients(gradients: Parameters, largest_norm: float) -> float:
    """Scale ``gradients`` in place to ``largest_norm`` (0: no limit); return the original norm."""
    norm = math.sqrt(sum(float(np.square(gradient).sum()) for gradient in gradients.values()))
    if 0 < largest_norm < norm:
        for gradient in gradients.values():
            gradient *= largest_norm / norm
    return norm


def learning_rate_at(step: int, peak: float, warmup_steps: int) -> float:
    """Return the learning rate at ``step``, from 1: linear warmup to ``peak``, then constant."""
    return peak * min(1.0, step / warmup_steps) if warmup_steps else peak
