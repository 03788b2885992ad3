"""Evaluate a checkpoint of ``train.py``: an example evaluation script for TrainHub.

It reads the same variables as the training script. TRAINHUB_RESUME_FROM names the checkpoint, and
must be set. The losses, in nats per character, are written to ``evaluation.json`` and as a metric.

A text that the model was trained on is measured where the training has held it out; any other text
is measured as a whole. Exit codes: 0 evaluated, 1 failed, 2 invalid settings, text or checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as in training: the same bits on any number of cores
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

import numpy as np
from atomic import write_atomically
from checkpoint import Checkpoint
from configuration import Configuration, ConfigurationError
from corpus import Corpus, IntArray, read_text
from evaluation import mean_loss, unigram_loss
from reporting import MetricsFile, log, perplexity, use_any_encoding

EXIT_FAILED = 1
EXIT_UNUSABLE_INPUT = 2


def main() -> int:
    """Evaluate as configured and return the exit code of the process."""
    use_any_encoding()
    try:
        evaluate(Configuration.load(sys.argv[1:], os.environ))
    except ConfigurationError as error:
        return _fail(error, EXIT_UNUSABLE_INPUT)
    except OSError as error:
        return _fail(f"cannot write the results: {error}", EXIT_FAILED)
    return 0


def evaluate(configuration: Configuration) -> None:
    """Measure the checkpoint and write what was found.

    Raises:
        ConfigurationError: There is no checkpoint, or it or the text is unusable.
        OSError: The results cannot be written.
    """
    if configuration.resume_from is None:
        raise ConfigurationError("TRAINHUB_RESUME_FROM must name the checkpoint to evaluate")
    checkpoint = Checkpoint.load(configuration.resume_from)
    text = read_text(configuration.dataset)
    corpus = Corpus.build(text, checkpoint.shape.context_length, checkpoint.vocabulary)
    is_trained_on = hashlib.sha256(text.encode()).hexdigest() == checkpoint.text_sha256
    positions = corpus.split.validation if is_trained_on else _all_positions(corpus)
    loss = mean_loss(checkpoint.parameters, corpus, positions)
    results = {
        "heldout_loss": loss,
        "heldout_perplexity": perplexity(loss),
        "unigram_loss": unigram_loss(corpus),
        "unknown_share": corpus.unknown_share,
        "predictions": len(positions),
    }
    configuration.make_directories()
    content = json.dumps({"step": checkpoint.step, **results}, indent=2) + "\n"
    write_atomically(configuration.output_dir / "evaluation.json", content.encode())
    metrics = MetricsFile(configuration.metrics_file, checkpoint.step)
    metrics.append(checkpoint.step, {"heldout_loss": loss})
    log(f"step {checkpoint.step}: held-out loss {loss:.4f} of {len(positions)} characters")


def _all_positions(corpus: Corpus) -> IntArray:
    return np.arange(corpus.context_length, len(corpus.ids))


def _fail(reason: object, exit_code: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
