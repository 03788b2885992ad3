"""A neural probabilistic language model with a hand-written gradient.

The network is that of Bengio, Ducharme, Vincent and Jauvin, "A Neural Probabilistic Language
Model" (JMLR 3, 2003), without the direct connections from input to output, and over characters
instead of words: the concatenated embeddings of the last few characters, one tanh layer, and a
softmax over the next character.

Letters in the shapes: B examples, C context length, E embedding, H hidden, V vocabulary.
All functions keep the float type of the parameters: float32 for training, float64 in tests that
compare with finite differences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from corpus import IntArray

FloatArray = npt.NDArray[np.floating[Any]]
Parameters = dict[str, FloatArray]


@dataclass(frozen=True)
class ModelShape:
    """The sizes that determine the shape of every parameter."""

    vocabulary_size: int
    context_length: int
    embedding_dim: int
    hidden_dim: int

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the name and shape of every parameter."""
        return {
            "embedding": (self.vocabulary_size, self.embedding_dim),
            "hidden_weight": (self.context_length * self.embedding_dim, self.hidden_dim),
            "hidden_bias": (self.hidden_dim,),
            "output_weight": (self.hidden_dim, self.vocabulary_size),
            "output_bias": (self.vocabulary_size,),
        }


def initial_parameters(shape: ModelShape, rng: np.random.Generator) -> Parameters:
    """Initialize float32 parameters: biases 0, weights normal with variance 1 / inputs.

    This variance keeps the inputs of tanh near 1 at any size (LeCun, Bottou, Orr and Müller,
    "Efficient BackProp", 1998). The output weights start ten times smaller, so that the first
    predictions are nearly uniform and the first steps are not wasted on unlearning them.
    """
    parameters: Parameters = {}
    for name, size in shape.parameter_shapes().items():
        if len(size) == 1:
            parameters[name] = np.zeros(size, dtype=np.float32)
            continue
        deviation = {"embedding": 1.0, "output_weight": 0.1 * size[0] ** -0.5}
        scale = np.float32(deviation.get(name, size[0] ** -0.5))
        parameters[name] = rng.standard_normal(size, dtype=np.float32) * scale
    return parameters


def log_probabilities(parameters: Parameters, contexts: IntArray) -> FloatArray:
    """Return the log-probability, in nats, of every next character: (B, C) to (B, V)."""
    return _forward(parameters, contexts)[2]


def losses(parameters: Parameters, contexts: IntArray, targets: IntArray) -> FloatArray:
    """Return the cross-entropy of each target, in nats: (B, C) and (B,) to (B,)."""
    result = log_probabilities(parameters, contexts)
    return -result[np.arange(len(targets)), targets]


def loss_and_gradients(
    parameters: Parameters, contexts: IntArray, targets: IntArray
) -> tuple[float, Parameters]:
    """Return the mean cross-entropy in nats and its gradient with respect to every parameter.

    ``contexts`` is (B, C), ``targets`` (B,); the gradients have the shapes of the parameters.
    """
    inputs, hidden, log_p = _forward(parameters, contexts)
    rows = np.arange(len(targets))
    loss = -float(log_p[rows, targets].mean())

    # Gradient of softmax cross-entropy with respect to the logits: probability - 1 at the target.
    d_logits = np.exp(log_p)
    d_logits[rows, targets] -= 1
    d_logits /= len(targets)
    d_hidden = d_logits @ parameters["output_weight"].T
    d_hidden *= 1 - hidden * hidden
    d_inputs = d_hidden @ parameters["hidden_weight"].T
    return loss, {
        "embedding": _embedding_gradient(parameters["embedding"], contexts, d_inputs),
        "hidden_weight": inputs.T @ d_hidden,
        "hidden_bias": d_hidden.sum(axis=0),
        "output_weight": hidden.T @ d_logits,
        "output_bias": d_logits.sum(axis=0),
    }


def _forward(
    parameters: Parameters, contexts: IntArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the inputs (B, C * E), hidden layer (B, H), and log-probabilities (B, V)."""
    inputs = parameters["embedding"][contexts].reshape(len(contexts), -1)
    hidden = np.tanh(inputs @ parameters["hidden_weight"] + parameters["hidden_bias"])
    logits = hidden @ parameters["output_weight"] + parameters["output_bias"]
    # Shifting all logits does not change softmax; with the largest at 0, exp() cannot overflow.
    logits -= logits.max(axis=1, keepdims=True)
    return inputs, hidden, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def _embedding_gradient(
    embedding: FloatArray, contexts: IntArray, d_inputs: FloatArray
) -> FloatArray:
    """Sum ``d_inputs`` (B, C * E) over all occurrences of each character: (V, E).

    A character occurs many times in a batch, so this is a sum by key. bincount adds in input order,
    in float64, and is four times as fast as ``np.add.at``.
    """
    dim = embedding.shape[1]
    cells = contexts.reshape(-1, 1) * dim + np.arange(dim)
    total = np.bincount(cells.ravel(), weights=d_inputs.ravel(), minlength=embedding.size)
    return total.reshape(embedding.shape).astype(embedding.dtype)
