"""Optuna's storage for one sweep: its trials are read from our rows, and the changed ones written
back, in the transaction that holds the sweep's lock.

Importing this module imports Optuna (some 30 MB), so only what advances a sweep does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import optuna
from django.utils import timezone
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.storages import InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from core.numbers import json_number
from sweeps.models import Goal, Sweep, SweepTrial, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)

_STATES: Final = {
    TrialState.RUNNING: OptunaState.RUNNING,
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
}
_OUR_STATES: Final = {theirs: ours for ours, theirs in _STATES.items()}
RUNG_PREFIX: Final = "completed_rung_"  # attributes of a trial: its value at each rung
# The whole grid, which Optuna notes at each trial; it is the sweep's.
_GRID: Final = "search_space"
Distributions = Mapping[str, BaseDistribution]


class SweepStorage(InMemoryStorage):
    """Notes which trials Optuna changes. A trial's id is its number.

    One transaction long: nobody else changes the trials of a locked sweep.
    """

    def __init__(
        self, sweep: Sweep, distributions: Distributions, trials: Iterable[SweepTrial]
    ) -> None:
        super().__init__()
        self._sweep = sweep
        self._distributions = distributions
        self._rows: dict[int, SweepTrial] = {}
        direction = (
            StudyDirection.MINIMIZE if sweep.goal == Goal.MINIMIZE else StudyDirection.MAXIMIZE
        )
        self.study_id = self.create_new_study([direction], sweep.pk)
        for row in trials:
            self._rows[row.number] = row
            number = super().create_new_trial(self.study_id, _frozen(row, distributions))
            assert number == row.number
        self._changed: set[int] = set()

    def row(self, number: int) -> SweepTrial:
        """The trial as Optuna has left it, not saved yet."""
        row = self._rows.get(number)
        if row is None:
            row = self._rows[number] = SweepTrial(sweep=self._sweep, number=number)
        _copy(self.get_trial(number), row)
        return row

    def save(self) -> None:
        """Write the changed trials of rows that exist, and the new ones."""
        rows = [self.row(number) for number in sorted(self._changed)]
        SweepTrial.objects.bulk_create([row for row in rows if row.pk is None])
        fields = ("state", "value", "intermediate", "attributes", "next_step", "is_stopping",
                  "ended_at")  # fmt: skip
        SweepTrial.objects.bulk_update([row for row in rows if row.pk is not None], fields)
        self._changed.clear()

    # --- what Optuna changes -----------------------------------------------------------------

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        number = super().create_new_trial(study_id, template_trial)
        self._changed.add(number)
        return number

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._changed.add(trial_id)

    def set_trial_state_values(
        self, trial_id: int, state: OptunaState, values: Sequence[float] | None = None
    ) -> bool:
        is_changed = super().set_trial_state_values(trial_id, state, values)
        self._changed.add(trial_id)
        return is_changed

    def set_trial_intermediate_value(
        self, trial_id: int, step: int, intermediate_value: float
    ) -> None:
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._changed.add(trial_id)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        super().set_trial_system_attr(trial_id, key, value)
        self._changed.add(trial_id)


def _frozen(row: SweepTrial, distributions: Distributions) -> FrozenTrial:
    state = _STATES[TrialState(row.state)]
    return FrozenTrial(
        number=row.number,
        trial_id=row.number,
        state=state,
        value=row.value,
        datetime_start=row.created_at,
        datetime_complete=row.ended_at,
        params={name: _typed(distributions[name], value) for name, value in row.params.items()},
        distributions={name: distributions[name] for name in row.params},
        user_attrs={},
        system_attrs={name: _noted(name, value) for name, value in row.attributes.items()},
        intermediate_values={int(step): float(value) for step, value in row.intermediate},
    )


def _typed(distribution: BaseDistribution, value: Any) -> Any:
    """jsonb has one type of numbers: 1e2 is read as the integer 100."""
    if isinstance(distribution, CategoricalDistribution):
        return value
    return int(value) if isinstance(distribution, IntDistribution) else float(value)


def _noted(name: str, value: Any) -> Any:
    """A value at a rung may be infinite, which is text in JSON."""
    return float(value) if name.startswith(RUNG_PREFIX) else value


def _copy(trial: FrozenTrial, row: SweepTrial) -> None:
    row.state = _OUR_STATES[trial.state]
    row.params = trial.params
    row.value = trial.value
    row.intermediate = [
        [step, json_number(value)] for step, value in sorted(trial.intermediate_values.items())
    ]
    row.attributes = {
        name: json_number(value) if isinstance(value, float) else value
        for name, value in trial.system_attrs.items()
        if name != _GRID
    }
    if trial.state.is_finished() and row.ended_at is None:
        row.ended_at = timezone.now()
        row.next_step = None
