"""The results of EleutherAI's lm-evaluation-harness."""

import io
import json

import pytest

from artifacts import uploads
from artifacts.evaluation_numbers import read_evaluation
from artifacts.harness_results import is_harness, is_named_so
from artifacts.kinds import ArtifactType
from artifacts.models import EvaluationResult
from tests.factories import RunFactory, checkpoint

# As version 0.4 writes it, with the parts that have numbers of other kinds.
RESULTS = {
    "results": {
        "mmlu": {
            "name": "mmlu",
            "alias": "mmlu",
            "sample_len": 14042,
            "acc,none": 0.5178,
            "acc_stderr,none": 0.1147,
        },
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.25,
            "exact_match_stderr,strict-match": "N/A",
            "exact_match,flexible-extract": 0.5,
        },
    },
    "groups": {"mmlu": {"alias": "mmlu", "acc,none": 0.5178}},
    "configs": {"gsm8k": {"num_fewshot": 5, "metadata": {"version": 3.0}}},
    "versions": {"mmlu": 2, "gsm8k": 3.0},
    "n-shot": {"gsm8k": 5},
    "higher_is_better": {"mmlu": {"acc": True}},
    "n-samples": {"gsm8k": {"original": 1319, "effective": 1319}},
    "config": {"model": "hf", "batch_size": 8, "random_seed": 0},
    "date": 1730000000.5,
    "max_length": 2048,
    "model_name": "/data/checkpoints/step-100",
    "total_evaluation_time_seconds": "12.5",
}
MEASURES = {
    "mmlu/acc": 0.5178,
    "gsm8k/exact_match,strict-match": 0.25,
    "gsm8k/exact_match,flexible-extract": 0.5,
}
NAME = "llama/results_2024-11-30T17-34-18.123456.json"


def test_only_measures_are_read():
    assert read_evaluation(json.dumps(RESULTS).encode()).numbers == MEASURES


def test_results_before_filters_are_read():
    content = {"results": {"lambada": {"ppl": 4.0, "ppl_stderr": 0.1}}, "versions": {"lambada": 0}}

    assert read_evaluation(json.dumps(content).encode()).numbers == {"lambada/ppl": 4.0}


@pytest.mark.parametrize(
    "value",
    [
        [],
        {"results": {"mmlu": {"acc": 0.5}}},
        {"results": [1], "versions": {}},
        {"results": {"loss": 2.0}, "versions": {}},
        {"results": {}, "versions": 3},
    ],
)
def test_other_json_is_not_taken_for_the_harness(value):
    assert not is_harness(value)


@pytest.mark.parametrize(
    ("path", "is_one"),
    [
        (NAME, True),
        ("results_2024-11-30T17-34-18.json", True),
        ("results.json", False),
        ("my_results_2024-11-30T17-34-18.json", False),
        ("samples_mmlu_2024-11-30T17-34-18.jsonl", False),
    ],
)
def test_file_is_known_by_its_name(path, is_one):
    assert is_named_so(path) is is_one


@pytest.mark.django_db
def test_uploaded_results_belong_to_the_checkpoint_that_they_name():
    run = RunFactory(step=900)
    checkpoint(run, step=100)

    artifact, _is_new = uploads.store(run, NAME, io.BytesIO(json.dumps(RESULTS).encode()))

    kept = EvaluationResult.objects.filter(run=run, step=100).values_list("key", "value")
    assert artifact.type == ArtifactType.EVALUATION
    assert dict(kept) == MEASURES
