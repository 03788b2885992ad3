"""Serializers of sweeps and their trials."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from core.fields import StrictCharField, StrictIntegerField
from core.known_names import KnownFieldsSerializer
from core.numbers import NUMBER_SCHEMA, json_number
from core.text import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from runs.serializers import RunWriteSerializer
from sweeps.actions import (
    DEFAULT_FACTOR,
    DEFAULT_PARALLEL,
    DEFAULT_TRIALS,
    MAX_FACTOR,
    MAX_PARALLEL,
    MAX_SEED,
)
from sweeps.models import NAME_RESERVE, Goal, Method, Pruning, SweepStatus, TrialState, ValueOf
from sweeps.spaces import MAX_TRIALS

MAX_STEPS = 2**53


@extend_schema_field(
    {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["type"],
            "properties": {
                "type": {"enum": ["float", "int", "categorical"]},
                "low": {"type": "number"},
                "high": {"type": "number"},
                "log": {"type": "boolean"},
                "step": {"type": ["number", "null"]},
                "count": {"type": ["integer", "null"]},
                "choices": {"type": "array", "items": {}},
            },
        },
    }
)
class SearchSpaceField(serializers.JSONField):
    """Checked by sweeps/spaces.py."""


@extend_schema_field({"type": "object", "additionalProperties": {}})
class ParamsField(serializers.JSONField):
    """Name -> value."""


@extend_schema_field({"oneOf": NUMBER_SCHEMA})
class ValueField(serializers.Field[Any, Any, Any, Any]):
    """A number; NaN and infinities as text, because JSON has no such numbers."""

    def to_representation(self, value: float) -> float | str | None:
        return json_number(value)


class ObjectiveSerializer(KnownFieldsSerializer):
    metric = StrictCharField(max_length=MAX_KEY_LENGTH, trim_whitespace=False)
    direction = serializers.ChoiceField(
        choices=Goal.values,
        required=False,
        help_text="By default what the metric's name tells: less of a loss, more of an accuracy.",
    )
    value = serializers.ChoiceField(
        choices=ValueOf.values,
        default=ValueOf.LAST.value,
        help_text="Which value of the metric a completed run counts with.",
    )


class PruningSerializer(KnownFieldsSerializer):
    method = serializers.ChoiceField(choices=Pruning.values)
    min_steps = StrictIntegerField(
        min_value=1,
        max_value=MAX_STEPS,
        required=False,
        help_text="The step at which trials are first compared; then at this times the reduction "
        "factor, and so on.",
    )
    reduction_factor = StrictIntegerField(
        min_value=2,
        max_value=MAX_FACTOR,
        required=False,
        help_text=f"One trial in so many goes on at each comparison; {DEFAULT_FACTOR} by default.",
    )


class SweepWriteSerializer(RunWriteSerializer):
    """A request for a new sweep. What it shares with a run is the same for each of its runs."""

    name = StrictCharField(
        max_length=MAX_NAME_LENGTH - NAME_RESERVE,
        required=False,
        help_text="Defaults to sweep-001, sweep-002 …",
    )
    search_space = SearchSpaceField(
        help_text="Name -> `{type: float | int, low, high, log, step}` or "
        "`{type: categorical, choices}`. A grid takes `count` values of a range without step.",
    )
    objective = ObjectiveSerializer()
    method = serializers.ChoiceField(choices=Method.values, default=Method.TPE.value)
    pruning = PruningSerializer(required=False)
    max_trials = StrictIntegerField(
        min_value=1,
        max_value=MAX_TRIALS,
        required=False,
        help_text=f"{DEFAULT_TRIALS} by default; of a grid, all of its points.",
    )
    max_parallel = StrictIntegerField(min_value=1, max_value=MAX_PARALLEL, default=DEFAULT_PARALLEL)
    seed = StrictIntegerField(
        min_value=0, max_value=MAX_SEED, required=False, help_text="By default at random."
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """Those of sweeps.actions.create_sweep."""
        values = dict(self.validated_data)
        objective, pruning = values.pop("objective"), values.pop("pruning", {})
        renamed = {
            "metric": objective["metric"],
            "goal": objective.get("direction", ""),
            "value_of": objective["value"],
        }
        if pruning:
            renamed["pruning"] = pruning["method"]
        rungs = {name: pruning[name] for name in ("min_steps", "reduction_factor")
                 if name in pruning}  # fmt: skip
        return {**values, **renamed, **rungs}


class TrialSerializer(serializers.Serializer[Any]):
    number = StrictIntegerField(help_text="From 0.")
    run_id = StrictCharField(allow_null=True, help_text="Null once the run has been deleted.")
    run_name = StrictCharField(source="run.name", default=None, allow_null=True)
    run_status = StrictCharField(source="run.status", default=None, allow_null=True)
    state = serializers.ChoiceField(choices=TrialState.values)
    params = ParamsField()
    value = ValueField(
        allow_null=True,
        help_text="Of the objective; of a pruned trial, the last one that was compared.",
    )
    step = StrictIntegerField(source="run.step", default=None, allow_null=True)
    created_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)


class SweepSummarySerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    project_id = StrictCharField()
    name = StrictCharField()
    status = serializers.ChoiceField(choices=SweepStatus.values)
    status_reason = StrictCharField(help_text="Why it is paused, if nobody has asked for that.")
    recipe = StrictCharField(source="recipe_id")
    method = serializers.ChoiceField(choices=Method.values)
    objective = ObjectiveSerializer()
    max_trials = StrictIntegerField()
    max_parallel = StrictIntegerField()
    trial_count = StrictIntegerField()
    created_by = StrictCharField(source="created_by.username", default=None, allow_null=True)
    created_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class SweepDetailSerializer(SweepSummarySerializer):
    configuration = ParamsField(help_text="What its runs have in common.")
    search_space = SearchSpaceField()
    pruning = PruningSerializer(source="pruner")
    seed = StrictIntegerField()
    best = TrialSerializer(source="best_trial", allow_null=True)
    trials = serializers.SerializerMethodField()

    @extend_schema_field(TrialSerializer(many=True))
    def get_trials(self, sweep: Any) -> Any:
        return TrialSerializer(sweep.trials.select_related("run"), many=True).data
