"""Model evaluation: validation loss, a unigram baseline, and a generated sample."""

from __future__ import annotations

import numpy as np
from corpus import UNKNOWN_ID, Corpus, IntArray
from model import Parameters, log_probabilities, losses

# Enough to measure the loss to about 0.03 nats, and takes only a fraction of the time a run has to
# stop after a stop request.
LARGEST_SAMPLE = 4_096  # predictions
CHUNK = 512  # predictions; bounds the memory of one pass
GENERATED_CHARACTERS = 200


def validation_positions(corpus: Corpus) -> IntArray:
    """Return the positions to predict: all held-out ones, or an evenly spaced sample."""
    held_out = corpus.split.validation
    if len(held_out) <= LARGEST_SAMPLE:
        return held_out
    return held_out[np.linspace(0, len(held_out) - 1, LARGEST_SAMPLE).astype(np.int64)]


def validation_loss(parameters: Parameters, corpus: Corpus) -> float:
    """Return the mean cross-entropy of the model on the held-out text, in nats per character."""
    return mean_loss(parameters, corpus, validation_positions(corpus))


def mean_loss(parameters: Parameters, corpus: Corpus, positions: IntArray) -> float:
    """Return the mean cross-entropy at these positions of the text, in nats per character."""
    total = 0.0
    for start in range(0, len(positions), CHUNK):
        contexts, targets = corpus.windows(positions[start : start + CHUNK])
        total += float(losses(parameters, contexts, targets).sum())
    return total / len(positions)


def unigram_loss(corpus: Corpus) -> float:
    """Return the loss of the best guess that ignores the context, in nats per character.

    Frequencies come from the training text, with one added to each count so that none is zero.
    The loss is measured at the same positions as ``validation_loss``. A language model that has
    learned anything must be below it.
    """
    counts = np.bincount(
        corpus.ids[~corpus.split.is_held_out], minlength=len(corpus.vocabulary)
    ).astype(np.float64)
    counts += 1
    log_p = np.log(counts / counts.sum())
    return -float(log_p[corpus.ids[validation_positions(corpus)]].mean())


def generate(parameters: Parameters, corpus: Corpus, seed: int) -> str:
    """Return text sampled from the model, prompted with the start of the held-out text.

    Sampling uses a separate random generator: evaluating a model must not change the random
    numbers of its training.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    context = corpus.windows(corpus.split.validation[:1])[0]
    drawn = np.empty(GENERATED_CHARACTERS, dtype=np.int64)
    for index in range(GENERATED_CHARACTERS):
        weights = np.exp(log_probabilities(parameters, context)[0].astype(np.float64))
        weights[UNKNOWN_ID] = 0  # it stands for many characters and cannot be written
        cumulated = np.cumsum(weights)
        drawn[index] = np.searchsorted(cumulated, rng.random() * cumulated[-1])
        context = np.append(context[:, 1:], drawn[index]).reshape(1, -1)
    return corpus.vocabulary.decode(drawn)
