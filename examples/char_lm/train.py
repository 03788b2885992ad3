"""Train a small character-level language model: an example of a script for TrainHub.

Run it by hand, from any folder::

    python examples/char_lm/train.py                     # the repository's README files
    python examples/char_lm/train.py --config run.json   # your own settings

or let TrainHub start it. The script uses none of TrainHub's code; it only keeps to what
TrainHub asks of any training script. Every variable is optional:

=======================  ===================  ==============================================
variable                 without it           meaning
=======================  ===================  ==============================================
TRAINHUB_CONFIG          --config, defaults   JSON file: dataset, hyperparameters
TRAINHUB_METRICS_FILE    ./metrics.jsonl      one JSON object is appended per reported step
TRAINHUB_CHECKPOINT_DIR  ./checkpoints        where ``step-00000100.npz`` files are put
TRAINHUB_RESUME_FROM     start afresh         checkpoint file to go on from
TRAINHUB_OUTPUT_DIR      .                    where ``evaluation.json`` is put
=======================  ===================  ==============================================

Log lines go to standard output. SIGTERM and SIGINT end the current step, save a checkpoint
of exactly that step and leave with 143 and 130. Other exit codes: 0 finished, 1 failed,
2 the settings, the text or the checkpoint to resume from cannot be used.

Given the same settings and the same text on the same kind of machine, the weights come out the
same to the last bit, whether a run was interrupted and resumed or not.

The modules: ``configuration`` (settings), ``corpus`` (text, vocabulary, split), ``model``,
``adamw``, ``checkpoint``, ``evaluation``, ``reporting`` (log, metrics, progress), ``training``
(the loop), ``interruption`` (signals), ``atomic`` (files that are whole or absent).
"""

from __future__ import annotations

import os
import sys

from interruption import Interruption

# From here on a signal is a request and not a sudden death. This comes before NumPy is loaded,
# which takes longer than everything else before the first step.
INTERRUPTION = Interruption.install()

# NumPy reads these when it is loaded. With several threads a matrix product is summed in an
# order that depends on the number of cores, and its last bits with it.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from configuration import Configuration, ConfigurationError  # noqa: E402  after the lines above
from reporting import use_any_encoding  # noqa: E402
from training import DivergenceError, Training  # noqa: E402

EXIT_FAILED = 1
EXIT_UNUSABLE_INPUT = 2


def main() -> int:
    """Train as configured and return the exit code of the process."""
    use_any_encoding()
    try:
        configuration = Configuration.load(sys.argv[1:], os.environ)
        training = Training.prepare(configuration, INTERRUPTION)
        training.run()
    except ConfigurationError as error:
        return _fail(error, EXIT_UNUSABLE_INPUT)
    except DivergenceError as error:
        return _fail(error, EXIT_FAILED)
    except MemoryError:
        return _fail("out of memory: lower batch_size, hidden_dim or context_length", EXIT_FAILED)
    except OSError as error:
        return _fail(f"cannot write the results: {error}", EXIT_FAILED)
    return INTERRUPTION.exit_code if training.is_interrupted else 0


def _fail(reason: object, exit_code: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
