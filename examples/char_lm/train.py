"""Train a small character-level language model: an example training script for TrainHub.

Run it by hand, from any folder::

    python examples/char_lm/train.py                     # the repository's README files
    python examples/char_lm/train.py --config run.json   # your own settings

or let TrainHub start it. The script uses no TrainHub code; it only follows the interface
of TrainHub's training scripts. All variables are optional:

=======================  ===================  ==============================================
variable                 default              meaning
=======================  ===================  ==============================================
TRAINHUB_CONFIG          --config, if given   JSON file: dataset, hyperparameters
TRAINHUB_METRICS_FILE    ./metrics.jsonl      one JSON object is appended per reported step
TRAINHUB_CHECKPOINT_DIR  ./checkpoints        folder for ``step-00000100.npz`` files
TRAINHUB_RESUME_FROM     start from scratch   checkpoint file to resume from
TRAINHUB_OUTPUT_DIR      .                    folder for ``evaluation.json``
=======================  ===================  ==============================================

Log lines go to standard output. On SIGTERM or SIGINT the script finishes the current step,
saves a checkpoint of that step, and exits with 143 or 130. Other exit codes: 0 finished,
1 failed, 2 invalid settings, text, or checkpoint to resume from.

With the same settings and text on the same kind of machine, the weights are bit-identical,
whether or not the run was interrupted and resumed.

The modules: ``configuration`` (settings), ``corpus`` (text, vocabulary, split), ``model``,
``adamw``, ``checkpoint``, ``evaluation``, ``reporting`` (log, metrics, progress), ``training``
(the loop), ``ranks`` (several nodes), ``interruption`` (signals), ``atomic`` (atomic file writes).
"""

from __future__ import annotations

import os
import sys

from interruption import Interruption

# From here on, a signal requests a stop instead of killing the process. Install the handlers before
# importing NumPy, which takes longer than everything else before the first step.
INTERRUPTION = Interruption.install()

# NumPy reads these on import. With several threads, the summation order of a matrix product, and
# therefore its last bits, would depend on the number of cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_NUM_THREADS"] = "1"

from configuration import Configuration, ConfigurationError  # noqa: E402  must follow the lines above
from ranks import RankLostError  # noqa: E402
from reporting import use_any_encoding  # noqa: E402
from training import DivergenceError, Training  # noqa: E402

EXIT_FAILED = 1
EXIT_UNUSABLE_INPUT = 2
EXIT_STOPPED = 143  # because another rank was asked to stop


def main() -> int:
    """Train as configured and return the exit code of the process."""
    use_any_encoding()
    try:
        configuration = Configuration.load(sys.argv[1:], os.environ)
        training = Training.prepare(configuration, INTERRUPTION)
        training.run()
    except ConfigurationError as error:
        return _fail(error, EXIT_UNUSABLE_INPUT)
    except (DivergenceError, RankLostError) as error:
        return _fail(error, EXIT_FAILED)
    except MemoryError:
        return _fail("out of memory: lower batch_size, hidden_dim or context_length", EXIT_FAILED)
    except OSError as error:
        return _fail(f"cannot write the results: {error}", EXIT_FAILED)
    return (INTERRUPTION.exit_code or EXIT_STOPPED) if training.is_interrupted else 0


def _fail(reason: object, exit_code: int) -> int:
    print(f"error: {reason}", file=sys.stderr, flush=True)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
