"""What Optuna decides for a sweep: the next trial, and which running one to prune.

A sampler is made for each trial, seeded by the sweep's seed and the trial's number. So a sweep
needs no state of a random generator: after a restart, or by another worker, a trial gets the
suggestion that it would have got. Importing this module imports Optuna.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import TrialState as OptunaState

from sweeps.models import Method, Pruning, Sweep, SweepTrial
from sweeps.optuna_storage import RUNG_PREFIX, SweepStorage
from sweeps.spaces import grid_of

MAX_STEP: Final = 2**62


class Study:
    """Optuna's study of a sweep. Call with the sweep's row locked."""

    def __init__(self, sweep: Sweep, trials: Iterable[SweepTrial]) -> None:
        self._sweep = sweep
        self._distributions = distributions_of(sweep)
        self.storage = SweepStorage(sweep, self._distributions, trials)
        self._pruner = pruner_of(sweep)
        # Telling an end is no choice: a sampler that stops a loop of Optuna's would fail.
        self._study = optuna.load_study(
            study_name=sweep.pk,
            storage=self.storage,
            sampler=RandomSampler(),
            pruner=self._pruner,
        )

    def ask(self) -> SweepTrial:
        """The next trial, not saved yet."""
        count = self.storage.get_n_trials(self.storage.study_id)
        study = optuna.load_study(
            study_name=self._sweep.pk,
            storage=self.storage,
            sampler=sampler_of(self._sweep, count),
            pruner=self._pruner,
        )
        trial = study.ask(dict(self._distributions))
        row = self.storage.row(trial.number)
        row.next_step = self._next_rung(trial.number)
        return row

    def report(self, row: SweepTrial, step: int, value: float) -> bool:
        """Report an intermediate value; return whether the trial is to be pruned."""
        self.storage.set_trial_intermediate_value(row.number, step, value)
        is_bad = self._pruner.prune(self._study, self.storage.get_trial(row.number))
        row.next_step = self._next_rung(row.number)
        return is_bad

    def complete(self, row: SweepTrial, value: float) -> None:
        self._study.tell(row.number, value)
        self.storage.row(row.number)

    def prune(self, row: SweepTrial) -> None:
        self._study.tell(row.number, state=OptunaState.PRUNED)
        self.storage.row(row.number)

    def fail(self, row: SweepTrial) -> None:
        self._study.tell(row.number, state=OptunaState.FAIL)
        self.storage.row(row.number)

    def _next_rung(self, number: int) -> int | None:
        """The step of the first rung that the trial has not completed."""
        if self._sweep.pruning == Pruning.NONE:
            return None
        first, factor = self._sweep.min_steps, self._sweep.reduction_factor
        assert first is not None
        assert factor is not None
        done = self.storage.get_trial(number).system_attrs
        rung = 0
        while f"{RUNG_PREFIX}{rung}" in done:
            rung += 1
        step: int = first * factor**rung
        return step if step <= MAX_STEP else None


def distributions_of(sweep: Sweep) -> dict[str, BaseDistribution]:
    if sweep.method == Method.GRID:
        return {
            name: CategoricalDistribution(values)
            for name, values in grid_of(sweep.search_space).items()
        }
    return {name: _distribution(domain) for name, domain in sorted(sweep.search_space.items())}


def _distribution(domain: Mapping[str, Any]) -> BaseDistribution:
    if domain["type"] == "categorical":
        return CategoricalDistribution(domain["choices"])
    low, high, log, step = (domain.get(name) for name in ("low", "high", "log", "step"))
    assert low is not None
    assert high is not None
    if domain["type"] == "int":
        return IntDistribution(int(low), int(high), log=bool(log), step=int(step or 1))
    exact = None if step is None else float(step)
    return FloatDistribution(float(low), float(high), log=bool(log), step=exact)


def sampler_of(sweep: Sweep, number: int) -> BaseSampler:
    """For the trial ``number``; a grid is shuffled once for all of them."""
    if sweep.method == Method.GRID:
        return GridSampler(grid_of(sweep.search_space), seed=_seed(sweep.seed))
    seed = _seed(sweep.seed, number)
    return TPESampler(seed=seed) if sweep.method == Method.TPE else RandomSampler(seed=seed)


def _seed(*entropy: int) -> int:
    return int(np.random.SeedSequence(entropy).generate_state(1)[0])


def pruner_of(sweep: Sweep) -> BasePruner:
    if sweep.pruning == Pruning.NONE:
        return NopPruner()
    assert sweep.min_steps is not None
    assert sweep.reduction_factor is not None
    return SuccessiveHalvingPruner(
        min_resource=sweep.min_steps, reduction_factor=sweep.reduction_factor
    )
