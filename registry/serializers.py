"""JSON of release policies, requests, gates and evaluation rules."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core.fields import (
    StrictBooleanField,
    StrictCharField,
    StrictFloatField,
    StrictIntegerField,
)
from core.ids import MAX_LENGTH
from core.known_names import KnownFieldsSerializer
from core.text import MAX_KEY_LENGTH, MAX_NAME_LENGTH
from projects.serializers import HyperparametersField
from registry.evaluation_rules import MAX_EVERY
from registry.release_policy import CARD_FIELDS, MAX_DAYS, Comparison, GateKind
from registry.release_requests import MAX_NOTES, RequestState
from runs.models import MAX_DATASET_LENGTH, Recipe, RecipeKind
from runs.serializers import RecipeField


class GateSerializer(KnownFieldsSerializer):
    """``key``, ``comparison``, ``threshold``: of the kind metric; ``within_days``: of bytes;
    ``fields``: of card."""

    kind = serializers.ChoiceField(choices=GateKind.values)
    key = StrictCharField(
        max_length=MAX_KEY_LENGTH,
        required=False,
        trim_whitespace=False,
        help_text="Of an evaluation's result, as leaderboards have it, e.g. mmlu/acc.",
    )
    comparison = serializers.ChoiceField(choices=Comparison.values, required=False)
    threshold = StrictFloatField(required=False)
    within_days = StrictIntegerField(
        min_value=0,
        max_value=MAX_DAYS,
        required=False,
        help_text="How long ago the bytes may have been verified; 0: they are read again.",
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """With ``fields``, which a serializer cannot have as an attribute."""
        card = serializers.ListField(
            child=serializers.ChoiceField(choices=CARD_FIELDS),
            required=False,
            max_length=len(CARD_FIELDS),
            help_text="What the model card must have.",
        )
        return {**super().get_fields(), "fields": card}


class PolicySerializer(serializers.Serializer[Any]):
    needs_approval = serializers.BooleanField(
        help_text="Whether a maintainer other than the asker has to approve a release."
    )
    gates = GateSerializer(many=True, source="gates_json")
    changed_by = StrictCharField(allow_null=True, source="changed_by.username", default=None)
    changed_at = serializers.DateTimeField(allow_null=True)


class PolicyChangeSerializer(KnownFieldsSerializer):
    needs_approval = StrictBooleanField(required=False)
    gates = GateSerializer(many=True, required=False, help_text="All of them.")


class GateResultSerializer(serializers.Serializer[Any]):
    gate = StrictCharField()
    passed = serializers.BooleanField(
        allow_null=True, help_text="null: bytes that are read at the decision."
    )
    why = StrictCharField(allow_blank=True)


class GateListSerializer(serializers.Serializer[Any]):
    items = GateResultSerializer(many=True)


class ReleaseRequestSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    project_id = StrictCharField()
    run_id = StrictCharField()
    checkpoint_id = StrictCharField(source="checkpoint_key")
    name = StrictCharField(help_text="Of the checkpoint.")
    step = StrictIntegerField(allow_null=True)
    state = serializers.ChoiceField(choices=RequestState.values, source="current_state")
    notes = StrictCharField(allow_blank=True)
    replaces_others = serializers.BooleanField()
    asked_by = StrictCharField(source="asked_by_name")
    asked_at = serializers.DateTimeField()
    decided_by = StrictCharField(source="decided_by_name", allow_blank=True)
    decided_at = serializers.DateTimeField(allow_null=True)
    decision_notes = StrictCharField(allow_blank=True)
    gates = GateResultSerializer(many=True, help_text="As they were at the decision.")


class AskSerializer(KnownFieldsSerializer):
    checkpoint_id = StrictCharField(max_length=MAX_LENGTH)
    notes = StrictCharField(max_length=MAX_NOTES, allow_blank=True, required=False, default="")
    replaces_others = StrictBooleanField(
        required=False, default=False, help_text="Archive the releases that it replaces."
    )


class DecisionSerializer(KnownFieldsSerializer):
    notes = StrictCharField(max_length=MAX_NOTES, allow_blank=True, required=False, default="")


class RequestQuerySerializer(serializers.Serializer[Any]):
    state = serializers.ChoiceField(choices=RequestState.values, required=False)


class EvaluateSerializer(KnownFieldsSerializer):
    recipe = RecipeField(
        slug_field="name",
        queryset=Recipe.objects.filter(enabled=True, kind=RecipeKind.EVALUATION),
        help_text="The name of a recipe of the kind evaluation.",
    )
    hyperparameters = HyperparametersField(
        required=False, help_text="Override the recipe's defaults."
    )
    dataset = StrictCharField(
        max_length=MAX_DATASET_LENGTH,
        allow_blank=True,
        required=False,
        help_text="By default that of the checkpoint's run.",
    )


class RuleWriteSerializer(EvaluateSerializer):
    every = StrictIntegerField(min_value=1, max_value=MAX_EVERY, required=False, default=1)
    of_recipe = RecipeField(
        slug_field="name",
        queryset=Recipe.objects.all(),
        required=False,
        help_text="Only trainings of this recipe.",
    )
    run_name = StrictCharField(
        max_length=MAX_NAME_LENGTH,
        required=False,
        help_text="Only trainings with this in their name.",
    )


class RuleSerializer(serializers.Serializer[Any]):
    id = StrictCharField()
    recipe = StrictCharField(source="recipe_id")
    every = StrictIntegerField()
    hyperparameters = HyperparametersField(read_only=True)
    dataset = StrictCharField(allow_blank=True)
    of_recipe = StrictCharField(source="of_recipe_id", allow_null=True)
    run_name = StrictCharField(allow_blank=True)
    problem = StrictCharField(allow_blank=True, help_text="Why it does not work at the moment.")
    created_by = StrictCharField(allow_null=True, source="created_by.username", default=None)
    created_at = serializers.DateTimeField()
