"""Whether more or less of a metric is better."""

import pytest

from dashboard.comparison.directions import Direction, direction_of


@pytest.mark.parametrize(
    "key", ["train_loss", "eval/loss", "val.ppl", "Perplexity", "test_wer", "bits_bpb", "rmse"]
)
def test_less_of_a_loss_or_an_error_is_better(key):
    assert direction_of(key) is Direction.LOWER


@pytest.mark.parametrize(
    "key",
    ["accuracy", "eval/acc", "mmlu", "gsm8k_em", "rouge1", "f1", "pass@1", "reward",
     "rewards/margins", "tokens_per_second", "eval_samples_per_second"],
)  # fmt: skip
def test_more_of_a_score_is_better(key):
    assert direction_of(key) is Direction.HIGHER


@pytest.mark.parametrize(
    "key", ["learning_rate", "grad_norm", "epoch", "system/gpu_0_memory_usage_percentage", "步", ""]
)
def test_nothing_is_better_of_what_describes_the_training(key):
    assert direction_of(key) is None
