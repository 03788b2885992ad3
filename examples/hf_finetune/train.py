"""Fine-tune or train a language model with Hugging Face's Trainer: the recipe hf-finetune.

torchrun starts it once for each rank, on one node or several. TrainHub starts torchrun; by hand,
from any folder::

    torchrun --standalone --nproc-per-node 2 examples/hf_finetune/train.py

The script uses no TrainHub code. It reads what TrainHub sets, all of it optional:

=======================  ==========================================================================
TRAINHUB_CONFIG          JSON file: dataset, hyperparameters (see ``options``)
TRAINHUB_CHECKPOINT_DIR  folder for ``checkpoint-200/`` (default ./checkpoints)
TRAINHUB_RESUME_FROM     such a folder to go on from
TRAINHUB_OUTPUT_DIR      folder for ``evaluation.json`` (default .)
TRAINHUB_METRICS_FILE    gets the number of steps, if it follows from ``num_train_epochs``
TRAINHUB_DATASET_DIRS    folders of texts and models; a run may read no others
MLFLOW_TRACKING_URI      where Trainer reports, to the run MLFLOW_RUN_ID; unset: nowhere
=======================  ==========================================================================

On SIGTERM or SIGINT it finishes the step, saves, and exits with 75. On CPUs, a training of one or
two ranks that was stopped and resumed with as many ends with exactly the weights of one that was
not. With more, the last digits differ: DDP adds gradients in another order after its first step.

The modules: ``options`` (settings), ``texts`` (the data), ``models`` (model and tokenizer),
``stopping`` (signals), ``reports`` (metrics, evaluation).
"""

from __future__ import annotations

import gc
import logging
import os
import sys
from typing import Any

import torch
import torch.distributed as dist
from models import model_of, tokenizer_of
from options import OptionError, Options
from reports import PlannedSteps, ReportOnce, write_evaluation
from stopping import Stop
from texts import Data
from transformers import (
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)
from transformers.trainer_utils import IntervalStrategy

# Asked to stop. Of BSD's sysexits: try again later. Not 128 + a signal, by which torchrun's report
# would say that a rank was killed.
EXIT_STOPPED = 75
DEFAULT_SEED = 42


def arguments_of(options: Options) -> TrainingArguments:
    """The arguments of Trainer.

    Raises:
        OptionError: Trainer does not take one of them.
    """
    has_gpu = torch.cuda.is_available()
    defaults: dict[str, Any] = {
        "logging_steps": 10,
        "save_steps": 100,
        "save_total_limit": 2,
        "seed": DEFAULT_SEED,
    }
    try:
        return TrainingArguments(
            output_dir=str(options.checkpoint_dir),
            report_to="none",  # by ReportOnce
            eval_strategy="steps",
            use_cpu=not has_gpu,
            dataloader_pin_memory=has_gpu,
            ddp_find_unused_parameters=False,
            disable_tqdm=True,
            **precision_of(options, has_gpu=has_gpu),
            **{**defaults, **options.trainer},
        )
    except ValueError as error:
        raise OptionError(str(error)) from error


def precision_of(options: Options, *, has_gpu: bool) -> dict[str, bool]:
    """bf16 on GPUs that have it, else fp16; 32 bits on CPUs."""
    wanted = options.precision
    if wanted == "auto":
        wanted = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if has_gpu else "fp32"
    return {"bf16": wanted == "bf16", "fp16": wanted == "fp16"}


def trainer_of(options: Options, stop: Stop) -> Trainer:
    """Load everything that the training needs.

    Raises:
        OptionError: Something of it cannot be used.
    """
    seed = options.trainer.get("seed", DEFAULT_SEED)
    set_seed(seed)  # of a new model's weights
    # A process of each node downloads, the others take what it has.
    arguments = arguments_of(options)
    with arguments.main_process_first(local=True, desc="loading the model"):
        tokenizer = tokenizer_of(options)
        model = model_of(options, tokenizer)
    data = Data.of(options, tokenizer)
    if data.held_out is None:
        arguments.eval_strategy = IntervalStrategy.NO
    callbacks: list[TrainerCallback] = [stop]
    if "max_steps" not in options.trainer:
        callbacks.append(PlannedSteps(options.metrics_file))
    if os.environ.get("MLFLOW_TRACKING_URI"):
        callbacks.append(ReportOnce())
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=data.training,
        eval_dataset=data.held_out,
        processing_class=tokenizer,
        data_collator=default_data_collator,  # blocks are of one length: nothing to pad
        callbacks=callbacks,
    )


def train(options: Options) -> bool:
    """Train as the run asks; return whether it was stopped before its end.

    Raises:
        OptionError: A setting cannot be used.
    """
    stop = Stop()
    trainer = trainer_of(options, stop)
    resume_from = None if options.resume_from is None else str(options.resume_from)
    trainer.train(resume_from_checkpoint=resume_from)
    if not stop.is_stopped:
        write_evaluation(trainer, options.output_dir)
        trainer.save_model()
    return stop.is_stopped


def main() -> int:
    """Train, and return the exit code of the process."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    options = Options.load()
    if options.ignored and os.environ.get("RANK", "0") == "0":
        logging.getLogger("hf_finetune").warning(
            "ignored hyperparameters: %s", ", ".join(options.ignored)
        )
    is_stopped = train(options)
    if dist.is_initialized():
        gc.collect()  # ends DDP's model, with which a rank was seen to hang at its exit
        dist.barrier()  # torchrun ends the others as soon as one has left with an exit code
        dist.destroy_process_group()
    return EXIT_STOPPED if is_stopped else 0


if __name__ == "__main__":
    sys.exit(main())
