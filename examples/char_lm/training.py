"""The training loop: steps, reporting, checkpoints, and stopping."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass

import numpy as np
from adamw import AdamW, clip_gradients, learning_rate_at
from checkpoint import Checkpoint, CheckpointError
from configuration import (
    DEFAULT_MAX_STEPS,
    LARGEST_STEP,
    Configuration,
    ConfigurationError,
    Hyperparameters,
)
from corpus import Corpus, IntArray, read_text
from evaluation import generate, unigram_loss, validation_loss
from interruption import Interruption
from model import ModelShape, Parameters, initial_parameters, loss_and_gradients
from ranks import Ranks
from reporting import MetricsFile, ProgressBar, log, perplexity, write_evaluation


class DivergenceError(Exception):
    """Training produced a value that is not finite and cannot recover."""


@dataclass
class Stopwatch:
    """Characters trained on since the last log line, and the seconds this took."""

    characters: int = 0
    seconds: float = 0.0

    def rate(self) -> float:
        """Return characters per second and reset."""
        rate = self.characters / max(self.seconds, 1e-9)
        self.characters, self.seconds = 0, 0.0
        return rate


class Training:
    """A run from its first or resumed step to its last step or an interruption."""

    def __init__(
        self,
        configuration: Configuration,
        corpus: Corpus,
        state: Checkpoint,
        total_steps: int,
        interruption: Interruption,
        metrics_file: MetricsFile,
        ranks: Ranks | None = None,
    ) -> None:
        self.configuration = configuration
        self.hyperparameters = configuration.hyperparameters
        self.corpus = corpus
        self.state = state
        self.total_steps = total_steps
        self.interruption = interruption
        self.metrics_file = metrics_file
        self.ranks = ranks or Ranks()
        self.unigram_loss = unigram_loss(corpus)
        self.stopwatch = Stopwatch()
        self.progress_bar = ProgressBar(self.hyperparameters.progress_bar and self.ranks.is_first)
        self.saved_step: int | None = None
        self._is_to_stop = False  # as all ranks agree

    @classmethod
    def prepare(cls, configuration: Configuration, interruption: Interruption) -> Training:
        """Read the text and the checkpoint to resume from, open the outputs, meet the other ranks.

        Raises:
            ConfigurationError: One of them is unusable; nothing was trained.
        """
        hyperparameters = configuration.hyperparameters
        for warning in configuration.warnings:
            log(f"warning: {warning}")
        text = read_text(configuration.dataset)
        text_sha256 = hashlib.sha256(text.encode()).hexdigest()
        resumed = _resume(configuration)
        # A resumed run keeps its vocabulary, even if the text has been edited since.
        vocabulary = resumed.vocabulary if resumed else None
        corpus = Corpus.build(text, hyperparameters.context_length, vocabulary)
        state = resumed or _fresh_state(hyperparameters, corpus, text_sha256)
        if state.text_sha256 != text_sha256:
            log(
                "warning: the text differs from the one the checkpoint was trained on; "
                f"{corpus.unknown_share:.1%} of its characters are unknown to the model"
            )
            state.text_sha256 = text_sha256
        total_steps = _total_steps(hyperparameters, corpus)
        if state.step > total_steps:
            raise ConfigurationError(
                f"the checkpoint is at step {state.step}, past the last step {total_steps}"
            )
        configuration.make_directories()
        try:
            metrics_file = MetricsFile(configuration.metrics_file, total_steps)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {configuration.metrics_file}: {error.strerror}"
            ) from error
        ranks = Ranks.meet()
        return cls(configuration, corpus, state, total_steps, interruption, metrics_file, ranks)

    @property
    def is_interrupted(self) -> bool:
        """Whether the run was asked to stop before its last step."""
        return self._is_to_stop and self.state.step < self.total_steps

    def run(self) -> None:
        """Train until the last step, or until the step during which a signal arrives.

        In both cases, save a checkpoint of the step reached.

        Raises:
            DivergenceError: A loss, a gradient or a weight is not finite.
            OSError: A result cannot be written.
        """
        self._log_start()
        try:
            # The checks for finite numbers already report what NumPy would warn about.
            with np.errstate(over="ignore", invalid="ignore"):
                if self.state.step == self.total_steps:
                    self._report(self._evaluate())
                while self.state.step < self.total_steps and not self._agree_to_stop():
                    self._advance()
                self._save()
        finally:
            self.progress_bar.close()
        step = f"step {self.state.step}/{self.total_steps}"
        if self.is_interrupted:
            name = self.interruption.name or "another rank"
            log(f"{name}: stopped at {step}, checkpoint saved")
        else:
            log(f"finished at {step}")

    def _agree_to_stop(self) -> bool:
        """Whether any rank was asked to stop: all stop at the same step."""
        self._is_to_stop = self.ranks.any(self.interruption.is_requested)
        return self._is_to_stop

    def _advance(self) -> None:
        """Run one step, then report and save what is due.

        The checkpoint is saved last, so that everything up to its step has been reported when a
        run resumes from it.
        """
        metrics = self._step()
        if not self.ranks.is_first:
            return
        step, hyperparameters = self.state.step, self.hyperparameters
        is_last = step == self.total_steps
        if is_last or step % hyperparameters.log_every == 0:
            metrics["tokens_per_second"] = self.stopwatch.rate()
            log(
                f"step {step}/{self.total_steps} - loss={metrics['train_loss']:.4f} "
                f"lr={metrics['learning_rate']:.6g} tokens/s={metrics['tokens_per_second']:.0f}"
            )
        else:
            metrics = {}
        if is_last or step % hyperparameters.eval_every == 0:
            metrics |= self._evaluate()
        self._report(metrics)
        self.progress_bar.show(step, self.total_steps)
        if step % hyperparameters.checkpoint_every == 0:
            self._save()

    def _step(self) -> dict[str, float]:
        """Draw a batch, update the weights once, and return the metrics."""
        started = time.perf_counter()
        state, hyperparameters = self.state, self.hyperparameters
        contexts, targets = self.corpus.training_batch(state.rng, hyperparameters.batch_size)
        loss, gradients = self._loss_and_gradients(contexts, targets)
        gradient_norm = clip_gradients(gradients, hyperparameters.grad_clip)
        self._require_finite(state.step + 1, "training loss", loss)
        self._require_finite(state.step + 1, "gradient norm", gradient_norm)
        learning_rate = learning_rate_at(
            state.step + 1, hyperparameters.learning_rate, hyperparameters.warmup_steps
        )
        state.optimizer.update(
            state.parameters, gradients, learning_rate, hyperparameters.weight_decay
        )
        state.step += 1
        self.stopwatch.characters += len(targets)
        self.stopwatch.seconds += time.perf_counter() - started
        return {
            "train_loss": loss,
            "learning_rate": learning_rate,
            "grad_norm": gradient_norm,
        }

    def _loss_and_gradients(
        self, contexts: IntArray, targets: IntArray
    ) -> tuple[float, Parameters]:
        """Those of the batch, of which each rank computes its share."""
        ranks, parameters = self.ranks, self.state.parameters
        if ranks.count == 1:
            return loss_and_gradients(parameters, contexts, targets)
        own = ranks.share(targets)
        weight = len(own) / len(targets)
        flat = np.zeros(1 + sum(value.size for value in parameters.values()))
        if len(own):
            loss, gradients = loss_and_gradients(parameters, ranks.share(contexts), own)
            values = [gradients[name].ravel() for name in parameters]
            flat[:] = np.concatenate([[loss], *values]) * weight
        total = ranks.sum(flat)
        summed, start = {}, 1
        for name, value in parameters.items():
            part = total[start : start + value.size]
            summed[name] = part.reshape(value.shape).astype(value.dtype)
            start += value.size
        return float(total[0]), summed

    def _evaluate(self) -> dict[str, float]:
        """Evaluate on the held-out text, replace evaluation.json, and return the metrics."""
        step, parameters = self.state.step, self.state.parameters
        loss = validation_loss(parameters, self.corpus)
        self._require_finite(step, "validation loss", loss)
        sample = generate(parameters, self.corpus, self.hyperparameters.seed)
        write_evaluation(self.configuration.output_dir, step, loss, self.unigram_loss, sample)
        metrics = {"eval_loss": loss, "eval_perplexity": perplexity(loss)}
        log(
            f"step {step}/{self.total_steps} - eval_loss={loss:.4f} "
            f"eval_perplexity={metrics['eval_perplexity']:.2f} "
            f"unigram_loss={self.unigram_loss:.4f}"
        )
        return metrics

    def _report(self, metrics: dict[str, float]) -> None:
        if metrics and self.ranks.is_first:
            self.metrics_file.append(self.state.step, metrics)

    def _save(self) -> None:
        """Save a checkpoint of the current step unless it is already saved."""
        if self.saved_step == self.state.step or not self.ranks.is_first:
            return
        for name, value in self.state.parameters.items():
            self._require_finite(self.state.step, name, float(np.abs(value).max()))
        path = self.state.save(self.configuration.checkpoint_dir)
        self.saved_step = self.state.step
        log(f"step {self.state.step}/{self.total_steps} - saved {path.name}")

    def _require_finite(self, step: int, name: str, value: float) -> None:
        if not math.isfinite(value):
            raise DivergenceError(
                f"training diverged: {name} is {value} at step {step}; "
                f"the learning rate {self.hyperparameters.learning_rate:g} may be too high"
            )

    def _log_start(self) -> None:
        split, shape = self.corpus.split, self.state.shape
        count = sum(value.size for value in self.state.parameters.values())
        log(
            f"{self.configuration.run_id or 'char_lm'}: {len(self.corpus.ids)} characters, "
            f"{len(split.training)} to train on, {len(split.validation)} held out, "
            f"vocabulary {shape.vocabulary_size}, {count} parameters, "
            f"from step {self.state.step} to {self.total_steps}"
        )


def _resume(configuration: Configuration) -> Checkpoint | None:
    """Load the checkpoint to resume from, if any, and check its sizes.

    Raises:
        CheckpointError: It cannot be read, or its model does not match the configuration.
    """
    if configuration.resume_from is None:
        return None
    state = Checkpoint.load(configuration.resume_from)
    for name in ("context_length", "embedding_dim", "hidden_dim"):
        saved, configured = getattr(state.shape, name), getattr(configuration.hyperparameters, name)
        if saved != configured:
            raise CheckpointError(
                f"{configuration.resume_from} was trained with {name} {saved}, not {configured}"
            )
    return state


def _fresh_state(hyperparameters: Hyperparameters, corpus: Corpus, text_sha256: str) -> Checkpoint:
    rng = np.random.Generator(np.random.PCG64(hyperparameters.seed))
    shape = ModelShape(
        vocabulary_size=len(corpus.vocabulary),
        context_length=hyperparameters.context_length,
        embedding_dim=hyperparameters.embedding_dim,
        hidden_dim=hyperparameters.hidden_dim,
    )
    parameters = initial_parameters(shape, rng)
    return Checkpoint(
        step=0,
        shape=shape,
        vocabulary=corpus.vocabulary,
        parameters=parameters,
        optimizer=AdamW.start(parameters),
        rng=rng,
        text_sha256=text_sha256,
    )


def _total_steps(hyperparameters: Hyperparameters, corpus: Corpus) -> int:
    """Return the number of the last step.

    Batches are drawn with replacement, so an epoch covers as many characters as the training text
    has, but not each of them once.
    """
    if hyperparameters.max_steps is not None:
        return hyperparameters.max_steps
    if hyperparameters.num_epochs is None:
        return DEFAULT_MAX_STEPS
    characters = hyperparameters.num_epochs * len(corpus.split.training)
    steps = math.ceil(characters / hyperparameters.batch_size)
    if steps > LARGEST_STEP:
        raise ConfigurationError(
            f"num_epochs results in {steps} steps; the maximum is {LARGEST_STEP}"
        )
    return steps
